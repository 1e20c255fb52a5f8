//! What the engine is asked and what it answers.

use std::sync::Arc;

use tallymill_ledger::{Amount, GrantPolicy};
use tallymill_protocol::work::{Accept, Position, Progress, SegmentStart, Verdict, VoidEntry};
use tallymill_protocol::{
    AccountId, AccountStatement, AttemptId, Digest, HostBinding, HostId, JobId, Lease, LeaseDigest,
    Manifest, Micros, Receipt, Report, Revocation, Rotation, SignedBytes,
};

use crate::Refusal;
use crate::rows::{Batch, BlobRow, JobState, SuspensionKind};

/// Names a caller who waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Who may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Admission {
    /// Everybody.
    #[default]
    Open,
    /// Everybody, but an operator approves each account before it submits or gets leases.
    Approved,
    /// Operators only.
    Closed,
}

/// The coordinator's policy. All of it is public but `random`.
#[derive(Debug, Clone)]
pub struct Config {
    /// How much credit operators may grant.
    pub grants: GrantPolicy,
    /// Results of one task before it fails because they disagree. A quorum of `n` always gets at least `n + 1` results.
    pub max_attempts: u8,
    /// Void runs, declined tasks, lapsed leases and refused receipts of one owner after which a task never goes to that owner again. A
    /// trusted task, which has no other owner to go to, fails then.
    pub owner_faults: usize,
    /// Unrelated owners whose lapsed leases or refused receipts fail a task.
    pub lapse_owners: usize,
    /// Unrelated owners whose void runs fail a task.
    pub void_owners: usize,
    /// Who may join.
    pub admission: Admission,
    /// Accounts that may grant, suspend, lift and approve.
    pub operators: Vec<AccountId>,
    /// How often hosts report progress of long leases, µs.
    pub heartbeat: u64,
    /// How long a task waits for a host of another neighbourhood, or for one that did not void it, µs.
    pub neighbourhood_wait: u64,
    /// Live jobs that one account may pay for.
    pub max_jobs_per_account: usize,
    /// Hosts that one account may have.
    pub max_hosts_per_account: usize,
    /// Hosts that may wait for work at once; beyond it a call is answered at once.
    pub max_waiting: usize,
    /// Secret seed, drawn at each start. Attempt ids and nonces are BLAKE3 of it, the epoch, the commit that was loaded and a
    /// counter, so the engine draws nothing, and an engine that is loaded again with the same seed gives none twice.
    pub random: [u8; 32],
}

impl Config {
    /// The defaults for this grant policy, these operators and this seed.
    #[must_use]
    pub const fn new(grants: GrantPolicy, operators: Vec<AccountId>, random: [u8; 32]) -> Self {
        Self {
            grants,
            max_attempts: 5,
            owner_faults: 3,
            lapse_owners: 5,
            void_owners: 2,
            admission: Admission::Open,
            operators,
            heartbeat: 30 * Micros::SECOND,
            neighbourhood_wait: 30 * Micros::SECOND,
            max_jobs_per_account: 1_000,
            max_hosts_per_account: 1_000,
            max_waiting: 16_384,
            random,
        }
    }
}

/// An idempotency key with what it was used for. Kept for seven days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// Who asks.
    pub account: AccountId,
    /// Which route.
    pub route: &'static str,
    /// The key, at most 128 bytes.
    pub name: String,
    /// Digest of the request's body.
    pub request: Digest,
}

/// What a host asks for, and what it says about its leases.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Tasks it can run at once.
    pub slots: u32,
    /// Work it likes to have buffered, µs; 0 asks for nothing.
    pub buffer: u64,
    /// How long to wait for something to say, µs.
    pub wait: u64,
    /// Modules in its cache.
    pub modules: Vec<Digest>,
    /// Lowest tariff it accepts, micro-credits per 10⁹ fuel.
    pub min_tariff: u64,
    /// Features it offers.
    pub features: Vec<String>,
    /// Round-trip time it measured, µs.
    pub round_trip: u64,
    /// The owner's acceptance rules.
    pub accept: Accept,
    /// Heartbeats of its leases.
    pub progress: Vec<Progress>,
    /// Void runs.
    pub voids: Vec<VoidEntry>,
    /// Every lease of which it owes something, where it says so: others of its leases are taken back.
    pub held: Option<Vec<AttemptId>>,
}

