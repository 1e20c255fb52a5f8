//! Arbitrary values of every message, drawn from a seed.

use proptest::prelude::*;
use tallymill_protocol::cbor::{Blob, List, Message, Text};
use tallymill_protocol::work::{
    Accept, Grant, Position, Progress, ReportAnswer, ReportUpload, SegmentStart, VoidEntry,
    WorkReply, WorkRequest,
};
use tallymill_protocol::*;

/// A stream of numbers from a seed (splitmix64: Steele, Lea, Flood 2014).
pub struct Source(pub u64);

impl Source {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// Values that can be drawn.
pub trait Any: Sized {
    fn any(s: &mut Source) -> Self;
}

/// A strategy for any message.
pub fn message<M: Any + std::fmt::Debug>() -> impl Strategy<Value = M> {
    any::<u64>().prop_map(|seed| M::any(&mut Source(seed)))
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Any for $type {
            /// Every length of encoding is as likely as another.
            fn any(s: &mut Source) -> Self {
                let bits = s.below(<$type>::BITS as usize + 1);
                let mask = if bits == 0 { 0 } else { <$type>::MAX >> (<$type>::BITS as usize - bits) };
                <$type>::from_be_bytes(Any::any(s)) & mask
            }
        }
    )*};
}
integers!(u8, u32, u64);

impl<const N: usize> Any for [u8; N] {
    fn any(s: &mut Source) -> Self {
        std::array::from_fn(|_| s.next().to_be_bytes()[0])
    }
}

impl<T: Any> Any for Option<T> {
    fn any(s: &mut Source) -> Self {
        (s.below(2) == 0).then(|| T::any(s))
    }
}

macro_rules! wrappers {
    ($($type:ident),*) => {$(
        impl Any for $type {
            fn any(s: &mut Source) -> Self {
                $type(Any::any(s))
            }
        }
    )*};
}
wrappers!(
    Digest,
    Key,
    AccountId,
    HostId,
    CoordinatorId,
    JobId,
    LeaseDigest,
    Nonce,
    AttemptId,
    TaskIndex,
    Micros
);

impl<const MAX: usize> Any for Text<MAX> {
    fn any(s: &mut Source) -> Self {
        let letters = ['a', 'Z', '0', '\n', 'é', '∑', '🧮'];
        let count = s.below((MAX / 4).min(40) + 1);
        Self((0..count).map(|_| letters[s.below(letters.len())]).collect())
    }
}

impl<const MAX: usize> Any for Blob<MAX> {
    fn any(s: &mut Source) -> Self {
        let count = s.below(MAX.min(300) + 1);
        Self((0..count).map(|_| s.next().to_be_bytes()[0]).collect())
    }
}

impl<T: Any, const MAX: usize> Any for List<T, MAX> {
    fn any(s: &mut Source) -> Self {
        let count = s.below(MAX.min(3) + 1);
        Self((0..count).map(|_| T::any(s)).collect())
    }
}

impl Any for Network {
    fn any(s: &mut Source) -> Self {
        Self::new(["example.org/tallymill", "t", "größer.example/λ"][s.below(3)]).unwrap()
    }
}

impl Any for Inputs {
    fn any(s: &mut Source) -> Self {
        match s.below(2) {
            0 => Self::Range { from: Any::any(s), count: Any::any(s) },
            _ => Self::Table { root: Any::any(s), count: Any::any(s), blob: Any::any(s) },
        }
    }
}

impl Any for Policy {
    fn any(s: &mut Source) -> Self {
        match s.below(4) {
            0 => Self::Trusted,
            1 => Self::Quorum { n: [2, 3, 7][s.below(3)] },
            2 => Self::Audit { target: Any::any(s), surcharge: Any::any(s) },
            _ => Self::SelfCheck { surcharge: Any::any(s) },
        }
    }
}

impl Any for Outcome {
    fn any(s: &mut Source) -> Self {
        let kind = u8::try_from(s.below(7)).unwrap();
        let code = [s.next().to_be_bytes()[0], u8::try_from(s.below(10)).unwrap(), 0];
        let paused = kind == 6 && code[0] % 2 == 1;
        Self::from_parts(kind + u8::from(paused), code[usize::from(kind).min(2)]).unwrap()
    }
}

