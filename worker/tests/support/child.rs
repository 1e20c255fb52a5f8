//! A program that is nothing but a child of the sandbox, for the worker's tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    tallymill_sandbox::child_main(std::env::args_os().skip(1)).unwrap_or(ExitCode::FAILURE)
}
