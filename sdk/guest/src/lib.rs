//! Typed entry point for job authors who write Rust.
//!
//! A job is any program that reads standard input and writes standard output. This crate is the
//! thin layer that turns such a program into a function from a serde input to a serde output:
//! standard input holds one JSON value, standard output receives one JSON value and not a byte
//! more, so equal answers are equal bytes.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Range { from: u64, count: u64 }
//!
//! #[derive(Serialize)]
//! struct Sum { sum: u64 }
//!
//! fn main() {
//!     tallymill_guest::run(|range: Range| {
//!         (range.from..range.from.saturating_add(range.count))
//!             .try_fold(0_u64, |sum, n| sum.checked_add(n))
//!             .map(|sum| Sum { sum })
//!             .ok_or("the sum does not fit 64 bits")
//!     })
//! }
//! ```
//!
//! Exit codes are part of a result, hence fixed: see [`ExitStatus`]. A task that takes hours is a [`LongTask`].

mod steps;

pub use steps::{LongTask, Slot, run_steps_with};

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How a guest ends; the number is the process's exit code and so part of the task's outcome.
///
/// A panic is none of these: built with `panic = "abort"` it ends the task as a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: the output stands on standard output.
    Success = 0,
    /// 1: the job's function returned an error; its text is on standard error.
    JobFailed = 1,
    /// 2: standard input is not one JSON value of the expected shape.
    BadInput = 2,
    /// 3: standard input could not be read.
    InputUnreadable = 3,
    /// 4: the output could not be turned into JSON or written.
    OutputFailed = 4,
}

impl ExitStatus {
    /// The process exit code.
    #[must_use]
    pub fn code(self) -> i32 {
        self as i32
    }
}

/// A named input file that could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum InputFileError {
    /// The name is not that of a file in the directory of inputs.
    #[error("{name:?} cannot name an input file: expected a plain name without `/`")]
    Name {
        /// What was asked for.
        name: String,
    },
    /// The file is missing from the manifest, or reading it failed.
    #[error("read input file {name:?}; is it listed among the job's inputs?")]
    Read {
        /// What was asked for.
        name: String,
        /// What the system answered.
        source: io::Error,
    },
}

/// Runs one task: reads the input, calls `job`, writes the output and exits the process.
///
/// Whatever goes wrong is one line on standard error and a code of [`ExitStatus`]; standard
/// output stays empty unless the task succeeded.
pub fn run<In, Out, E>(job: impl FnOnce(In) -> Result<Out, E>)
where
    In: DeserializeOwned,
    Out: Serialize,
    E: Display,
{
    let status = run_with(io::stdin().lock(), io::stdout().lock(), io::stderr().lock(), job);
    std::process::exit(status.code());
}

/// [`run`] over any streams, without exiting: for unit tests of a job on the author's machine.
///
/// ```
/// use tallymill_guest::{ExitStatus, run_with};
///
/// let (mut output, mut log) = (Vec::new(), Vec::new());
/// let double = |n: u32| Ok::<_, String>(n * 2);
/// assert_eq!(run_with(&b"21\n"[..], &mut output, &mut log, double), ExitStatus::Success);
/// assert_eq!(output, b"42");
/// ```
pub fn run_with<In, Out, E>(
    input: impl Read,
    mut output: impl Write,
    mut log: impl Write,
    job: impl FnOnce(In) -> Result<Out, E>,
) -> ExitStatus
where
    In: DeserializeOwned,
    Out: Serialize,
    E: Display,
{
    match answer(input, job).and_then(|bytes| deliver(&mut output, &bytes)) {
        Ok(()) => ExitStatus::Success,
        Err(failure) => told(&mut log, failure),
    }
}

/// Says what failed on the log.
fn told(log: &mut impl Write, (status, message): Failure) -> ExitStatus {
    // A closed log cannot be reported anywhere; the exit code still tells what happened.
    let _unreportable = writeln!(log, "{message}");
    status
}

/// Reads a named read-only input of the job in full.
///
/// Inputs stand in the root directory of the sandbox under the names the manifest gives them.
///
/// # Errors
/// [`InputFileError`] when the name is not a plain name or the file cannot be read.
pub fn input_file(name: &str) -> Result<Vec<u8>, InputFileError> {
    read_below(Path::new("/"), name)
}

type Failure = (ExitStatus, String);

fn answer<In, Out, E>(
    input: impl Read,
    job: impl FnOnce(In) -> Result<Out, E>,
) -> Result<Vec<u8>, Failure>
where
    In: DeserializeOwned,
    Out: Serialize,
    E: Display,
{
    let output =
        job(parsed(input)?).map_err(|e| (ExitStatus::JobFailed, format!("job failed: {e}")))?;
    serde_json::to_vec(&output)
        .map_err(|e| failure(ExitStatus::OutputFailed, "turn the output into JSON", e))
}

fn parsed<In: DeserializeOwned>(mut input: impl Read) -> Result<In, Failure> {
    let mut bytes = Vec::new();
    input
        .read_to_end(&mut bytes)
        .map_err(|e| failure(ExitStatus::InputUnreadable, "read the input", e))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| failure(ExitStatus::BadInput, "parse the input as JSON", e))
}

fn deliver(output: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(|e| failure(ExitStatus::OutputFailed, "write the output", e))
}

fn failure(status: ExitStatus, step: &str, error: impl Display) -> Failure {
    (status, format!("failed to {step}: {error}"))
}

fn read_below(root: &Path, name: &str) -> Result<Vec<u8>, InputFileError> {
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return Err(InputFileError::Name { name: name.to_owned() });
    }
    std::fs::read(root.join(name))
        .map_err(|source| InputFileError::Read { name: name.to_owned(), source })
}

/// The page for authors of long tasks, whose program is tried.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/long-tasks.md")]
struct LongTasks;

#[cfg(test)]
mod tests;
