//! A store in memory whose commits fail while a test says so.

use std::sync::atomic::{AtomicBool, Ordering};

use tallymill_engine::Retention;
use tallymill_ledger::{AccountKind, Amount, GrantPolicy, LedgerAccountId};
use tallymill_protocol::*;
use tallymill_storage::rows::*;
use tallymill_storage::*;

pub struct Failing {
    inner: MemoryStore,
    pub fails: AtomicBool,
    /// Whether commits never end.
    pub hangs: AtomicBool,
    /// Whether one of those has begun.
    pub hanging: AtomicBool,
    /// Whether reads fail as commits do.
    pub unreadable: AtomicBool,
    /// A bug in the engine thread: probing panics.
    pub panics: AtomicBool,
    /// Whether a start finds escrows that hold less than their leases may cost.
    pub short: AtomicBool,
    /// Whether all results of a job go between the read of its row and whatever is read next.
    pub collects: AtomicBool,
}

impl Failing {
    pub fn new(identity: &Identity) -> Self {
        Self {
            inner: MemoryStore::new(identity),
            fails: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            hanging: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            short: AtomicBool::new(false),
            collects: AtomicBool::new(false),
        }
    }

    fn full(&self) -> bool {
        self.fails.load(Ordering::Acquire)
    }
}

impl Commits for Failing {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn commit<'a>(&'a self, batch: &'a Batch) -> Answer<'a, (), CommitError> {
        match self.full() {
            true => Box::pin(async { Err(CommitError::Full) }),
            false if self.hangs.load(Ordering::Acquire) => {
                self.hanging.store(true, Ordering::Release);
                Box::pin(std::future::pending())
            }
            false => self.inner.commit(batch),
        }
    }

    fn load(&self) -> Answer<'_, Snapshot, LoadError> {
        Box::pin(async {
            let mut snapshot = self.inner.load().await?;
            let short = self.short.load(Ordering::Acquire);
            let escrow = |row: &&mut BalanceRow| {
                short && matches!(row.account.kind, AccountKind::Escrow { .. })
            };
            let escrows = snapshot.balances.iter_mut().filter(escrow);
            escrows.for_each(|row| row.amount = Amount::new(1));
            Ok(snapshot)
        })
    }

    fn probe(&self) -> Answer<'_, (), CommitError> {
        assert!(!self.panics.load(Ordering::Acquire), "a bug");
        match self.full() {
            true => Box::pin(async { Err(CommitError::Full) }),
            false => Box::pin(async {
                // A database on a server is reached by sockets, for which not every runtime has what it takes.
                drop(tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await);
                self.inner.probe().await
            }),
        }
    }
}

impl Jobs for Failing {
    fn job(&self, id: JobId) -> Answer<'_, Option<JobRow>> {
        if self.unreadable.load(Ordering::Acquire) {
            return Box::pin(async { Err(sqlx::Error::PoolClosed.into()) });
        }
        Box::pin(async move {
            let row = self.inner.job(id).await?;
            if self.collects.swap(false, Ordering::AcqRel) {
                let rule = Retention { results: Some(0), uploads: 0 };
                let order = Order::Job { job: id, rule, now: Micros(u64::MAX >> 1) };
                while self.inner.collect(&order, 9).await.is_ok_and(|done| done != Done::Nothing) {}
            }
            Ok(row)
        })
    }

    fn jobs(&self, filter: JobFilter, page: Page<u64>) -> Answer<'_, Vec<JobRow>> {
        self.inner.jobs(filter, page)
    }

    fn holds(&self, job: JobId) -> Answer<'_, Vec<HoldRow>> {
        self.inner.holds(job)
    }

    fn pages(&self, job: JobId, page: Page<u32>) -> Answer<'_, Vec<PageRow>> {
        self.inner.pages(job, page)
    }
}

impl Collection for Failing {
    fn collect<'a>(&'a self, order: &'a Order, portion: u32) -> Answer<'a, Done, CollectError> {
        match self.full() {
            true => Box::pin(async { Err(CommitError::Full.into()) }),
            false => self.inner.collect(order, portion),
        }
    }

    fn collecting(&self, page: Page<u64>) -> Answer<'_, Vec<JobRow>> {
        self.inner.collecting(page)
    }

    fn ended(&self, before: Micros, page: Page<(Micros, u64)>) -> Answer<'_, Vec<JobRow>> {
        self.inner.ended(before, page)
    }

    fn lone_reports(&self, before: Micros, page: Page<u64>) -> Answer<'_, Vec<Looked<u64>>> {
        self.inner.lone_reports(before, page)
    }

    fn idle_blobs(&self, before: Micros, page: Page<Digest>) -> Answer<'_, Vec<Looked<Digest>>> {
        self.inner.idle_blobs(before, page)
    }

    fn doomed(&self, page: Page<Digest>) -> Answer<'_, Vec<Digest>> {
        self.inner.doomed(page)
    }
}

