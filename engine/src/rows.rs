//! What one commit makes durable, and what a start reads back.
//!
//! Rows mirror the tables of `migrations/`. The engine fills a [`Batch`] while it decides; the store writes it in one
//! transaction; nothing that depends on it leaves the process before.

mod batch;
mod kept;
mod runs;

use tallymill_ledger::{AccountKey, Amount, Transfer};
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{
    AccountId, Digest, HostId, JobId, Key, LeaseDigest, Micros, Outcome, SignedBytes, TaskIndex,
};

pub use batch::{Batch, Counters, Identity, Snapshot};
pub use kept::{ChargeRow, HoldKind, HoldRow, UseRow};
pub use runs::{LeaseRow, ReplicaMove, ReplicaRow};

/// Tasks in one page of slot states.
pub const PAGE_TASKS: u32 = 4096;
/// Bytes of one page: two bits a task.
pub const PAGE_BYTES: usize = 1024;

/// Standing of an account with this coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountStatus {
    /// May do everything.
    Active,
    /// Waits for approval by an operator.
    Waiting,
    /// Gets no leases and submits no jobs.
    Suspended,
}

/// State of a job as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Tasks are leased and decided.
    Running,
    /// Cancelled or expired; leases in force may still report what ran.
    Stopping,
    /// Every task is decided.
    Finished,
    /// Stopped by its payer.
    Cancelled,
    /// Stopped by its deadline.
    Expired,
    /// Stopped by an operator.
    Suspended,
}

/// State of one reported execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// Waits for others.
    Reported,
    /// Paid into pending.
    Provisional,
    /// Paid out.
    Final,
    /// Outvoted: not paid.
    Lost,
    /// Stopped by the payer or the deadline, paid up to its last slice.
    Stopped,
    /// Withdrawn by a conviction.
    Void,
}

/// State of a decided task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Decided; its pay is still held back.
    Provisional,
    /// Decided for ever, exit code 0.
    Final,
    /// Decided, but not what its author wanted; the cause says why.
    Failed,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Its first key.
    pub id: AccountId,
    /// The key it signs with now.
    pub current_key: Key,
    /// Digest of its recovery key.
    pub recovery: Option<Digest>,
    /// Rotations so far.
    pub rotations: u64,
    /// Standing.
    pub status: AccountStatus,
    /// Credit granted to it so far.
    pub granted: Amount,
    /// When it joined.
    pub joined: Micros,
}

/// A volunteer machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    /// Its key.
    pub id: HostId,
    /// Whose it is.
    pub owner: AccountId,
    /// End of its binding.
    pub expiry: Micros,
    /// When its owner withdrew it.
    pub revoked_at: Option<Micros>,
    /// When it joined.
    pub joined: Micros,
    /// When it was last heard of.
    pub seen: Micros,
    /// Sequence its next report must have.
    pub reports: u64,
    /// Digest of its last report's payload.
    pub last_report: Digest,
    /// Tasks settled.
    pub settled: u64,
    /// Fuel of settled tasks.
    pub fuel: u64,
    /// Void runs.
    pub voided: u64,
    /// Results that lost a vote.
    pub outvoted: u64,
    /// Leased tasks that it never reported.
    pub abandoned: u64,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Digest of the manifest.
    pub id: JobId,
    /// Shard of the job.
    pub shard: u8,
    /// Epoch at which it was last written.
    pub epoch: u64,
    /// Position in the order of submission, from 1.
    pub number: u64,
    /// Whose credit pays.
    pub payer: AccountId,
    /// Who signed.
    pub submitter: AccountId,
    /// The module.
    pub module: Digest,
    /// For people.
    pub title: String,
    /// The manifest as signed.
    pub envelope: SignedBytes,
    /// State of the job.
    pub state: JobState,
    /// Number of tasks.
    pub tasks: u32,
    /// Decided and final.
    pub final_tasks: u32,
    /// Decided and failed.
    pub failed_tasks: u32,
    /// Decided and provisional.
    pub provisional_tasks: u32,
    /// Length of its longest input, bytes: what a result may be paid for at most.
    pub largest_input: u64,
    /// Credit held for it at submission.
    pub escrow: Amount,
    /// The part of `escrow` that was granted credit; the rest was earned.
    pub held_granted: Amount,
    /// Credit paid out of the escrow.
    pub spent: Amount,
    /// Fuel of decided tasks.
    pub fuel: u64,
    /// When it was submitted.
    pub submitted: Micros,
    /// When its last task was decided or it was stopped for good.
    pub finished: Option<Micros>,
    /// When it is stopped.
    pub deadline: Micros,
    /// Whether somebody keeps its results: it has a [`HoldRow`]. The store tells; writing a job does not change it.
    pub held: bool,
    /// Since when its results are not there any more. The store tells; writing a job does not change it.
    pub collecting: Option<Micros>,
}

/// 4,096 slot states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRow {
    /// The job.
    pub job: JobId,
    /// Position: tasks from `page * PAGE_TASKS` on.
    pub page: u32,
    /// Two bits a task, the lowest bits first: 0 pending, 1 provisional, 2 final, 3 failed. [`PAGE_BYTES`] long.
    pub states: Vec<u8>,
}

