//! Running a task again and comparing what comes out with what a receipt says.

use std::sync::Arc;
use std::time::Duration;

use tallymill_protocol::snapshot::SnapshotError;
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Digest, Limits, Outcome, Receipt, TaskIndex, Versions};
use tallymill_sandbox::{
    Cache, Control, JobSpec, Launcher, PrepareError, Prepared, Runner, SegmentResult, SegmentSpec,
    TaskResult, TaskSpec, Void, prepare, versions,
};

use crate::segment::Part;

/// The first thing that running a task again shows to be otherwise than a receipt says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: the receipt says {claimed}, running it again gives {found}")]
pub struct Mismatch {
    /// What differs.
    pub what: &'static str,
    /// What the receipt says.
    pub claimed: String,
    /// What is so.
    pub found: String,
}

/// Why a receipt is not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is wrong.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// It counts fuel by rules that this program does not have: another version of it can verify it.
    #[error("the receipt is of meter {}, profile {}, costs {}; this program has meter {}, profile {}, costs {}",
        claimed.meter, claimed.profile, claimed.costs.short(), own.meter, own.profile, own.costs.short())]
    Versions {
        /// What the receipt names.
        claimed: Versions,
        /// What this program has.
        own: Versions,
    },
    /// It is about a part of a task, which takes the snapshot before it.
    #[error(
        "the receipt is about segment {index} of a task; only whole tasks can be run again from the start"
    )]
    Segment {
        /// The segment.
        index: u32,
    },
    /// It is about a whole task, where a segment was expected.
    #[error("the receipt is about a whole task, not about a segment of one")]
    Whole,
    /// What should be the snapshot before a segment is none.
    #[error("the segment cannot be begun: {0}")]
    Snapshot(#[source] SnapshotError),
    /// An outcome of a later version.
    #[error("the receipt's outcome (kind {kind}, code {code}) is unknown to this program")]
    Outcome {
        /// Kind.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// The module could not be made ready.
    #[error("the module cannot be run: {0}")]
    Prepare(#[from] PrepareError),
    /// This machine could not run it to an end of its own.
    #[error("running it again did not come to an end here: {0}")]
    Void(#[from] Void),
}

/// The bytes and circumstances of a task.
#[derive(Debug, Clone)]
pub struct Task<'t> {
    /// The module as submitted.
    pub module: &'t [u8],
    /// Limits, seed, arguments, environment and files: of the manifest.
    pub job: Arc<JobSpec>,
    /// Meter, cost table and profile: of the manifest.
    pub versions: Versions,
    /// Standard input.
    pub input: Arc<[u8]>,
}

fn control() -> Result<Control, Void> {
    Control::new().map_err(|error| Void::new(VoidCause::Other, error.to_string()))
}

/// Runs tasks again, each in a child process.
#[derive(Debug, Clone)]
pub struct Executor<'c> {
    /// Where compiled modules are kept; none: compile every time.
    pub cache: Option<&'c Cache>,
    /// How children are started.
    pub launcher: Launcher,
    /// Wall-clock limit of one run.
    pub wall: Duration,
}

impl Executor<'_> {
    /// Runs one task.
    ///
    /// # Errors
    /// When the module is refused or the run is void.
    pub fn run(
        &self,
        task: &Task<'_>,
        index: TaskIndex,
    ) -> Result<(Prepared, TaskResult), VerifyError> {
        let spec = TaskSpec { job: task.job.clone(), index, input: task.input.clone() };
        let mut runner = self.runner(task.module)?;
        let result = runner.run_one(&spec, &control()?)?;
        Ok((runner.module().clone(), result))
    }

    fn runner(&self, module: &[u8]) -> Result<Runner, VerifyError> {
        let prepared = prepare(self.cache, &self.launcher, module)?;
        Ok(Runner::new(self.launcher.clone(), prepared, self.wall))
    }

    /// Runs a part of a segment: up to its end, or so many of its steps.
    ///
    /// # Errors
    /// When module or snapshot are refused or the run is void.
    pub fn run_part(
        &self,
        part: &Part<'_>,
        pause_after: Option<u64>,
    ) -> Result<(Prepared, SegmentResult), VerifyError> {
        let Part { task, index, steps, from } = *part;
        let spec = SegmentSpec {
            task: TaskSpec { job: task.job.clone(), index, input: task.input.clone() },
            steps,
            from: from.map(Arc::from),
            pause_after,
        };
        let mut runner = self.runner(task.module)?;
        let result = runner.run_segment(&spec, &control()?)?;
        Ok((runner.module().clone(), result))
    }

    /// Runs a receipt's task again and compares everything in it that is deterministic, with
    /// one exception: of a run that was stopped from outside only the fuel is checked, by running it up to there.
    ///
    /// # Errors
    /// The first thing that differs, or why nothing can be said.
    pub fn verify(&self, receipt: &Receipt, task: &Task<'_>) -> Result<(), VerifyError> {
        if task.versions != versions() {
            return Err(VerifyError::Versions { claimed: task.versions, own: versions() });
        }
        if let Some(segment) = receipt.segment {
            return Err(VerifyError::Segment { index: segment.index });
        }
        differs("module", receipt.module, Digest::of(task.module))?;
        differs("input", receipt.input, Digest::of(&task.input))?;
        differs("bytes in", receipt.bytes_in, task.input.len() as u64)?;
        if receipt.outcome == Outcome::Stopped {
            return self.verify_stopped(receipt, task);
        }
        let (prepared, result) = self.run(task, receipt.task)?;
        Ok(compare(receipt, &prepared, &result)?)
    }

    /// A stopped run used its fuel if the same run, limited to that fuel, uses all of it.
    fn verify_stopped(&self, receipt: &Receipt, task: &Task<'_>) -> Result<(), VerifyError> {
        if receipt.fuel == 0 {
            return Ok(());
        }
        let limits = Limits { fuel: receipt.fuel, ..task.job.limits };
        let job = Arc::new(JobSpec { limits, ..JobSpec::clone(&task.job) });
        let (prepared, result) = self.run(&Task { job, ..task.clone() }, receipt.task)?;
        differs("metered module", receipt.metered, prepared.metered)?;
        Ok(differs("fuel", receipt.fuel, result.fuel)?)
    }
}

fn compare(receipt: &Receipt, prepared: &Prepared, result: &TaskResult) -> Result<(), Mismatch> {
    differs("metered module", receipt.metered, prepared.metered)?;
    differs("outcome", receipt.outcome, result.outcome)?;
    differs("output", receipt.output, Digest::of(&result.output))?;
    differs("fuel", receipt.fuel, result.fuel)?;
    differs("log", receipt.log, Digest::of(&result.log))?;
    differs("bytes out", receipt.bytes_out, result.bytes_out)?;
    differs("peak memory", receipt.peak_memory, result.peak_memory)?;
    differs("memory × fuel", receipt.memory_fuel, result.memory_fuel)
}

pub(crate) fn differs<T: Copy + PartialEq + std::fmt::Display>(
    what: &'static str,
    claimed: T,
    found: T,
) -> Result<(), Mismatch> {
    if claimed == found {
        return Ok(());
    }
    Err(Mismatch { what, claimed: claimed.to_string(), found: found.to_string() })
}