/// A report whose signature, root, network, coordinator, host and lease tokens the caller has verified.
#[derive(Debug, Clone)]
pub struct CheckedReport {
    /// The report.
    pub report: Report,
    /// The report as signed.
    pub envelope: SignedBytes,
    /// Its receipts in the order of their leaves.
    pub receipts: Vec<CheckedReceipt>,
    /// The lease tokens that they name, as signed.
    pub leases: Vec<(LeaseDigest, SignedBytes)>,
    /// Verdict codes stored for a report with this root, when the caller found one among the committed rows. The engine
    /// remembers the latest reports itself; a caller may look up older ones only after an answer without verdicts.
    pub known: Option<Vec<u8>>,
}

/// A receipt with what it is about.
#[derive(Debug, Clone)]
pub struct CheckedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// The lease it names, its signature verified.
    pub lease: Arc<Lease>,
    /// The output where small; its digest is verified.
    pub output: Option<Vec<u8>>,
    /// The log where small; its digest is verified.
    pub log: Option<Vec<u8>>,
    /// Why the caller does not believe it (an output that is missing or does not match its digest, for instance).
    pub refused: Option<String>,
}

/// Something to decide. Signatures in it are verified by the caller.
#[derive(Debug, Clone)]
pub enum Command {
    /// An account publishes itself.
    OpenAccount {
        /// The statement.
        statement: AccountStatement,
        /// As signed.
        envelope: SignedBytes,
    },
    /// An owner binds a host, or renews the binding.
    JoinHost {
        /// The statement.
        binding: HostBinding,
        /// As signed by the owner.
        envelope: SignedBytes,
        /// The network neighbourhood of the caller's address; `None` for loopback and private ones.
        neighbourhood: Option<[u8; 8]>,
    },
    /// An account moves to a new key.
    Rotate {
        /// The statement.
        rotation: Rotation,
        /// As signed by the current or the recovery key.
        envelope: SignedBytes,
    },
    /// An owner withdraws a host.
    Revoke {
        /// The statement.
        revocation: Revocation,
        /// As signed by the owner.
        envelope: SignedBytes,
    },
    /// An operator lets a waiting account in.
    Approve {
        /// The operator.
        by: AccountId,
        /// Whom.
        account: AccountId,
        /// The idempotency key.
        once: Option<Once>,
    },
    /// A job. The caller checked that its module passes the screening and that its blobs are there.
    Submit {
        /// The manifest.
        manifest: Box<Manifest>,
        /// As signed by the submitter.
        envelope: SignedBytes,
        /// Who asks.
        by: AccountId,
        /// Length of the longest input of a table job, bytes; not used for range jobs.
        largest_input: u64,
        /// Number and escrow of the stored job of this id, when the caller found one: the engine remembers only live jobs
        /// and those that ended last. What was submitted once is never taken again.
        stored: Option<(u64, Amount)>,
        /// The idempotency key.
        once: Option<Once>,
    },
    /// Stops a job.
    Cancel {
        /// Which.
        job: JobId,
        /// Who asks: its payer, its submitter or an operator.
        by: AccountId,
        /// Why, for people.
        reason: String,
        /// The idempotency key.
        once: Option<Once>,
    },
    /// A host's call.
    Work {
        /// Who calls.
        host: HostId,
        /// The neighbourhood of the caller's address; `None` for loopback and private ones.
        neighbourhood: Option<[u8; 8]>,
        /// What it asks.
        ask: Box<Ask>,
        /// Finished work.
        reports: Vec<CheckedReport>,
    },
    /// A lease could not be handed out: its tasks go to others, and nobody is at fault.
    ReturnLease {
        /// Which.
        attempt: AttemptId,
    },
    /// An operator grants credit.
    Grant {
        /// The operator.
        by: AccountId,
        /// To whom.
        to: AccountId,
        /// How much.
        amount: Amount,
        /// The idempotency key.
        once: Option<Once>,
    },
    /// An operator stops leases of an account, a module, a job or a host.
    Suspend {
        /// The operator.
        by: AccountId,
        /// What kind.
        kind: SuspensionKind,
        /// Which.
        subject: [u8; 32],
        /// Why, for everybody to read.
        reason: String,
        /// The idempotency key.
        once: Option<Once>,
    },
    /// An operator lifts a suspension.
    Lift {
        /// The operator.
        by: AccountId,
        /// What kind.
        kind: SuspensionKind,
        /// Which.
        subject: [u8; 32],
        /// Why.
        reason: String,
        /// The idempotency key.
        once: Option<Once>,
    },
    /// A blob is in the store.
    AddBlob(BlobRow),
    /// Keeps the results of a job, or keeps them no longer.
    Keep {
        /// Which.
        job: JobId,
        /// Who asks: its payer, its submitter or an operator.
        by: AccountId,
        /// Payer and submitter of the job, as the caller read them: the engine remembers live jobs only.
        of: [AccountId; 2],
        /// Why they are kept; `None` ends it.
        reason: Option<String>,
    },
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its root.
    pub root: Digest,
    /// One per receipt; empty when the report as a whole was not taken and may be sent again as `reason` says.
    pub verdicts: Vec<Verdict>,
    /// Why, for the first refused one; empty when none is.
    pub reason: String,
    /// Where the host's chain of reports stands, when the report does not continue it: it is signed again for that place.
    pub next: Option<Position>,
}

