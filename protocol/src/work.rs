//! What worker and coordinator say to each other: reports and the next lease request travel together.

use crate::cbor::{Blob, List, Text, record};
use crate::id::{AccountId, AttemptId, Digest, Micros, TaskIndex};
use crate::lease::Lease;
use crate::receipt::Report;
use crate::sign::Signed;

/// Largest request body, bytes.
pub const MAX_REQUEST: usize = 32 << 20;
/// Largest output or log carried inline, bytes; larger ones are uploaded as blobs first.
pub const MAX_INLINE: usize = 64 << 10;
/// Largest reply body, bytes.
pub const MAX_REPLY: usize = 32 << 20;

record! {
    /// The owner's acceptance rules: an empty list of allowed ones allows all.
    #[derive(Default)]
    pub struct Accept("accept", 65_536) {
        /// Only these submitters.
        0 => submitters: List<AccountId, 64>,
        /// Never these submitters.
        1 => refused_submitters: List<AccountId, 64>,
        /// Only jobs with one of these tags.
        2 => tags: List<Text<64>, 64>,
        /// Never jobs with one of these tags.
        3 => refused_tags: List<Text<64>, 64>,
        /// Only these modules.
        4 => modules: List<Digest, 64>,
        /// Never these modules.
        5 => refused_modules: List<Digest, 64>,
    }
}

record! {
    /// Heartbeat of one lease.
    #[derive(Copy)]
    pub struct Progress("progress", 64) {
        /// The lease's attempt.
        0 => attempt: AttemptId,
        /// Tasks done.
        1 => tasks: u32,
        /// Fuel used so far, whole slices of running tasks included.
        2 => fuel: u64,
    }
}

record! {
    /// A signed report with what it is about.
    pub struct ReportUpload("report-upload", MAX_REQUEST) {
        /// The report.
        0 => report: Signed<Report>,
        /// The lease tokens its receipts name.
        1 => leases: List<Signed<Lease>, 64>,
        /// The receipts' encodings, in the order of their leaves.
        2 => receipts: List<Blob<2048>, 8192>,
        /// Their outputs; empty where uploaded as a blob.
        3 => outputs: List<Blob<MAX_INLINE>, 8192>,
        /// Their logs; empty where uploaded as a blob.
        4 => logs: List<Blob<MAX_INLINE>, 8192>,
    }
}

record! {
    /// A run that ended for a reason that is not the guest's: no receipt, no vote, no pay.
    pub struct VoidEntry("void-entry", 1024) {
        /// The lease's attempt.
        0 => attempt: AttemptId,
        /// The task.
        1 => task: TaskIndex,
        /// The cause, a [`VoidCause`] code.
        2 => cause: u8,
        /// More, for people; at most 200 bytes.
        3 => detail: Text<200>,
    }
}

/// Why a run is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum VoidCause {
    /// The process that ran it was killed or crashed.
    ChildDied,
    /// It took more wall-clock time than its host allows.
    WallClock,
    /// A limit of the owner, tighter than the manifest's, was reached.
    OwnerLimit,
    /// The engine's stack overflowed before the meter's.
    NativeOverflow,
    /// The engine refused a growth that the meter allowed.
    GrowthRefused,
    /// Module, input or file could not be fetched or did not match its digest.
    Unavailable,
    /// The module could not be compiled here.
    Compile,
    /// The owner stopped or paused the worker.
    Withdrawn,
    /// Anything else.
    Other,
}

impl VoidCause {
    /// Every cause, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::ChildDied,
        Self::WallClock,
        Self::OwnerLimit,
        Self::NativeOverflow,
        Self::GrowthRefused,
        Self::Unavailable,
        Self::Compile,
        Self::Withdrawn,
        Self::Other,
    ];

    /// The cause with this code; codes of later versions are [`VoidCause::Other`].
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Self::ALL.get(usize::from(code)).copied().unwrap_or(Self::Other)
    }

    /// A fixed phrase for people and logs.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::ChildDied => "the run's process died",
            Self::WallClock => "wall-clock limit",
            Self::OwnerLimit => "owner's limit",
            Self::NativeOverflow => "native stack overflow",
            Self::GrowthRefused => "memory could not grow",
            Self::Unavailable => "data unavailable",
            Self::Compile => "module could not be compiled",
            Self::Withdrawn => "withdrawn by the owner",
            Self::Other => "other",
        }
    }
}

