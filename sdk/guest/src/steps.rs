//! Long tasks: a state that is worked on in steps, so that another machine can go on with it between two of them.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ExitStatus, Failure, deliver, failure, parsed, told};

/// A task that takes hours, as a state and what one step does to it.
///
/// The whole state of the program is kept between two steps (its memory, files and streams), so the type may hold whatever
/// it likes. [`steps!`](crate::steps!) exports it, and [`run_steps_with`] runs it in a unit test.
///
/// ```
/// use std::ops::ControlFlow;
/// use tallymill_guest::LongTask;
///
/// /// Adds the numbers below a limit.
/// struct Sum { next: u64, limit: u64, sum: u64 }
///
/// impl LongTask for Sum {
///     type Input = u64;
///     type Output = u64;
///     type Error = String;
///
///     fn begin(limit: u64) -> Result<Self, String> {
///         Ok(Self { next: 0, limit, sum: 0 })
///     }
///
///     fn step(&mut self, budget: u64) -> Result<ControlFlow<u64>, String> {
///         // One addition is taken to cost about four units of fuel.
///         for _ in 0..budget / 4 {
///             if self.next == self.limit {
///                 return Ok(ControlFlow::Break(self.sum));
///             }
///             self.sum = self.sum.checked_add(self.next).ok_or("the sum does not fit 64 bits")?;
///             self.next += 1;
///         }
///         Ok(ControlFlow::Continue(()))
///     }
/// }
///
/// tallymill_guest::steps!(Sum);
///
/// let (mut output, mut log) = (Vec::new(), Vec::new());
/// let ended = tallymill_guest::run_steps_with::<Sum>(&b"1000"[..], &mut output, &mut log, 100);
/// assert_eq!((ended.code(), output.as_slice()), (0, &b"499500"[..]));
/// ```
pub trait LongTask: Sized {
    /// What standard input holds, as one JSON value.
    type Input: DeserializeOwned;
    /// What standard output receives at the end, as one JSON value.
    type Output: Serialize;
    /// Why it failed: one line on standard error.
    type Error: Display;

    /// The state at the start.
    ///
    /// # Errors
    /// When there is nothing to work on; the task ends with [`ExitStatus::JobFailed`].
    fn begin(input: Self::Input) -> Result<Self, Self::Error>;

    /// Does a part of the work, of about `budget` fuel: a program cannot read its fuel, so it counts what it does and knows
    /// from a trial (`tallymill run --steps`) what that costs. `Break` ends the task.
    ///
    /// # Errors
    /// As [`LongTask::begin`].
    fn step(&mut self, budget: u64) -> Result<ControlFlow<Self::Output>, Self::Error>;
}

/// Runs a long task over any streams from its start to its end: for unit tests on the author's machine.
pub fn run_steps_with<T: LongTask>(
    input: impl Read,
    mut output: impl Write,
    mut log: impl Write,
    budget: u64,
) -> ExitStatus {
    let mut task = match begun::<T>(input) {
        Ok(task) => task,
        Err(failure) => return told(&mut log, failure),
    };
    loop {
        match stepped(&mut task, budget, &mut output) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return ExitStatus::Success,
            Err(failure) => return told(&mut log, failure),
        }
    }
}

fn begun<T: LongTask>(input: impl Read) -> Result<T, Failure> {
    T::begin(parsed(input)?).map_err(failed)
}

fn failed(error: impl Display) -> Failure {
    (ExitStatus::JobFailed, format!("job failed: {error}"))
}

fn stepped<T: LongTask>(
    task: &mut T,
    budget: u64,
    output: &mut impl Write,
) -> Result<ControlFlow<()>, Failure> {
    let ControlFlow::Break(answer) = task.step(budget).map_err(failed)? else {
        return Ok(ControlFlow::Continue(()));
    };
    let bytes = serde_json::to_vec(&answer)
        .map_err(|e| failure(ExitStatus::OutputFailed, "turn the output into JSON", e))?;
    deliver(output, &bytes)?;
    Ok(ControlFlow::Break(()))
}

/// Where a module keeps its task between two calls of its host; made by [`steps!`](crate::steps!).
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Slot<T>(Mutex<Option<T>>);

impl<T: LongTask> Slot<T> {
    /// A slot without a task.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The module's `init`.
    pub fn init(&self) {
        match begun(io::stdin().lock()) {
            Ok(task) => *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task),
            Err(failure) => end(failure),
        }
    }

    /// The module's `step`: 0 when there is more to do.
    pub fn step(&self, budget: i64) -> i32 {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(task) = slot.as_mut() else {
            end(failed("its host did not begin it"));
        };
        match stepped(task, budget.unsigned_abs(), &mut io::stdout().lock()) {
            Ok(more) => i32::from(more.is_break()),
            Err(failure) => end(failure),
        }
    }
}

fn end(failure: Failure) -> ! {
    std::process::exit(told(&mut io::stderr().lock(), failure).code())
}

/// Exports a [`LongTask`] from a library that is built as `cdylib` for `wasm32-wasip1`. Elsewhere it does nothing, so that
/// the same crate can be tested.
#[macro_export]
macro_rules! steps {
    ($task:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            static TASK: $crate::Slot<$task> = $crate::Slot::new();

            #[unsafe(no_mangle)]
            extern "C" fn init() {
                TASK.init();
            }

            #[unsafe(no_mangle)]
            extern "C" fn step(budget: i64) -> i32 {
                TASK.step(budget)
            }
        };
    };
}
