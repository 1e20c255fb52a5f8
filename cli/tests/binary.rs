//! The program as it is installed. That this test exists also makes `cargo test --workspace` build it, with the features that
//! everything else is built with.

use std::process::Command;

#[test]
fn it_says_its_version_and_refuses_what_it_does_not_know() {
    let tallymill =
        |word| Command::new(env!("CARGO_BIN_EXE_tallymill")).arg(word).output().unwrap();
    let version = tallymill("--version");
    assert!(version.status.success());
    let expected = format!("tallymill {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), expected);
    let wrong = tallymill("frobnicate");
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("frobnicate"));
}
