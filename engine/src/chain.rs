//! Chains: where a long task stands between two segments, and what a receipt must say to go on from there.
//!
//! A lease of a `step` job is over one task, and over one segment of it: when hosts agree on a segment every lease of the
//! task ends, so a lease in force always begins where its task stands, also after a restart.

use tallymill_ledger::{Amount, most_per_segment};
use tallymill_protocol::work::SegmentStart;
use tallymill_protocol::{
    Digest, JobId, Manifest, Micros, Outcome, Receipt, Segment, Steps, TaskIndex, snapshot,
};

use crate::rows::SegmentRow;
use crate::slots::release;
use crate::state::{Core, Job, Slot, Vote};

/// Where a long task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// The segment that is next.
    pub index: u32,
    /// State root where it begins.
    pub root: Digest,
    /// Fuel used so far.
    pub fuel: u64,
    /// The snapshot there, and its length; none at the start.
    pub snapshot: Option<(Digest, u64)>,
    /// When hosts agreed on what was before.
    pub at: Micros,
}

impl Chain {
    /// Before the first segment.
    pub const START: Self =
        Self { index: 0, root: Digest::ZERO, fuel: 0, snapshot: None, at: Micros(0) };

    /// After this segment.
    pub const fn after(row: &SegmentRow) -> Self {
        Self {
            index: row.segment.saturating_add(1),
            root: row.root,
            fuel: row.fuel,
            snapshot: Some((row.snapshot, row.length)),
            at: row.at,
        }
    }

    fn length(&self) -> u64 {
        self.snapshot.map_or(0, |(_, length)| length)
    }

    fn start(&self, task: u32) -> SegmentStart {
        SegmentStart {
            task: TaskIndex(task),
            index: self.index,
            root: self.root,
            fuel: self.fuel,
            snapshot: self.snapshot.map(|(digest, _)| digest),
            length: self.length(),
        }
    }
}

impl Slot {
    /// Where its task stands.
    pub fn chain(&self) -> Chain {
        self.chain.as_deref().copied().unwrap_or(Chain::START)
    }
}

impl Job {
    /// How its tasks are divided, when they are.
    pub const fn steps(&self) -> Option<&Steps> {
        self.manifest.steps.as_ref()
    }

    /// Where a task stands.
    pub fn chain(&self, task: u32) -> Chain {
        self.slots.get(&task).map_or(Chain::START, Slot::chain)
    }

    /// The most that the next result of a task can cost.
    pub fn most(&self, task: u32) -> Amount {
        let chain = self.chain(task);
        if chain == Chain::START {
            return self.each;
        }
        let fuel = self.manifest.limits.fuel.saturating_sub(chain.fuel);
        let bytes_in = self.row.largest_input.saturating_add(chain.length());
        // The price of a whole chain was found to be an amount when the job was taken.
        most_per_segment(&self.manifest, fuel, bytes_in).unwrap_or(self.each)
    }

    /// Where each of these tasks stands, for a job whose tasks are divided.
    pub fn starts(&self, tasks: std::ops::Range<u32>) -> Vec<SegmentStart> {
        let tasks = tasks.take(if self.steps().is_some() { usize::MAX } else { 0 });
        tasks.map(|task| self.chain(task).start(task)).collect()
    }

    /// Whether a receipt is about a segment on which hosts have agreed without it.
    pub fn is_behind(&self, receipt: &Receipt) -> bool {
        let chain = self.chain(receipt.task.0);
        receipt.segment.is_some_and(|segment| segment.index < chain.index)
    }
}

/// What the first result of a task can cost at most: the whole of a command, the first segment of a long task.
pub fn most_at_first(
    manifest: &Manifest,
    longest: u64,
) -> Result<Amount, tallymill_ledger::PriceError> {
    match manifest.steps {
        Some(_) => most_per_segment(manifest, manifest.limits.fuel, longest),
        None => tallymill_ledger::most_per_result(manifest, longest, true),
    }
}

/// Whether a receipt is about its job's kind of task, and goes on where its task stands.
pub fn check(job: &Job, receipt: &Receipt) -> Result<(), String> {
    let paused = receipt.outcome == Outcome::Paused;
    match (job.steps(), receipt.segment) {
        (None, None) if !paused => Ok(()),
        (None, None) => Err("outcome: this job has whole tasks only".to_owned()),
        (None, Some(_)) => Err("segment: this job has whole tasks only".to_owned()),
        (Some(_), None) => Err("segment: the tasks of this job have segments".to_owned()),
        (Some(steps), Some(segment)) => follows(job, (steps, &segment), receipt),
    }
}

fn follows(
    job: &Job,
    (steps, segment): (&Steps, &Segment),
    receipt: &Receipt,
) -> Result<(), String> {
    let (chain, limits) = (job.chain(receipt.task.0), &job.manifest.limits);
    let paused = receipt.outcome == Outcome::Paused;
    let bytes_in = job.row.largest_input.saturating_add(chain.length());
    let rules = [
        (segment.index == chain.index, "segment: not the next one of its task"),
        (segment.before == chain.root, "segment: it begins at another state root"),
        (segment.fuel_before == chain.fuel, "segment: it begins at another fuel"),
        (
            segment.fuel_after.checked_sub(segment.fuel_before) == Some(receipt.fuel),
            "segment: its fuel is not that of the receipt",
        ),
        (segment.fuel_after <= limits.fuel, "segment: fuel above the limit of its task"),
        (receipt.bytes_in <= bytes_in, "bytes_in: longer than its input and its snapshot"),
        (
            !paused || receipt.fuel >= steps.segment,
            "segment: paused before it used the fuel of a segment",
        ),
        (
            !paused || receipt.bytes_out <= snapshot::max_len(limits),
            "bytes_out: above the longest snapshot of its job",
        ),
    ];
    let broken = rules.iter().find(|(holds, _)| !holds);
    broken.map_or(Ok(()), |(_, rule)| Err((*rule).to_owned()))
}

/// Moves a task past a segment on which hosts agree: every lease of it ends, and the next segment waits for a host. Gives
/// the slot as it was, with the results that are to be paid or lost.
pub fn advance(core: &mut Core, job_id: JobId, task: u32, winner: &Vote) -> Option<Slot> {
    let holders = core.jobs.get(&job_id)?.slots.get(&task)?.holders.clone();
    for holder in holders {
        release(core, job_id, task, holder.attempt);
    }
    let now = core.now;
    let slot = core.jobs.get_mut(&job_id)?.slots.get_mut(&task)?;
    let segment = winner.segment?;
    let row = SegmentRow {
        job: job_id,
        task: TaskIndex(task),
        segment: segment.index,
        root: segment.after,
        fuel: segment.fuel_after,
        snapshot: winner.output,
        length: winner.output_bytes,
        host: winner.host,
        at: now,
    };
    let chain = Some(Box::new(Chain::after(&row)));
    core.out.batch.segments.push(row);
    // What hosts gave up before does not count any more: the task has come on.
    Some(std::mem::replace(slot, Slot { chain, since: now, ..Slot::default() }))
}
