//! Between the agent and whatever runs modules: the sandbox, or a stand-in in tests.

use tallymill_protocol::{AccountId, Digest};
use tallymill_sandbox::{SegmentResult, SegmentSpec, TaskResult, TaskSpec, Void};

/// How a running batch is steered: stop all of it, withdraw it, look at its progress.
pub type Control = tallymill_sandbox::Control;
/// Where results go as they come: position in the batch, and what the run came to.
pub type Finished<'f> = &'f mut dyn FnMut(usize, Result<TaskResult, Void>);

/// A module that is ready to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared {
    /// As submitted.
    pub module: Digest,
    /// As metered.
    pub metered: Digest,
}

/// Where tasks run: a module, for one payer. Tasks of two payers never share a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Who pays for the tasks.
    pub payer: AccountId,
    /// What they run.
    pub module: Prepared,
}

/// Runs batches of tasks. Calls block; the agent makes them on threads of their own, one per slot.
pub trait Execute: Send + Sync + 'static {
    /// The module, when it needs neither its bytes nor time to be prepared.
    fn ready(&self, module: &Digest) -> Option<Prepared>;

    /// Meters and compiles a module.
    ///
    /// # Errors
    /// A void with the reason, which every task of the lease then gets.
    fn prepare(&self, module: Digest, bytes: &[u8]) -> Result<Prepared, Void>;

    /// Runs `tasks`, each to exactly one call of `finished`.
    fn run(
        &self,
        placement: Placement,
        tasks: &[TaskSpec],
        control: &Control,
        finished: Finished<'_>,
    );

    /// Runs one segment of a long task.
    ///
    /// # Errors
    /// A void with the reason why there is no result.
    fn run_segment(
        &self,
        placement: Placement,
        segment: &SegmentSpec,
        control: &Control,
    ) -> Result<SegmentResult, Void>;

    /// Lets go of what was not used for a while; called now and then. It may block.
    fn tidy(&self);

    /// Fuel that ordinary work uses in a microsecond of processor time here; `None` when that cannot be found out, and then
    /// nobody is held to it. It blocks, and is asked once.
    fn ordinary_rate(&self) -> Option<u64>;

    /// Engine and version, for receipts; at most 64 bytes.
    fn engine(&self) -> &'static str;
}
