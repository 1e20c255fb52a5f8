//! Receipts: what one execution used and produced; reports: many receipts under one signature.

use crate::cbor::{DecodeError, Decoder, Encoder, Field, Message, Text, record};
use crate::id::{CoordinatorId, Digest, HostId, LeaseDigest, Micros, Network, TaskIndex};
use crate::merkle;

/// Most receipts in one report.
pub const MAX_RECEIPTS: usize = 8192;

/// Why the engine stopped a guest that broke a rule of WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Trap {
    /// `unreachable` was executed.
    Unreachable,
    /// A memory access out of bounds.
    MemoryOutOfBounds,
    /// A table access out of bounds.
    TableOutOfBounds,
    /// A call through a null table entry. Hosts write [`Trap::BadSignature`]: not every engine tells them apart.
    IndirectCallToNull,
    /// A call through a table entry of another type, or through a null one.
    BadSignature,
    /// A result that does not fit its integer type: of a division, or of a conversion from any float.
    IntegerOverflow,
    /// Integer division by zero.
    DivisionByZero,
    /// A float that does not fit the integer type. Hosts write [`Trap::IntegerOverflow`].
    BadConversion,
    /// An unaligned atomic access.
    UnalignedAtomic,
    /// Anything else the engine names.
    Other,
}

impl Trap {
    const ALL: [Self; 10] = [
        Self::Unreachable,
        Self::MemoryOutOfBounds,
        Self::TableOutOfBounds,
        Self::IndirectCallToNull,
        Self::BadSignature,
        Self::IntegerOverflow,
        Self::DivisionByZero,
        Self::BadConversion,
        Self::UnalignedAtomic,
        Self::Other,
    ];
}

/// How a run ended. All of these are deterministic but [`Outcome::Stopped`]; a run that ended for any other reason is void and has no receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The guest exited with this code.
    Exited(u8),
    /// The guest trapped.
    Trapped(Trap),
    /// It used all its fuel.
    FuelExhausted,
    /// It declares more memory than its limit.
    MemoryExceeded,
    /// It used all its stack.
    StackExhausted,
    /// It wrote more than its output limit.
    OutputExceeded,
    /// It was stopped at a slice: cancelled or past the deadline. Paid, never a result.
    Stopped,
    /// A segment of a long task is done and there is more to do: the output is the snapshot's.
    Paused,
}

impl Outcome {
    /// Whether the task did what its author wanted: exit code 0.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// Kind and code as they are encoded and stored.
    #[must_use]
    pub const fn parts(&self) -> (u8, u8) {
        match self {
            Self::Exited(code) => (0, *code),
            Self::Trapped(trap) => (1, *trap as u8),
            Self::FuelExhausted => (2, 0),
            Self::MemoryExceeded => (3, 0),
            Self::StackExhausted => (4, 0),
            Self::OutputExceeded => (5, 0),
            Self::Stopped => (6, 0),
            Self::Paused => (7, 0),
        }
    }

    /// The outcome with these parts.
    #[must_use]
    pub fn from_parts(kind: u8, code: u8) -> Option<Self> {
        match (kind, code) {
            (0, code) => Some(Self::Exited(code)),
            (1, code) => Trap::ALL.get(usize::from(code)).map(|trap| Self::Trapped(*trap)),
            (2, 0) => Some(Self::FuelExhausted),
            (3, 0) => Some(Self::MemoryExceeded),
            (4, 0) => Some(Self::StackExhausted),
            (5, 0) => Some(Self::OutputExceeded),
            (6, 0) => Some(Self::Stopped),
            (7, 0) => Some(Self::Paused),
            _ => None,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::Exited(code) => return write!(f, "exited with code {code}"),
            Self::Trapped(trap) => return write!(f, "trapped: {trap}"),
            Self::FuelExhausted => "fuel exhausted",
            Self::MemoryExceeded => "declared memory exceeds the limit",
            Self::StackExhausted => "stack exhausted",
            Self::OutputExceeded => "output limit reached",
            Self::Stopped => "stopped",
            Self::Paused => "paused between two segments",
        };
        f.write_str(text)
    }
}

impl std::fmt::Display for Trap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "unreachable executed",
            Self::MemoryOutOfBounds => "memory access out of bounds",
            Self::TableOutOfBounds => "table access out of bounds",
            Self::IndirectCallToNull => "indirect call to a null entry",
            Self::BadSignature => "indirect call to a null entry or one of another type",
            Self::IntegerOverflow => "integer overflow, or a float that does not fit",
            Self::DivisionByZero => "division by zero",
            Self::BadConversion => "float does not fit the integer type",
            Self::UnalignedAtomic => "unaligned atomic access",
            Self::Other => "other trap",
        })
    }
}

