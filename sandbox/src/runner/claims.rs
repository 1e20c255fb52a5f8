//! What a child can honestly say.

use tallymill_protocol::Outcome;
use tallymill_protocol::snapshot::max_len;
use tallymill_protocol::work::VoidCause;

use crate::launch::Broken;
use crate::segment::SegmentSpec;
use crate::task::{TaskResult, TaskSpec, Void};
use crate::wire::{self, OVERHEAD};

/// The longest frame that a child which runs `task` can honestly send.
pub(super) fn longest(task: &TaskSpec, in_segment: bool) -> u64 {
    let limits = &task.job.limits;
    let snapshot = if in_segment { max_len(limits) } else { 0 };
    let output = limits.output.max(snapshot);
    output.saturating_add(limits.log).saturating_add(OVERHEAD).min(wire::MAX_FRAME)
}

/// Whether a result is within the task's limits.
pub(super) fn plausible(
    task: &TaskSpec,
    segment: Option<&SegmentSpec>,
    result: &TaskResult,
) -> Result<(), &'static str> {
    let limits = &task.job.limits;
    let paused = result.outcome == Outcome::Paused;
    let most = if paused { max_len(limits) } else { limits.output };
    let bytes_in = segment.map_or(task.input.len() as u64, SegmentSpec::bytes_in);
    let holds = [
        (!paused || segment.is_some(), "paused, where nothing was to be continued"),
        (result.fuel <= limits.fuel, "more fuel than the limit"),
        (result.peak_memory <= limits.memory, "more memory than the limit"),
        (result.output.len() as u64 <= most, "more output than the limit"),
        (result.log.len() as u64 <= limits.log, "more log than the limit"),
        (result.bytes_in == bytes_in, "another length of input"),
    ];
    holds.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
}

/// The void that a broken child stands for.
pub(super) fn ended(broken: Broken) -> Void {
    match broken {
        Broken::Died(how) => Void::new(VoidCause::ChildDied, how),
        Broken::Nonsense(what) => {
            Void::new(VoidCause::ChildDied, format!("it was ended for what it sent: {what}"))
        }
    }
}

/// The void of a child that sent what cannot be.
pub(super) fn nonsense(what: &str) -> Void {
    ended(Broken::Nonsense(what.to_owned()))
}
