//! One trait per aggregate, implemented by every back end.
//!
//! Lists come in pages by key: `after` is the key of the last row seen, `limit` is cut to [`MAX_PAGE`].

use std::pin::Pin;
use std::sync::Arc;

use tallymill_engine::rows::{
    AccountRow, AdminRow, BalanceRow, Batch, BlobRow, HoldRow, HostRow, JobRow, JobState, KeyRow,
    OnceRow, PageRow, ReplicaRow, ReportRow, SegmentRow, Snapshot, SuspensionKind, SuspensionRow,
    TaskRow, TaskState, TransferRow, VoidRow,
};
use tallymill_ledger::{Amount, GrantPolicy, LedgerAccountId};
use tallymill_protocol::{
    AccountId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest, SignedBytes, TaskIndex,
};

use crate::{Collection, CommitError, LoadError, OpenError, ReadError};

/// Most rows in one page.
pub const MAX_PAGE: u32 = 1_000;

/// What an operation answers later.
pub type Answer<'a, T, E = ReadError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<K> {
    /// The key of the last row seen; `None` starts at the beginning.
    pub after: Option<K>,
    /// Most rows wanted; cut to [`MAX_PAGE`].
    pub limit: u32,
}

impl<K> Page<K> {
    /// The first `limit` rows.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }

    /// The `limit` rows after the one with key `after`.
    #[must_use]
    pub const fn after(after: K, limit: u32) -> Self {
        Self { after: Some(after), limit }
    }

    /// Rows that the page may hold.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.limit.min(MAX_PAGE)
    }
}

/// Writing, and reading back at a start.
pub trait Commits: Send + Sync {
    /// Makes a batch durable: all of it or nothing. The engine may start from [`Commits::load`] after any error.
    ///
    /// A caller who drops the answer before it is ready does not know whether the batch is stored, as after
    /// [`CommitError::Unavailable`].
    fn commit<'a>(&'a self, batch: &'a Batch) -> Answer<'a, (), CommitError>;

    /// What the engine starts from. It runs in the epoch that this handle took when it was opened.
    fn load(&self) -> Answer<'_, Snapshot, LoadError>;

    /// What this back end is, and what a finished commit survives.
    fn durability(&self) -> Durability;

    /// Whether a commit would find the shards in its own hands and a disk that takes writes.
    fn probe(&self) -> Answer<'_, (), CommitError>;
}

/// What a back end is, and what a finished commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durability {
    /// The kind of database.
    pub database: &'static str,
    /// "full": a commit survives the loss of power. "none": it does not survive the process.
    pub synchronous: &'static str,
}

/// Which jobs to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// Only jobs of this payer.
    pub payer: Option<AccountId>,
    /// Only jobs in this state.
    pub state: Option<JobState>,
}

/// Jobs.
pub trait Jobs: Send + Sync {
    /// The job with this id.
    fn job(&self, id: JobId) -> Answer<'_, Option<JobRow>>;

    /// Jobs by number, newest first; `after` is the number of the last job seen.
    fn jobs(&self, filter: JobFilter, page: Page<u64>) -> Answer<'_, Vec<JobRow>>;

    /// Who keeps the results of a job.
    fn holds(&self, job: JobId) -> Answer<'_, Vec<HoldRow>>;

    /// The written pages of slot states, by position; absent pages are all pending.
    fn pages(&self, job: JobId, page: Page<u32>) -> Answer<'_, Vec<PageRow>>;
}

/// A decided task with its output, where that is small and was stored with the replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The task.
    pub task: TaskRow,
    /// The output of the host whose result stands; `None` when it is a blob or there is no result.
    pub output: Option<Vec<u8>>,
}

/// Tasks and what hosts reported of them.
pub trait Tasks: Send + Sync {
    /// The decision about one task; `None` while it is open.
    fn task(&self, job: JobId, task: TaskIndex) -> Answer<'_, Option<TaskRow>>;

    /// Decided tasks of a job by index, all or those in one state.
    fn tasks(
        &self,
        job: JobId,
        state: Option<TaskState>,
        page: Page<TaskIndex>,
    ) -> Answer<'_, Vec<TaskRow>>;

    /// Decided tasks of a job in the order of their decisions; `after` is a sequence.
    fn decided(&self, job: JobId, page: Page<u64>) -> Answer<'_, Vec<Decided>>;

    /// Replicas of a task, those of its newest segment first, then by host, with their receipts; at most [`MAX_PAGE`].
    /// Outputs and logs are private until the task is decided.
    fn replicas(&self, job: JobId, task: TaskIndex) -> Answer<'_, Vec<ReplicaRow>>;