/// A lease to sign and hand out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The lease.
    pub lease: Lease,
    /// Of a `step` job: where each of its tasks stands; empty for commands.
    pub states: Vec<SegmentStart>,
}

/// Answer to a host's call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkAnswer {
    /// One per report, in order.
    pub answers: Vec<Answer>,
    /// New leases.
    pub grants: Vec<Granted>,
    /// Attempts to stop.
    pub stop: Vec<AttemptId>,
    /// When there is no grant: why, most important first; at most 16, each at most 200 bytes.
    pub reasons: Vec<String>,
}

/// Answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done; the subject is what it was about (an account's, host's or job's id, a transfer's number as 8 big-endian bytes).
    Done {
        /// What it was about.
        subject: Vec<u8>,
    },
    /// A job was taken.
    Submitted {
        /// Its id.
        job: JobId,
        /// Its position in the order of submission.
        number: u64,
        /// What is held for it.
        escrow: Amount,
    },
    /// For a host's call.
    Work(WorkAnswer),
    /// A host is bound.
    Host {
        /// Sequence its next report must have.
        sequence: u64,
        /// Digest of its last report's payload.
        last_report: Digest,
        /// End of the binding.
        expiry: Micros,
    },
    /// Not done.
    Refused(Refusal),
}

/// Something to tell those who follow. Coalesced: one per subject and batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A job moved.
    Job {
        /// Which.
        id: JobId,
        /// Its state.
        state: JobState,
        /// Its totals.
        totals: Totals,
    },
    /// An account's balance, hosts or standing changed.
    Account {
        /// Whose.
        owner: AccountId,
    },
    /// Hosts or accounts came, went or were suspended.
    Network,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tasks in all.
    pub tasks: u32,
    /// Decided and final.
    pub finished: u32,
    /// Decided and failed.
    pub failed: u32,
    /// Decided and provisional.
    pub provisional: u32,
    /// Held at submission.
    pub escrow: Amount,
    /// Paid so far.
    pub spent: Amount,
    /// Fuel of decided tasks.
    pub fuel: u64,
}

/// What must be committed, and what may leave the process only after that.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// The changes.
    pub batch: Batch,
    /// The replies.
    pub replies: Vec<(Token, Reply)>,
    /// The events.
    pub events: Vec<Event>,
}

/// A live job as it stands, decided but not necessarily committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Its state.
    pub state: JobState,
    /// How far it is.
    pub totals: Totals,
    /// Credit that running and undecided results may still cost.
    pub reserved: Amount,
    /// Tasks with a lease in force.
    pub leased: usize,
    /// Tasks that never had a lease.
    pub untouched: u32,
    /// Tasks that wait for another host.
    pub waiting: usize,
    /// Tasks with results that wait for others.
    pub undecided: usize,
    /// Why its tasks wait, most important first; empty when none does.
    pub why: Vec<String>,
}

/// How the network stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkView {
    /// Accounts.
    pub accounts: usize,
    /// Hosts bound.
    pub hosts: usize,
    /// Hosts heard of within two heartbeats.
    pub active: usize,
    /// Owners of those.
    pub owners: usize,
    /// Hosts that wait for work.
    pub waiting: usize,
    /// Jobs running or stopping.
    pub jobs: usize,
    /// Leases in force.
    pub leases: usize,
}
