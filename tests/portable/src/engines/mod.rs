//! The engines: each runs a metered module on a task and says what a receipt would say.

mod process;
mod wasmi;
mod wasmtime;

pub use process::{Process, Tier};
pub use wasmi::Wasmi;
pub use wasmtime::Wasmtime;

use tallymill_meter::Metered;
use tallymill_sandbox::{TaskResult, TaskSpec, Void};

/// What a run came to. `cpu_time_us` is 0: it is no part of the comparison.
pub type Answer = Result<TaskResult, Void>;

/// What is run.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The module as its author would give it.
    pub guest: &'a [u8],
    /// What the meter made of it for engines that call the hook.
    pub metered: &'a Metered,
    /// The task.
    pub task: &'a TaskSpec,
}

/// An engine with our host functions.
pub trait Engine {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Starts a run; what cannot run beside its caller waits for [`Engine::finish`].
    ///
    /// # Errors
    /// When the engine itself is broken.
    fn begin(&mut self, subject: &Subject<'_>) -> anyhow::Result<()>;

    /// The result of the run that was begun last.
    ///
    /// # Errors
    /// When the engine itself is broken.
    fn finish(&mut self) -> anyhow::Result<Answer>;
}