    /// Segments of a long task on which hosts agreed and after which there was more to do, in their order.
    fn segments(&self, job: JobId, task: TaskIndex, page: Page<u32>)
    -> Answer<'_, Vec<SegmentRow>>;

    /// Void runs of a task, oldest first.
    fn voids(&self, job: JobId, task: TaskIndex, page: Page<u64>) -> Answer<'_, Vec<VoidRow>>;
}

/// Accounts.
pub trait Accounts: Send + Sync {
    /// The account with this id.
    fn account(&self, id: AccountId) -> Answer<'_, Option<AccountRow>>;

    /// The account that signs with this key now.
    fn account_by_key(&self, key: Key) -> Answer<'_, Option<AccountRow>>;

    /// Accounts by id.
    fn accounts(&self, page: Page<AccountId>) -> Answer<'_, Vec<AccountRow>>;

    /// What was answered under an idempotency key.
    fn once<'a>(
        &'a self,
        account: AccountId,
        route: &'a str,
        name: &'a str,
    ) -> Answer<'a, Option<OnceRow>>;
}

/// Volunteer machines.
pub trait Hosts: Send + Sync {
    /// The host with this id.
    fn host(&self, id: HostId) -> Answer<'_, Option<HostRow>>;

    /// Hosts by id, all or those of one owner.
    fn hosts(&self, owner: Option<AccountId>, page: Page<HostId>) -> Answer<'_, Vec<HostRow>>;
}

/// Which transfers to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferFilter {
    /// All.
    All,
    /// Those of one job.
    Job(JobId),
    /// Those that touch an account of this owner, of whatever kind.
    Owner(AccountId),
}

/// What an owner holds in all accounts of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceTotal {
    /// Whose credit.
    pub issuer: CoordinatorId,
    /// Name of the kind: "available", "granted" or "pending".
    pub kind: String,
    /// The sum.
    pub amount: Amount,
}

/// A rule of the ledger that an audit examines over the whole database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Balances of an issuer sum to zero.
    SumIsZero,
    /// A balance is not below its floor.
    Floor,
    /// A balance is what the transfers give.
    BalanceIsTransfers,
    /// An escrow holds what results that wait for others may cost. What leases may cost besides is priced by the engine.
    EscrowCoversReserved,
    /// A job that is over, with nothing left to settle, holds no credit.
    ClosedIsEmpty,
    /// Grants stay within their published limits.
    GrantsWithinLimits,
    /// The same slots earn once, are posted or voided once, and are surcharged once.
    PaidOnce,
    /// What a job moves comes from and returns to its payer, and pays others in earned credit.
    PayFollowsPayer,
}

impl Rule {
    /// Every rule, in the order of the ledger's invariants.
    pub const ALL: [Self; 8] = [
        Self::SumIsZero,
        Self::Floor,
        Self::BalanceIsTransfers,
        Self::EscrowCoversReserved,
        Self::ClosedIsEmpty,
        Self::GrantsWithinLimits,
        Self::PaidOnce,
        Self::PayFollowsPayer,
    ];

    /// What it says: the name of the ledger's invariant.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::SumIsZero => "the balances of each issuer sum to zero",
            Self::Floor => "no balance is below its floor",
            Self::BalanceIsTransfers => "the transfers give the balances",
            Self::EscrowCoversReserved => "every escrow covers what is reserved",
            Self::ClosedIsEmpty => "a closed job holds nothing",
            Self::GrantsWithinLimits => "grants stay within their limits",
            Self::PaidOnce => "nothing is paid twice",
            Self::PayFollowsPayer => "pay follows the payer",
        }
    }
}

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offence {
    /// The rule.
    pub rule: Rule,
    /// The issuer, ledger account, job or evidence, in hexadecimal.
    pub subject: String,
    /// Micro-credits found, or the number of times.
    pub found: i64,
    /// What it should be.
    pub expected: i64,
}

/// What an audit of the ledger found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerAudit {
    /// Transfers examined.
    pub transfers: u64,
    /// Balances examined.
    pub balances: u64,
    /// Sum of all balances of each issuer, micro-credits.
    pub sums: Vec<(CoordinatorId, i64)>,
    /// What breaks a rule; at most 100 per rule.
    pub offences: Vec<Offence>,
}

