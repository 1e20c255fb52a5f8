//! The rows of one commit together, and those that a start reads.

use tallymill_protocol::{AttemptId, CoordinatorId, HostId, JobId, Micros, Network};

use super::{
    AccountRow, AdminRow, BalanceRow, BlobRow, ChargeRow, HoldKind, HoldRow, HostRow, JobRow,
    KeyRow, LeaseRow, OnceRow, PageRow, ReplicaMove, ReplicaRow, ReportRow, SegmentRow,
    SuspensionKind, SuspensionRow, TaskRow, TransferRow, UseRow, VoidRow,
};

/// Everything one commit makes durable. Upserts replace whole rows; `closed_leases` deletes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Position of the commit; also the id of the events that follow from it.
    pub sequence: u64,
    /// High-water mark of the coordinator's clock.
    pub now: Micros,
    /// Upserted accounts.
    pub accounts: Vec<AccountRow>,
    /// Upserted hosts.
    pub hosts: Vec<HostRow>,
    /// Upserted jobs.
    pub jobs: Vec<JobRow>,
    /// Upserted pages.
    pub pages: Vec<PageRow>,
    /// Upserted leases.
    pub leases: Vec<LeaseRow>,
    /// Deleted leases.
    pub closed_leases: Vec<AttemptId>,
    /// Inserted reports; each is also the log entry at its `log_index`.
    pub reports: Vec<ReportRow>,
    /// Inserted replicas.
    pub replicas: Vec<ReplicaRow>,
    /// Replicas that moved on.
    pub moves: Vec<ReplicaMove>,
    /// Upserted decided tasks.
    pub tasks: Vec<TaskRow>,
    /// Inserted segments.
    pub segments: Vec<SegmentRow>,
    /// Inserted void runs.
    pub voids: Vec<VoidRow>,
    /// Inserted transfers.
    pub transfers: Vec<TransferRow>,
    /// Upserted balances.
    pub balances: Vec<BalanceRow>,
    /// Upserted suspensions.
    pub suspensions: Vec<SuspensionRow>,
    /// Deleted suspensions.
    pub lifted: Vec<(SuspensionKind, [u8; 32])>,
    /// Inserted admin entries.
    pub admin: Vec<AdminRow>,
    /// Inserted key statements.
    pub keys: Vec<KeyRow>,
    /// Inserted answers.
    pub once: Vec<OnceRow>,
    /// Inserted blobs; one that is there already was uploaded again, and nothing else of it changes.
    pub blobs: Vec<BlobRow>,
    /// Blobs that jobs need; what is there already stays.
    pub uses: Vec<UseRow>,
    /// Blobs of results that stand, which count for the payer from now on.
    pub charges: Vec<ChargeRow>,
    /// Upserted holds.
    pub holds: Vec<HoldRow>,
    /// Deleted holds.
    pub released: Vec<(JobId, HoldKind)>,
}

impl Batch {
    /// Whether there is nothing to commit. The number and the time alone are nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { sequence: self.sequence, now: self.now, ..Self::default() }
    }
}

/// What a start reads: live jobs with their pages, leases and undecided replicas; accounts, hosts and balances.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Epoch of this start: one more than the last owner's.
    pub epoch: u64,
    /// Position of the last commit.
    pub sequence: u64,
    /// High-water mark of the clock.
    pub now: Micros,
    /// Highest numbers given out.
    pub counters: Counters,
    /// All accounts.
    pub accounts: Vec<AccountRow>,
    /// All hosts.
    pub hosts: Vec<HostRow>,
    /// Jobs in state running or stopping.
    pub jobs: Vec<JobRow>,
    /// Their pages.
    pub pages: Vec<PageRow>,
    /// Leases in force.
    pub leases: Vec<LeaseRow>,
    /// Replicas of live jobs in state reported.
    pub replicas: Vec<ReplicaRow>,
    /// The last agreed segment of each task of live jobs that is not decided.
    pub segments: Vec<SegmentRow>,
    /// Void runs of live jobs.
    pub voids: Vec<VoidRow>,
    /// Hosts that live jobs paid before, each pair once: the distinct (job, host) of their `earn` transfers.
    pub paid: Vec<(JobId, HostId)>,
    /// Balances of all accounts but those of finished jobs that stand at zero.
    pub balances: Vec<BalanceRow>,
    /// Suspensions.
    pub suspensions: Vec<SuspensionRow>,
    /// Answers under idempotency keys of the last seven days.
    pub once: Vec<OnceRow>,
}

/// Highest numbers given out so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Jobs.
    pub job: u64,
    /// Decided tasks.
    pub task: u64,
    /// Transfers.
    pub transfer: u64,
    /// Void runs.
    pub void: u64,
    /// Admin entries.
    pub admin: u64,
    /// Key statements.
    pub key: u64,
    /// Log entries.
    pub log: u64,
}

/// Who this coordinator is; fixed for a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The network.
    pub network: Network,
    /// The coordinator's key: issuer of its credit.
    pub coordinator: CoordinatorId,
}