/// Reads go on while commits fail, unless a test says otherwise.
macro_rules! reads {
    ($($trait:ident { $(fn $name:ident$(<$life:lifetime>)?(&$($own:lifetime)? self $(, $arg:ident: $kind:ty)*) -> $answer:ty;)* })*) => {
        $(impl $trait for Failing {
            $(fn $name$(<$life>)?(&$($own)? self $(, $arg: $kind)*) -> $answer {
                if self.unreadable.load(Ordering::Acquire) {
                    return Box::pin(async { Err(sqlx::Error::PoolClosed.into()) });
                }
                self.inner.$name($($arg),*)
            })*
        })*
    };
}

reads! {
    Tasks {
        fn task(&self, job: JobId, task: TaskIndex) -> Answer<'_, Option<TaskRow>>;
        fn tasks(&self, job: JobId, state: Option<TaskState>, page: Page<TaskIndex>) -> Answer<'_, Vec<TaskRow>>;
        fn decided(&self, job: JobId, page: Page<u64>) -> Answer<'_, Vec<Decided>>;
        fn replicas(&self, job: JobId, task: TaskIndex) -> Answer<'_, Vec<ReplicaRow>>;
        fn segments(&self, job: JobId, task: TaskIndex, page: Page<u32>) -> Answer<'_, Vec<SegmentRow>>;
        fn voids(&self, job: JobId, task: TaskIndex, page: Page<u64>) -> Answer<'_, Vec<VoidRow>>;
    }
    Accounts {
        fn account(&self, id: AccountId) -> Answer<'_, Option<AccountRow>>;
        fn account_by_key(&self, key: Key) -> Answer<'_, Option<AccountRow>>;
        fn accounts(&self, page: Page<AccountId>) -> Answer<'_, Vec<AccountRow>>;
        fn once<'a>(&'a self, account: AccountId, route: &'a str, name: &'a str) -> Answer<'a, Option<OnceRow>>;
    }
    Hosts {
        fn host(&self, id: HostId) -> Answer<'_, Option<HostRow>>;
        fn hosts(&self, owner: Option<AccountId>, page: Page<HostId>) -> Answer<'_, Vec<HostRow>>;
    }
    Ledger {
        fn balances<'a>(&'a self, owner: AccountId, kind: Option<&'a str>, page: Page<LedgerAccountId>) -> Answer<'a, Vec<BalanceRow>>;
        fn totals(&self, owner: AccountId) -> Answer<'_, Vec<BalanceTotal>>;
        fn job_balances(&self, job: JobId, page: Page<LedgerAccountId>) -> Answer<'_, Vec<BalanceRow>>;
        fn transfers(&self, filter: TransferFilter, page: Page<u64>) -> Answer<'_, Vec<TransferRow>>;
        fn audit_ledger(&self, policy: GrantPolicy) -> Answer<'_, LedgerAudit>;
    }
    Reports {
        fn report(&self, root: Digest) -> Answer<'_, Option<ReportRow>>;
        fn verdicts(&self, root: Digest) -> Answer<'_, Option<(HostId, Vec<u8>)>>;
        fn report_of(&self, host: HostId, sequence: u64) -> Answer<'_, Option<ReportRow>>;
        fn receipts(&self, root: Digest, page: Page<u32>) -> Answer<'_, Vec<Leaf>>;
        fn lease_token(&self, digest: LeaseDigest) -> Answer<'_, Option<SignedBytes>>;
    }
    Keys {
        fn keys(&self, account: AccountId, page: Page<u64>) -> Answer<'_, Vec<KeyRow>>;
    }
    Admin {
        fn admin(&self, page: Page<u64>) -> Answer<'_, Vec<AdminRow>>;
        fn suspensions(&self, page: Page<(SuspensionKind, [u8; 32])>) -> Answer<'_, Vec<SuspensionRow>>;
    }
    Blobs {
        fn blob(&self, digest: Digest) -> Answer<'_, Option<BlobRow>>;
        fn blobs(&self, account: AccountId, page: Page<Digest>) -> Answer<'_, Vec<BlobRow>>;
        fn blob_bytes(&self, account: AccountId) -> Answer<'_, u64>;
    }
}