impl Any for Visibility {
    fn any(s: &mut Source) -> Self {
        [Self::Public, Self::Private][s.below(2)]
    }
}

impl Any for Interface {
    fn any(s: &mut Source) -> Self {
        [Self::Command, Self::Step][s.below(2)]
    }
}

impl Any for (Text<4096>, Text<4096>) {
    fn any(s: &mut Source) -> Self {
        (Any::any(s), Any::any(s))
    }
}

impl<M> Any for Signed<M> {
    fn any(s: &mut Source) -> Self {
        Self::new(Any::any(s))
    }
}

macro_rules! records {
    ($($name:ident { $(@$fixed:ident: $value:literal;)? $($field:ident),* })*) => {$(
        impl Any for $name {
            fn any(s: &mut Source) -> Self {
                Self { $($fixed: $value,)? $($field: Any::any(s)),* }
            }
        }
    )*};
}
records! {
    Versions { meter, costs, profile }
    Limits { fuel, memory, output, log, stack, table, scratch }
    Tariff { fuel, input, output, storage, memory, task, compile }
    Delegate { key, rank, share, expiry }
    File { name, blob, length }
    Requirements { features }
    Manifest {
        @format: 1; network, coordinators, delegates, nonce, payer, submitter, module, versions, inputs, limits, seed, argv,
        environment, files, policy, tariff, budget, deadline, priority, tags, visibility, requirements, title, interface,
        steps
    }
    Steps { budget, segment }
    Lease {
        @format: 1; network, coordinator, epoch, job, first, count, attempt, host, owner, payer, tariff, limits, versions,
        nonce, issued, expiry, module
    }
    Segment { index, before, after, fuel_before, fuel_after }
    Receipt {
        @format: 1; lease, task, input, output, outcome, fuel, peak_memory, memory_fuel, bytes_in, bytes_out, module,
        metered, log, segment, engine, cpu_time, started, finished, salt
    }
    Report { @format: 1; network, host, count, root, sequence, previous, coordinator, epoch }
    Login { @format: 1; audience, origin, purpose, nonce, expiry, signer }
    AccountStatement { @format: 1; network, account, recovery, issued }
    HostBinding { @format: 1; network, host, owner, issued, expiry }
    Rotation { @format: 1; network, account, key, recovery, sequence, issued }
    Revocation { @format: 1; network, owner, host, issued }
    StorageReceipt { @format: 1; network, holder, blob, length, until }
    BeaconReveal { @format: 1; network, revealer, index, preimage }
    SignedBytes { payload, signer, signature }
    Accept { submitters, refused_submitters, tags, refused_tags, modules, refused_modules }
    Progress { attempt, tasks, fuel }
    ReportUpload { report, leases, receipts, outputs, logs }
    VoidEntry { attempt, task, cause, detail }
    WorkRequest {
        slots, reports, progress, buffer, wait, modules, min_tariff, features, round_trip, accept, voids,
        held
    }
    Position { sequence, previous }
    ReportAnswer { root, verdicts, reason, next }
    SegmentStart { task, index, root, fuel, snapshot, length }
    Grant { lease, entries, inputs, proof, states }
    KeyChain { rotations, account }
    WorkReply { answers, grants, stop, reasons, now }
}

/// What every message is.
pub trait AnyMessage: Message + Any + Clone + PartialEq + std::fmt::Debug {}
impl<M: Message + Any + Clone + PartialEq + std::fmt::Debug> AnyMessage for M {}

/// A check that can be made of a message of any type.
pub trait Check {
    fn check<M: AnyMessage>(&self);
}

macro_rules! every {
    ($check:expr; $($name:ident),* $(,)?) => {{ $( Check::check::<$name>($check); )* }};
}

/// Makes the check of every type that is signed.
pub fn every_signed(check: &impl Check) {
    every!(check; Manifest, Lease, Report, Login, AccountStatement, HostBinding, Rotation, Revocation, StorageReceipt,
        BeaconReveal);
}

/// Makes the check of every type there is.
pub fn every_message(check: &impl Check) {
    every_signed(check);
    every!(check; Versions, Limits, Tariff, Delegate, File, Requirements, Segment, Receipt, SignedBytes, Accept, Progress,
        ReportUpload, VoidEntry, WorkRequest, Position, ReportAnswer, SegmentStart, Grant, WorkReply, Steps, KeyChain);
}