record! {
    /// A worker's call.
    pub struct WorkRequest("work-request", MAX_REQUEST) {
        /// Tasks it can run at once.
        0 => slots: u32,
        /// Finished work.
        1 => reports: List<ReportUpload, 64>,
        /// Heartbeat: one entry per lease it holds.
        2 => progress: List<Progress, 1024>,
        /// Microseconds of work it likes to have buffered; 0 asks for nothing.
        3 => buffer: u64,
        /// How long to wait for something to say, ms, at most 50,000.
        4 => wait: u32,
        /// Modules in its cache.
        5 => modules: List<Digest, 256>,
        /// Lowest tariff it accepts, micro-credits per 10⁹ fuel.
        6 => min_tariff: u64,
        /// Features it offers.
        7 => features: List<Text<64>, 64>,
        /// Round-trip time it measured, µs.
        8 => round_trip: u64,
        /// The owner's acceptance rules.
        9 => accept: Accept,
        /// Void runs.
        10 => voids: List<VoidEntry, 8192>,
        /// Every lease of which it owes something: tasks, reports or void runs. Said where work is asked for: what is not here
        /// is taken back, since the answer that granted it was lost, or the host was.
        11 => held: Option<List<AttemptId, 4096>>,
    }
}

/// What became of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// The task is decided and paid as it says; also the answer to a replay.
    Settled,
    /// Taken; the task waits for other results.
    Taken,
    /// The task was decided without it.
    Superseded,
    /// Not believed: see the answer's reason.
    Refused,
}

impl Verdict {
    /// The verdict with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Settled),
            1 => Some(Self::Taken),
            2 => Some(Self::Superseded),
            3 => Some(Self::Refused),
            _ => None,
        }
    }
}

record! {
    /// What a host's next report must say of those before it.
    #[derive(Copy)]
    pub struct Position("position", 64) {
        /// Its sequence.
        0 => sequence: u64,
        /// Digest of the report before it.
        1 => previous: Digest,
    }
}

record! {
    /// What became of a report.
    pub struct ReportAnswer("report-answer", 16_384) {
        /// Its root.
        0 => root: Digest,
        /// A [`Verdict`] code per receipt; empty when the report was not looked at.
        1 => verdicts: List<u8, 8192>,
        /// Why, for the first refused one; empty when none is.
        2 => reason: Text<500>,
        /// Where the host's chain of reports stands here, when the report does not continue it.
        3 => next: Option<Position>,
    }
}

record! {
    /// Where a segment of a long task begins.
    #[derive(Copy)]
    pub struct SegmentStart("segment-start", 128) {
        /// The task.
        0 => task: TaskIndex,
        /// Position of the segment, from 0.
        1 => index: u32,
        /// State root there; zeros at the start of the task.
        2 => root: Digest,
        /// Fuel used before it.
        3 => fuel: u64,
        /// The snapshot there; none at the start of the task.
        4 => snapshot: Option<Digest>,
        /// Its length, bytes.
        5 => length: u64,
    }
}

record! {
    /// A lease with the inputs that fit.
    pub struct Grant("grant", MAX_REPLY) {
        /// The token.
        0 => lease: Signed<Lease>,
        /// Table entries of the range, 48 bytes each; empty for range jobs.
        1 => entries: Blob<393_216>,
        /// Inputs of a table job, where small; empty list: read the blob.
        2 => inputs: List<Blob<MAX_INLINE>, 8192>,
        /// Merkle range proof of the entries.
        3 => proof: List<Digest, 64>,
        /// Of a `step` job: where each of its tasks stands, in order; empty for commands.
        4 => states: List<SegmentStart, 8192>,
    }
}

record! {
    /// The coordinator's answer.
    pub struct WorkReply("work-reply", MAX_REPLY) {
        /// One answer per report, in order.
        0 => answers: List<ReportAnswer, 64>,
        /// New leases.
        1 => grants: List<Grant, 64>,
        /// Attempts to stop.
        2 => stop: List<AttemptId, 1024>,
        /// When there is no grant: the reasons, most important first.
        3 => reasons: List<Text<200>, 16>,
        /// The coordinator's time.
        4 => now: Micros,
    }
}
