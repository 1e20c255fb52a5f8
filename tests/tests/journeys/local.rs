//! A program on one's own machine, without a network.

use serde_json::Value;

use crate::world::{call, command, guest};

#[test]
fn a_c_program_gives_the_same_output_and_fuel_a_hundred_times() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes"), "some words\n").unwrap();
    let module = guest("c-stdio");
    let run = |_| {
        let mut command = command(folder.path());
        command.args(["--json", "run"]).arg(&module).args([
            "--input",
            "notes=notes",
            "--",
            "notes",
        ]);
        let said = call(&mut command, b"standard input").json().remove(0);
        (said["output"].clone(), said["fuel"].clone(), said["peak_memory"].clone())
    };
    let first = run(0);
    let output = first.0.as_str().unwrap();
    assert!(output.contains(" 14 -\n") && output.contains(" 11 notes\n"), "{output}");
    assert!((1..100).map(run).all(|again| again == first));
}

#[test]
fn a_program_without_a_start_is_refused_by_the_rule_it_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str| {
        std::fs::write(folder.path().join("bad.wasm"), wat::parse_str(text).unwrap()).unwrap();
        call(command(folder.path()).args(["run", "bad.wasm"]), b"").failed(1)
    };
    assert!(refused("(module)").contains("exports no function \"_start\""));
    let import = r#"(module (import "env" "f" (func)) (memory (export "memory") 1) (func (export "_start")))"#;
    let said = refused(import);
    assert!(said.contains("env") && said.contains('f'), "{said}");
}

#[test]
fn a_program_that_does_not_end_stops_at_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;
    std::fs::write(folder.path().join("endless.wasm"), wat::parse_str(text).unwrap()).unwrap();
    let mut run = command(folder.path());
    let said = call(run.args(["--json", "run", "endless.wasm", "--fuel", "1000000"]), b"");
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &document["fuel"]), (1, &Value::from("1000000")), "{document}");
}

#[test]
fn output_that_is_no_text_is_given_in_base64_too() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\08\00\00\00\03\00\00\00\ff\00a")
        (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;
    std::fs::write(folder.path().join("binary.wasm"), wat::parse_str(text).unwrap()).unwrap();
    let said =
        call(command(folder.path()).args(["--json", "run", "binary.wasm"]), b"").json().remove(0);
    assert_eq!(said["output_base64"], "/wBh");
}