impl Field for Outcome {
    fn encode(&self, e: &mut Encoder) {
        let (kind, code) = self.parts();
        e.array(2);
        e.uint(u64::from(kind));
        e.uint(u64::from(code));
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let parts = d.array(2, u8::decode)?;
        let outcome = match parts[..] {
            [kind, code] => Self::from_parts(kind, code),
            _ => None,
        };
        outcome.ok_or_else(|| d.invalid("outcome: unknown kind or code"))
    }
}

record! {
    /// A part of a long task, between two snapshots.
    #[derive(Copy, Hash)]
    pub struct Segment("segment", 128) {
        /// Position from 0.
        0 => index: u32,
        /// State root before; zeros for the first.
        1 => before: Digest,
        /// State root after; zeros when the task ended or was stopped in the middle of a step.
        2 => after: Digest,
        /// Fuel before, since the start of the task.
        3 => fuel_before: u64,
        /// Fuel after, since the start of the task.
        4 => fuel_after: u64,
    }
}

record! {
    /// Evidence of one execution. It is signed by way of the report that holds it.
    pub struct Receipt("receipt", 2048) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The lease it was run under.
        1 => lease: LeaseDigest,
        /// The task.
        2 => task: TaskIndex,
        /// Digest of standard input.
        3 => input: Digest,
        /// Digest of standard output; of the snapshot where the outcome is [`Outcome::Paused`].
        4 => output: Digest,
        /// How it ended.
        5 => outcome: Outcome,
        /// Fuel used.
        6 => fuel: u64,
        /// Highest size of linear memory, bytes.
        7 => peak_memory: u64,
        /// Pages of 64 KiB × fuel, summed.
        8 => memory_fuel: u64,
        /// Bytes of standard input, and of the snapshot that a segment began from.
        9 => bytes_in: u64,
        /// Bytes of standard output; of the snapshot where the outcome is [`Outcome::Paused`].
        10 => bytes_out: u64,
        /// The module as submitted.
        11 => module: Digest,
        /// The module as metered.
        12 => metered: Digest,
        /// Digest of standard error, after cutting.
        13 => log: Digest,
        /// The part of the task; absent: the whole.
        14 => segment: Option<Segment>,
        /// Engine and version (advisory).
        15 => engine: Text<64>,
        /// Thread CPU time, µs (advisory).
        16 => cpu_time: u64,
        /// When it began (advisory).
        17 => started: Micros,
        /// When it ended (advisory).
        18 => finished: Micros,
        /// Keeps the leaf from telling the output.
        19 => salt: [u8; 32],
    }
}

impl Receipt {
    /// Whether two executions came to the same result: outcome, output, fuel and segment.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let result = |it: &Self| (it.outcome, it.output, it.fuel, it.segment);
        result(self) == result(other)
    }
}

record! {
    /// What a host signs: the root over a batch of receipts.
    pub struct Report("report", 1024) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The network.
        1 => network: Network,
        /// The host that signs.
        2 => host: HostId,
        /// Number of receipts.
        3 => count: u32,
        /// Merkle root over their encodings.
        4 => root: Digest,
        /// Position among this host's reports, from 0.
        5 => sequence: u64,
        /// Digest of the previous report's payload; zeros for the first.
        6 => previous: Digest,
        /// The coordinator of every lease in it.
        7 => coordinator: CoordinatorId,
        /// The epoch of every lease in it.
        8 => epoch: u64,
    }
}

impl Report {
    /// Whether these encoded receipts are the ones under its root.
    #[must_use]
    pub fn covers<'r>(&self, receipts: impl IntoIterator<Item = &'r [u8]>) -> bool {
        let leaves: Vec<Digest> = receipts.into_iter().map(merkle::leaf).collect();
        leaves.len() == usize::try_from(self.count).unwrap_or(usize::MAX)
            && merkle::root(&leaves) == self.root
    }

    /// The digest of a report's payload: what the next report names as previous.
    #[must_use]
    pub fn digest_of(payload: &[u8]) -> Digest {
        Digest::of(payload)
    }

    /// The digest of this report's payload.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Self::digest_of(&self.to_bytes())
    }
}
