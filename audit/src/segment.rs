//! One segment of a long task: what running it again must give.
//!
//! What runs a segment is behind [`RunSegment`], so that everything that is compared is compared here, whoever runs it.

use std::sync::Arc;

use tallymill_protocol::snapshot::decode;
use tallymill_protocol::{Digest, Limits, Outcome, Receipt, Segment, Steps, TaskIndex};
use tallymill_sandbox::{JobSpec, SegmentResult, versions};

use crate::dispute::Claims;
use crate::execute::{Executor, Mismatch, Task, VerifyError, differs};

/// A segment to run: of which task, how it is divided, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Part<'t> {
    /// The bytes and circumstances of the task.
    pub task: &'t Task<'t>,
    /// Its position in the job.
    pub index: TaskIndex,
    /// How the job's tasks are divided: of the manifest.
    pub steps: Steps,
    /// The snapshot that the segment begins from; none at the start of the task.
    pub from: Option<&'t [u8]>,
}

/// What a segment came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartResult {
    /// The module as metered.
    pub metered: Digest,
    /// How it ended; [`Outcome::Paused`] when there is more to do.
    pub outcome: Outcome,
    /// The snapshot's blob when there is more to do, else standard output.
    pub output: Vec<u8>,
    /// Standard error so far.
    pub log: Vec<u8>,
    /// State root at its end; zeros when it ended in the middle of a step.
    pub after: Digest,
    /// Fuel of the segment.
    pub fuel: u64,
    /// Memory × fuel of the segment.
    pub memory_fuel: u64,
    /// Highest size of linear memory since the start of the task, bytes.
    pub peak_memory: u64,
}

/// Runs segments.
pub trait RunSegment {
    /// Runs one segment up to its boundary, or to `stop` fuel of the task when that comes first.
    ///
    /// # Errors
    /// When the module or the snapshot is refused, or the run is void.
    fn run_segment(&self, part: &Part<'_>, stop: Option<u64>) -> Result<PartResult, VerifyError>;
}

impl RunSegment for Executor<'_> {
    fn run_segment(&self, part: &Part<'_>, stop: Option<u64>) -> Result<PartResult, VerifyError> {
        let limits = part.task.job.limits;
        let most = stop.map_or(limits.fuel, |stop| stop.min(limits.fuel));
        let limits = Limits { fuel: most, ..limits };
        let job = Arc::new(JobSpec { limits, ..JobSpec::clone(&part.task.job) });
        let task = Task { job, ..part.task.clone() };
        let (prepared, SegmentResult { result, after, .. }) =
            self.run_part(&Part { task: &task, ..*part }, None)?;
        Ok(PartResult {
            metered: prepared.metered,
            outcome: result.outcome,
            output: result.output,
            log: result.log,
            after,
            fuel: result.fuel,
            memory_fuel: result.memory_fuel,
            peak_memory: result.peak_memory,
        })
    }
}

/// What this machine finds when it runs a segment.
#[derive(Debug, Clone, Copy)]
pub struct Found<'f> {
    /// What runs it.
    pub executor: &'f Executor<'f>,
    /// The segment.
    pub part: Part<'f>,
}

impl Claims for Found<'_> {
    type Error = VerifyError;

    /// A task that ends in the middle of a step has no root there: zeros.
    fn root_after(&mut self, steps: u64) -> Result<Digest, VerifyError> {
        Ok(self.executor.run_part(&self.part, Some(steps))?.1.after)
    }
}

/// Runs a receipt's segment again and compares everything in it that is deterministic; of one that was stopped from outside
/// only the fuel, by running it up to there.
///
/// # Errors
/// The first thing that differs, or why nothing can be said.
pub fn verify_segment(
    receipt: &Receipt,
    part: &Part<'_>,
    run: &impl RunSegment,
) -> Result<(), VerifyError> {
    let segment = receipt.segment.ok_or(VerifyError::Whole)?;
    let task = part.task;
    if task.versions != versions() {
        return Err(VerifyError::Versions { claimed: task.versions, own: versions() });
    }
    differs("module", receipt.module, Digest::of(task.module))?;
    differs("input", receipt.input, Digest::of(&task.input))?;
    let from = part.from.map_or(0, <[u8]>::len) as u64;
    differs("bytes in", receipt.bytes_in, task.input.len() as u64 + from)?;
    begins(&segment, part)?;
    let after = segment.fuel_before.saturating_add(receipt.fuel);
    differs("fuel after", segment.fuel_after, after)?;
    if receipt.outcome == Outcome::Stopped {
        if receipt.fuel == 0 {
            return Ok(());
        }
        let found = run.run_segment(part, Some(segment.fuel_after))?;
        differs("metered module", receipt.metered, found.metered)?;
        return Ok(differs("fuel", receipt.fuel, found.fuel)?);
    }
    Ok(compare(receipt, &segment, &run.run_segment(part, None)?)?)
}

/// Whether the segment begins with the snapshot at hand, or at the start of the task.
fn begins(segment: &Segment, part: &Part<'_>) -> Result<(), VerifyError> {
    let Some(from) = part.from else {
        differs("segment", segment.index, 0)?;
        differs("state root before", segment.before, Digest::ZERO)?;
        return Ok(differs("fuel before", segment.fuel_before, 0)?);
    };
    let snapshot = decode(from, &part.task.job.limits).map_err(VerifyError::Snapshot)?;
    differs("state root before", segment.before, snapshot.root())?;
    Ok(differs("fuel before", segment.fuel_before, snapshot.facts.fuel)?)
}

fn compare(receipt: &Receipt, segment: &Segment, found: &PartResult) -> Result<(), Mismatch> {
    differs("metered module", receipt.metered, found.metered)?;
    differs("outcome", receipt.outcome, found.outcome)?;
    differs("fuel", receipt.fuel, found.fuel)?;
    differs("state root after", segment.after, found.after)?;
    differs("output", receipt.output, Digest::of(&found.output))?;
    differs("log", receipt.log, Digest::of(&found.log))?;
    differs("bytes out", receipt.bytes_out, found.output.len() as u64)?;
    differs("peak memory", receipt.peak_memory, found.peak_memory)?;
    differs("memory × fuel", receipt.memory_fuel, found.memory_fuel)
}