/// An accepted report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// Root over its receipts.
    pub root: Digest,
    /// Who signed.
    pub host: HostId,
    /// Position among the host's reports.
    pub sequence: u64,
    /// Epoch of its leases.
    pub epoch: u64,
    /// The report as signed.
    pub envelope: SignedBytes,
    /// The lease tokens that its receipts name, as signed: evidence needs them after the lease is gone. A token that is stored already stays.
    pub leases: Vec<(LeaseDigest, SignedBytes)>,
    /// Leaves of its tree in order: they give Merkle paths also where a receipt was refused and no replica keeps it.
    pub leaves: Vec<Digest>,
    /// Number of receipts.
    pub receipts: u32,
    /// One verdict code per receipt: the answer to a replay.
    pub verdicts: Vec<u8>,
    /// Promised position in the log.
    pub log_index: u64,
    /// When it was accepted.
    pub at: Micros,
}

/// A decided task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// The job.
    pub job: JobId,
    /// The task.
    pub task: TaskIndex,
    /// Position in the order of decisions of all jobs, from 1: what result streams follow.
    pub sequence: u64,
    /// The segment that decided it; 0 where it is not divided.
    pub segment: u32,
    /// How it was decided.
    pub state: TaskState,
    /// Whose result stands; absent when there is none.
    pub host: Option<HostId>,
    /// Why it failed, in words; absent when it did not.
    pub cause: Option<String>,
    /// How the run ended; absent when there is no result.
    pub outcome: Option<Outcome>,
    /// Fuel of the result, of all its segments.
    pub fuel: Option<u64>,
    /// Digest of the output.
    pub output: Option<Digest>,
    /// Length of the output.
    pub output_bytes: Option<u64>,
    /// When it was decided.
    pub at: Micros,
}

/// A segment of a long task on which hosts agreed, and after which there is more to do: where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// The job.
    pub job: JobId,
    /// The task.
    pub task: TaskIndex,
    /// Position of the segment, from 0.
    pub segment: u32,
    /// State root at its end.
    pub root: Digest,
    /// Fuel of the task up to its end.
    pub fuel: u64,
    /// The snapshot at its end.
    pub snapshot: Digest,
    /// Length of the snapshot, bytes.
    pub length: u64,
    /// Whose receipt says so first.
    pub host: HostId,
    /// When hosts agreed.
    pub at: Micros,
}

/// Why a host gave no result of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// It said that its run was void: `cause` says why.
    Void,
    /// Its owner's rules or caps do not allow the task, which says nothing about it: others take it.
    Declined,
    /// Its lease lapsed.
    Lapsed,
    /// Its receipt was refused.
    Refused,
}

/// A task that a host had and gave no result of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoidRow {
    /// Position, from 1.
    pub id: u64,
    /// The job.
    pub job: JobId,
    /// The task.
    pub task: TaskIndex,
    /// Who ran it.
    pub host: HostId,
    /// Whose host.
    pub owner: AccountId,
    /// Why there is no result.
    pub fault: FaultKind,
    /// A `VoidCause` code; that of "other" where there was no void run.
    pub cause: u8,
    /// More, for people.
    pub detail: String,
    /// When.
    pub at: Micros,
}

impl VoidRow {
    /// Whether it counts against the task's chances: a run that its owner withdrew does not.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.fault != FaultKind::Void || VoidCause::from_code(self.cause) != VoidCause::Withdrawn
    }
}

/// A posted transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRow {
    /// Position, from 1.
    pub id: u64,
    /// The transfer.
    pub transfer: Transfer,
    /// When.
    pub at: Micros,
}

/// A balance after this batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceRow {
    /// The account.
    pub account: AccountKey,
    /// Its balance.
    pub amount: Amount,
    /// Id of the last transfer that touched it.
    pub sequence: u64,
}

/// What a suspension is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SuspensionKind {
    /// An account: its jobs and its hosts.
    Account,
    /// A module: all jobs that use it.
    Module,
    /// One job.
    Job,
    /// One host.
    Host,
}

/// A suspension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuspensionRow {
    /// What it is about.
    pub kind: SuspensionKind,
    /// Whom.
    pub subject: [u8; 32],
    /// Why, for everybody to read.
    pub reason: String,
    /// Since when.
    pub at: Micros,
}

/// What an operator did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminRow {
    /// Position, from 1.
    pub id: u64,
    /// Who.
    pub actor: AccountId,
    /// What: "grant", "suspend", "approve", …
    pub action: &'static str,
    /// To whom or what.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Micros,
}

/// A signed statement about keys, in the order of acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Position, from 1.
    pub id: u64,
    /// Whose keys.
    pub account: AccountId,
    /// Name of the message: "account", "host-binding", "rotation" or "revocation".
    pub kind: &'static str,
    /// The statement as signed.
    pub envelope: SignedBytes,
    /// When.
    pub at: Micros,
}

/// An answer given under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OnceRow {
    /// Who asked.
    pub account: AccountId,
    /// Which route.
    pub route: &'static str,
    /// The key.
    pub name: String,
    /// Digest of the request's body.
    pub request: Digest,
    /// What the answer was about (a job's id with its number and escrow, a transfer's number; numbers as 8 big-endian bytes).
    pub subject: Vec<u8>,
    /// When.
    pub at: Micros,
}

/// A blob the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRow {
    /// Its digest.
    pub digest: Digest,
    /// Its length, bytes.
    pub length: u64,
    /// Who uploaded it first.
    pub account: AccountId,
    /// When.
    pub at: Micros,
}
