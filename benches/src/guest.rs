//! Modules made ready for measuring, and the tasks they run.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use tallymill_meter::{CostTable, Profile, abi, meter};
use tallymill_protocol::{Limits, Outcome, TaskIndex};
use tallymill_sandbox::{
    CompiledModule, Engine, JobSpec, Pulse, TaskResult, TaskSpec, profile, run_task,
};

/// The engine that all metered modules share.
pub(crate) struct Bench(Engine);

impl Bench {
    /// Room for one instance at a time.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Engine::new(1)?))
    }
}

/// A metered module.
pub(crate) struct Metered(CompiledModule);

impl Metered {
    /// Meters a module by this table and compiles it.
    pub(crate) fn new(
        bench: &Bench,
        module: &[u8],
        costs: &'static CostTable,
    ) -> anyhow::Result<Self> {
        let metered = meter(module, &Profile { costs, ..profile() })?;
        Ok(Self(bench.0.compile_here(&metered.bytes, metered.info)?))
    }

    /// Runs a task; anything but success is an error.
    pub(crate) fn run(&self, task: &TaskSpec) -> anyhow::Result<TaskResult> {
        let result = run_task(&self.0, task, &Pulse::default())?;
        let log = String::from_utf8_lossy(&result.log);
        ensure!(
            result.outcome == Outcome::Exited(0),
            "the guest ended with {:?}: {log}",
            result.outcome
        );
        Ok(result)
    }
}

/// A task with this standard input and all the fuel there is.
pub(crate) fn task(input: &str) -> TaskSpec {
    let limits = Limits { fuel: abi::MAX_LIMIT, ..Limits::default() };
    let job = Arc::new(JobSpec::new(limits));
    TaskSpec { job, index: TaskIndex(0), input: input.as_bytes().into() }
}

/// The module of the kernels, as built by `cargo xtask guests`.
pub(crate) fn kernels(guests: &Path) -> anyhow::Result<Vec<u8>> {
    let path = guests.join("kernels.wasm");
    std::fs::read(&path)
        .with_context(|| format!("failed to read {}; run cargo xtask guests", path.display()))
}
