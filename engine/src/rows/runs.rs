//! The rows of who runs what: leases, and the results that hosts report.

use tallymill_ledger::Amount;
use tallymill_protocol::{
    AccountId, AttemptId, Digest, HostId, JobId, LeaseDigest, Micros, TaskIndex,
};

use super::ReplicaState;

/// A lease in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The grant.
    pub attempt: AttemptId,
    /// Digest of the token.
    pub digest: LeaseDigest,
    /// The job.
    pub job: JobId,
    /// Who runs it.
    pub host: HostId,
    /// Who is paid.
    pub owner: AccountId,
    /// First task.
    pub first: TaskIndex,
    /// Number of tasks.
    pub count: u32,
    /// Epoch of the token.
    pub epoch: u64,
    /// When it was granted.
    pub issued: Micros,
    /// When its tasks go to others.
    pub expiry: Micros,
    /// Tasks that it holds no longer although neither a waiting result nor a decision says so: their receipt was refused,
    /// superseded or of a run that was stopped, or their run was void.
    pub given_back: Vec<TaskIndex>,
    /// The neighbourhood of its host when it was granted; `None` where the address told none, and in rows of before.
    pub near: Option<[u8; 8]>,
    /// Whether a host of the same neighbourhood was at its tasks already: none of another came in time.
    pub relaxed: bool,
}

/// One reported execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaRow {
    /// The job.
    pub job: JobId,
    /// The task.
    pub task: TaskIndex,
    /// The segment of the task; 0 where it is not divided.
    pub segment: u32,
    /// Who ran it.
    pub host: HostId,
    /// Who is paid.
    pub owner: AccountId,
    /// Under which grant.
    pub attempt: AttemptId,
    /// Its state.
    pub state: ReplicaState,
    /// Root of the report that holds it.
    pub report: Digest,
    /// Its position there.
    pub position: u32,
    /// The receipt as encoded.
    pub receipt: Vec<u8>,
    /// The lease token (payload and signature as CBOR of the envelope).
    pub lease: LeaseDigest,
    /// The output, where small; otherwise it is a blob.
    pub output: Option<Vec<u8>>,
    /// The log, where small; otherwise it is a blob.
    pub log: Option<Vec<u8>>,
    /// What it earns, micro-credits.
    pub amount: Amount,
    /// When held-back pay becomes available at the latest.
    pub final_after: Option<Micros>,
    /// When it was reported.
    pub at: Micros,
    /// The neighbourhood of its host, as long as the result waits for others; nobody needs it after that.
    pub near: Option<[u8; 8]>,
    /// Whether a host of the same neighbourhood was at the task already when this one got it.
    pub relaxed: bool,
}

/// A reported execution that moved on. Its neighbourhood is forgotten with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaMove {
    /// The job.
    pub job: JobId,
    /// The task.
    pub task: TaskIndex,
    /// The segment of the task.
    pub segment: u32,
    /// Who ran it.
    pub host: HostId,
    /// Its new state.
    pub state: ReplicaState,
}
