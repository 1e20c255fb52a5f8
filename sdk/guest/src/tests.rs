//! Every way a guest can end, over in-memory streams.
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

struct Broken;

impl Read for Broken {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("gone"))
    }
}

impl Write for Broken {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("full"))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn half(n: u32) -> Result<u32, String> {
    if n.is_multiple_of(2) { Ok(n / 2) } else { Err(format!("{n} is odd")) }
}

fn ended(input: &[u8]) -> (ExitStatus, String, String) {
    let (mut output, mut log) = (Vec::new(), Vec::new());
    let status = run_with(input, &mut output, &mut log, half);
    (status, String::from_utf8(output).unwrap(), String::from_utf8(log).unwrap())
}

#[test]
fn output_is_the_json_value_and_nothing_else() {
    assert_eq!(ended(b"42\n"), (ExitStatus::Success, "21".into(), String::new()));
}

#[test]
fn an_error_of_the_job_is_code_1_with_its_text() {
    let (status, output, log) = ended(b"7");
    assert_eq!((status.code(), output.as_str(), log.as_str()), (1, "", "job failed: 7 is odd\n"));
}

#[test]
fn input_of_another_shape_is_code_2_and_says_where() {
    for input in [&b""[..], b"4 4", b"\"four\"", b"\xff", b"-4"] {
        let (status, output, log) = ended(input);
        assert_eq!((status.code(), output.as_str()), (2, ""), "{input:?}");
        assert!(log.contains("line 1"), "{log}");
    }
}

#[test]
fn unreadable_input_is_code_3() {
    assert_eq!(run_with(Broken, io::sink(), io::sink(), half).code(), 3);
}

#[test]
fn an_output_that_cannot_be_written_is_code_4() {
    let mut log = Vec::new();
    assert_eq!(run_with(&b"2"[..], Broken, &mut log, half).code(), 4);
    assert_eq!(log, b"failed to write the output: full\n");
}

#[test]
fn an_output_that_is_not_json_is_code_4() {
    let keyed = |_: u32| Ok::<_, String>(BTreeMap::from([((1, 2), 3)]));
    assert_eq!(run_with(&b"2"[..], io::sink(), io::sink(), keyed).code(), 4);
}

#[test]
fn a_broken_log_does_not_hide_the_status() {
    assert_eq!(run_with(&b"7"[..], io::sink(), Broken, half), ExitStatus::JobFailed);
}

#[test]
fn input_files_are_read_by_plain_names_only() {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    assert!(read_below(&here, "Cargo.toml").unwrap().starts_with(b"[package]"));
    for name in ["", ".", "..", "/etc/passwd", "../guest/Cargo.toml", "src/lib.rs"] {
        assert!(matches!(read_below(&here, name), Err(InputFileError::Name { .. })), "{name}");
    }
    let missing = read_below(&here, "no-such-file").unwrap_err();
    assert!(missing.to_string().contains("no-such-file"));
}
