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

/// Halves a number until it is odd; fails at 1.
struct Halving(u32);

impl LongTask for Halving {
    type Input = u32;
    type Output = u32;
    type Error = String;

    fn begin(input: u32) -> Result<Self, String> {
        if input == 0 { Err("0 is never odd".into()) } else { Ok(Self(input)) }
    }

    fn step(&mut self, budget: u64) -> Result<std::ops::ControlFlow<u32>, String> {
        for _ in 0..budget {
            match self.0 {
                1 => return Err("nothing is left".into()),
                odd if !odd.is_multiple_of(2) => return Ok(std::ops::ControlFlow::Break(odd)),
                even => self.0 = even / 2,
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }
}

#[test]
fn a_long_task_ends_in_every_way_that_others_do() {
    let ended = |input: &[u8], budget| {
        let (mut output, mut log) = (Vec::new(), Vec::new());
        let status = run_steps_with::<Halving>(input, &mut output, &mut log, budget);
        (status.code(), String::from_utf8(output).unwrap(), String::from_utf8(log).unwrap())
    };
    for budget in [1, 2, 100] {
        assert_eq!(ended(b"48", budget), (0, "3".into(), String::new()), "{budget}");
        assert_eq!(
            ended(b"64", budget),
            (1, String::new(), "job failed: nothing is left\n".into())
        );
    }
    assert_eq!(ended(b"0", 1), (1, String::new(), "job failed: 0 is never odd\n".into()));
    assert_eq!(ended(b"x", 1).0, 2);
    let run = |input: &mut dyn Read, output: &mut dyn Write| {
        run_steps_with::<Halving>(input, output, io::sink(), 1).code()
    };
    assert_eq!((run(&mut Broken, &mut io::sink()), run(&mut &b"6"[..], &mut Broken)), (3, 4));
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