/// Credit.
pub trait Ledger: Send + Sync {
    /// Balances of an owner's accounts by ledger account id, of one kind or all.
    fn balances<'a>(
        &'a self,
        owner: AccountId,
        kind: Option<&'a str>,
        page: Page<LedgerAccountId>,
    ) -> Answer<'a, Vec<BalanceRow>>;

    /// Sums of an owner's balances per issuer and kind.
    fn totals(&self, owner: AccountId) -> Answer<'_, Vec<BalanceTotal>>;

    /// Balances of a job's accounts: its escrow and what hosts have pending from it, by ledger account id.
    fn job_balances(&self, job: JobId, page: Page<LedgerAccountId>) -> Answer<'_, Vec<BalanceRow>>;

    /// Transfers, oldest first; `after` is the id of the last one seen.
    fn transfers(&self, filter: TransferFilter, page: Page<u64>) -> Answer<'_, Vec<TransferRow>>;

    /// Examines every rule over the whole database, without this crate's callers having to hold it in memory; `policy` is
    /// the published limit of grants.
    fn audit_ledger(&self, policy: GrantPolicy) -> Answer<'_, LedgerAudit>;
}

/// A receipt and its place in the report's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Position in the report.
    pub position: u32,
    /// The job.
    pub job: JobId,
    /// The task.
    pub task: TaskIndex,
    /// The receipt as encoded.
    pub receipt: Vec<u8>,
}

/// Reports and the evidence in them.
pub trait Reports: Send + Sync {
    /// The report with this root, with its lease tokens; `None` as well when it was collected.
    fn report(&self, root: Digest) -> Answer<'_, Option<ReportRow>>;

    /// Who made the report with this root, and one verdict code per receipt: also of one that was collected.
    fn verdicts(&self, root: Digest) -> Answer<'_, Option<(HostId, Vec<u8>)>>;

    /// The report of a host with this sequence.
    fn report_of(&self, host: HostId, sequence: u64) -> Answer<'_, Option<ReportRow>>;

    /// Receipts of a report that became replicas, by position; refused ones are only leaves of the report.
    fn receipts(&self, root: Digest, page: Page<u32>) -> Answer<'_, Vec<Leaf>>;

    /// The signed lease token with this digest, if a report used it.
    fn lease_token(&self, digest: LeaseDigest) -> Answer<'_, Option<SignedBytes>>;
}

/// Signed statements about keys.
pub trait Keys: Send + Sync {
    /// Statements of an account in the order of acceptance.
    fn keys(&self, account: AccountId, page: Page<u64>) -> Answer<'_, Vec<KeyRow>>;
}

/// What operators did.
pub trait Admin: Send + Sync {
    /// Entries, oldest first.
    fn admin(&self, page: Page<u64>) -> Answer<'_, Vec<AdminRow>>;

    /// Suspensions in force by kind and subject.
    fn suspensions(&self, page: Page<(SuspensionKind, [u8; 32])>)
    -> Answer<'_, Vec<SuspensionRow>>;
}

/// Which blobs are held for whom; the bytes are elsewhere.
pub trait Blobs: Send + Sync {
    /// The blob with this digest.
    fn blob(&self, digest: Digest) -> Answer<'_, Option<BlobRow>>;

    /// Blobs that an account uploaded first, by digest.
    fn blobs(&self, account: AccountId, page: Page<Digest>) -> Answer<'_, Vec<BlobRow>>;

    /// Bytes that an account uploaded first.
    fn blob_bytes(&self, account: AccountId) -> Answer<'_, u64>;
}

/// Who has the seat of a database that several coordinators share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sitter {
    /// Where the others reach it; empty if it shares with nobody.
    pub address: String,
    /// In which epoch it commits.
    pub epoch: u64,
    /// Grows while it answers.
    pub beat: u64,
}

/// A seat that was taken.
pub struct Taken {
    /// In which epoch whoever took it commits.
    pub epoch: u64,
    /// The database.
    pub store: Arc<dyn Store>,
}

/// The seat of a database that several coordinators share: one of them has it and commits, the others stand by.
pub trait Seat: Send + Sync {
    /// Who has it.
    fn sitter(&self) -> Answer<'_, Option<Sitter>>;

    /// Takes it, with all shards in a new epoch, from the one that was seen last; `None` if that has moved since, or
    /// another one was quicker.
    fn take<'a>(
        &'a self,
        seen: Option<&'a Sitter>,
        address: &'a str,
    ) -> Answer<'a, Option<Taken>, OpenError>;

    /// Shows the others that it answers; false when the seat is no longer that of `epoch`.
    fn beat(&self, epoch: u64) -> Answer<'_, bool>;

    /// Leaves it to whoever stands by.
    fn leave(&self, epoch: u64) -> Answer<'_, ()>;
}

/// Everything a coordinator needs of its database; held as `Arc<dyn Store>`.
pub trait Store:
    Commits + Collection + Jobs + Tasks + Accounts + Hosts + Ledger + Reports + Keys + Admin + Blobs
{
}

impl<S> Store for S where
    S: Commits
        + Collection
        + Jobs
        + Tasks
        + Accounts
        + Hosts
        + Ledger
        + Reports
        + Keys
        + Admin
        + Blobs
{
}
