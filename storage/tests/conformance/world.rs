//! Rows to write: one of everything, made from small numbers.

use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};
use tallymill_engine::rows::{
    AccountRow, AccountStatus, AdminRow, BalanceRow, Batch, BlobRow, FaultKind, HostRow, Identity,
    JobRow, JobState, KeyRow, LeaseRow, OnceRow, PAGE_BYTES, PageRow, ReplicaMove, ReplicaRow,
    ReplicaState, ReportRow, SegmentRow, SuspensionKind, SuspensionRow, TaskRow, TaskState,
    TransferRow, VoidRow,
};
use tallymill_ledger::{AccountKey, AccountKind, Amount, Transfer, TransferKind};
use tallymill_protocol::cbor::{Blob, Text};
use tallymill_protocol::{
    AccountId, AttemptId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest, Message as _,
    Micros, Network, Outcome, Receipt, SignedBytes, TaskIndex, merkle,
};
use tallymill_storage::{CommitError, MemoryStore, OpenError, PostgresStore, SqliteStore, Store};
use tempfile::TempDir;

/// Where the tests' commits happen in time.
pub const NOW: Micros = Micros(1_790_000_000_000_000);

pub fn identity() -> Identity {
    Identity { network: Network::new("test").unwrap(), coordinator: CoordinatorId([9; 32]) }
}

/// A database that can be opened again and again.
pub trait Backend: Sized {
    async fn new() -> Self;
    async fn open_as(&self, identity: &Identity) -> Result<Arc<dyn Store>, OpenError>;

    async fn open(&self) -> Arc<dyn Store> {
        self.open_as(&identity()).await.unwrap()
    }
}

pub struct Memory(MemoryStore);

impl Backend for Memory {
    async fn new() -> Self {
        Self(MemoryStore::new(&identity()))
    }

    async fn open_as(&self, identity: &Identity) -> Result<Arc<dyn Store>, OpenError> {
        Ok(Arc::new(self.0.reopen(identity)?))
    }
}

pub struct Sqlite(pub TempDir);

impl Sqlite {
    pub fn path(&self) -> std::path::PathBuf {
        self.0.path().join("tallymill.db")
    }

    /// A connection beside the store, to do what no store does.
    pub async fn beside(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path()).connect().await.unwrap()
    }

    pub async fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), &identity()).await.unwrap()
    }
}

impl Backend for Sqlite {
    async fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        world.store().await.close().await;
        world
    }

    async fn open_as(&self, identity: &Identity) -> Result<Arc<dyn Store>, OpenError> {
        Ok(Arc::new(SqliteStore::open(&self.path(), identity).await?))
    }
}

/// A database of its own on the server that all tests of this process share.
pub struct Postgres(pub String);

impl Postgres {
    pub async fn store(&self) -> PostgresStore {
        PostgresStore::connect(&self.0.parse().unwrap(), &identity()).await.unwrap()
    }

    /// A connection beside the store, to do what no store does.
    pub async fn beside(&self) -> PgConnection {
        PgConnection::connect(&self.0).await.unwrap()
    }

    /// Executes statements as they are.
    pub async fn run(&self, sql: &str) {
        let mut connection = self.beside().await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Backend for Postgres {
    async fn new() -> Self {
        Self(tallymill_postgres::shared().database().unwrap())
    }

    async fn open_as(&self, identity: &Identity) -> Result<Arc<dyn Store>, OpenError> {
        Ok(Arc::new(PostgresStore::connect(&self.0.parse().unwrap(), identity).await?))
    }
}

/// A back end whose rows a test can change behind the store.
pub trait Sql: Backend {
    /// Executes a statement that changes rows; bytes in it are written as SQLite does, x'00'.
    async fn change(&self, sql: &str);
}

impl Sql for Sqlite {
    async fn change(&self, sql: &str) {
        let mut connection = self.beside().await;
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        assert!(done.rows_affected() > 0, "{sql}");
        connection.close().await.unwrap();
    }
}

impl Sql for Postgres {
    async fn change(&self, sql: &str) {
        let mut connection = self.beside().await;
        let query = sqlx::query(AssertSqlSafe(sql.replace("x'", r"'\x")));
        let done = query.execute(&mut connection).await.unwrap();
        assert!(done.rows_affected() > 0, "{sql}");
        connection.close().await.unwrap();
    }
}

pub fn owner(n: u8) -> AccountId {
    AccountId([n; 32])
}

pub fn host_id(n: u8) -> HostId {
    HostId([n; 32])
}

pub fn job_id(n: u8) -> JobId {
    JobId([n; 32])
}

pub fn signed(n: u8) -> SignedBytes {
    SignedBytes { payload: Blob(vec![n; 40]), signer: Key([n; 32]), signature: [n; 64] }
}

pub fn account(n: u8) -> AccountRow {
    AccountRow {
        id: owner(n),
        current_key: Key([n; 32]),
        recovery: Some(Digest([n; 32])),
        rotations: 1,
        status: AccountStatus::Waiting,
        granted: Amount::new(5),
        joined: NOW,
    }
}

pub fn host(n: u8, of: u8) -> HostRow {
    HostRow {
        id: host_id(n),
        owner: owner(of),
        expiry: NOW.plus(5),
        revoked_at: Some(NOW),
        joined: NOW,
        seen: NOW.plus(1),
        reports: 2,
        last_report: Digest([n; 32]),
        settled: 3,
        fuel: 4,
        voided: 5,
        outvoted: 6,
        abandoned: 7,
    }
}

pub fn job(n: u8, state: JobState) -> JobRow {
    JobRow {
        id: job_id(n),
        shard: n % 64,
        epoch: 1,
        number: u64::from(n),
        payer: owner(1),
        submitter: owner(2),
        module: Digest([3; 32]),
        title: "größer".to_owned(),
        envelope: signed(n),
        state,
        tasks: 10,
        final_tasks: 1,
        failed_tasks: 2,
        provisional_tasks: 0,
        largest_input: 12,
        escrow: Amount::new(100),
        held_granted: Amount::new(40),
        spent: Amount::new(30),
        fuel: 9,
        submitted: NOW,
        finished: None,
        deadline: NOW.plus(1_000),
        held: false,
        collecting: None,
    }
}

/// A receipt as encoded.
pub fn receipt(host: u8, task: u32) -> Vec<u8> {
    let digest = Digest([host; 32]);
    let receipt = Receipt {
        format: 1,
        lease: LeaseDigest([host; 32]),
        task: TaskIndex(task),
        input: Digest::of(&task.to_be_bytes()),
        output: digest,
        outcome: Outcome::Exited(0),
        fuel: u64::from(task) * 1_000,
        peak_memory: 65_536,
        memory_fuel: 9,
        bytes_in: 4,
        bytes_out: 3,
        module: digest,
        metered: digest,
        log: digest,
        segment: None,
        engine: Text("test".into()),
        cpu_time: 5,
        started: NOW,
        finished: NOW,
        salt: [host; 32],
    };
    receipt.to_bytes()
}

/// The result of `host` of a task, at the position of the task in that host's report.
pub fn replica(job: u8, task: u32, host: u8) -> ReplicaRow {
    ReplicaRow {
        job: job_id(job),
        task: TaskIndex(task),
        segment: 0,
        host: host_id(host),
        owner: owner(1),
        attempt: AttemptId([host; 16]),
        state: ReplicaState::Reported,
        report: Digest([host; 32]),
        position: task,
        receipt: receipt(host, task),
        lease: LeaseDigest([host; 32]),
        output: Some(vec![host; 3]),
        log: None,
        amount: Amount::new(7),
        final_after: Some(NOW),
        at: NOW,
        near: Some([4, 203, 0, 113, 0, 0, 0, 0]),
        relaxed: host == 21,
    }
}

pub fn segment(job: u8, task: u32, segment: u32) -> SegmentRow {
    SegmentRow {
        job: job_id(job),
        task: TaskIndex(task),
        segment,
        root: Digest([u8::try_from(segment).unwrap(); 32]),
        fuel: 1 << 22 << segment,
        snapshot: Digest([40; 32]),
        length: 70_000,
        host: host_id(20),
        at: NOW,
    }
}

pub fn lease(n: u8, job: u8) -> LeaseRow {
    LeaseRow {
        attempt: AttemptId([n; 16]),
        digest: LeaseDigest([n; 32]),
        job: job_id(job),
        host: host_id(n),
        owner: owner(1),
        first: TaskIndex(4),
        count: 2,
        epoch: 1,
        issued: NOW,
        expiry: NOW.plus(9),
        given_back: vec![TaskIndex(5)],
        near: Some([6, 0x20, 1, 0xd, 0xb8, 0, 1, 0]),
        relaxed: true,
    }
}

/// The report of host `n`, with the leaves of its receipts of tasks 0 and 1.
pub fn report(n: u8) -> ReportRow {
    ReportRow {
        root: Digest([n; 32]),
        host: host_id(n),
        sequence: 0,
        epoch: 1,
        envelope: signed(n),
        leases: vec![(LeaseDigest([n; 32]), signed(n)), (LeaseDigest([77; 32]), signed(77))],
        leaves: vec![merkle::leaf(&receipt(n, 0)), merkle::leaf(&receipt(n, 1))],
        receipts: 2,
        verdicts: vec![1, 2],
        log_index: u64::from(n),
        at: NOW,
    }
}

pub fn task(job: u8, task: u32, sequence: u64) -> TaskRow {
    TaskRow {
        job: job_id(job),
        task: TaskIndex(task),
        segment: 0,
        sequence,
        state: TaskState::Final,
        host: Some(host_id(20)),
        cause: None,
        outcome: Some(Outcome::Exited(3)),
        fuel: Some(11),
        output: Some(Digest([4; 32])),
        output_bytes: Some(3),
        at: NOW,
    }
}

pub fn void(id: u64, job: u8, task: u32) -> VoidRow {
    VoidRow {
        id,
        job: job_id(job),
        task: TaskIndex(task),
        host: host_id(20),
        owner: owner(1),
        fault: FaultKind::Lapsed,
        cause: 2,
        detail: "out of memory".to_owned(),
        at: NOW,
    }
}

pub fn key(kind: AccountKind) -> AccountKey {
    AccountKey { issuer: identity().coordinator, kind }
}

pub fn pending(job: u8, host: u8) -> AccountKey {
    key(AccountKind::Pending { job: job_id(job), host: host_id(host), owner: owner(1) })
}

pub fn escrow(job: u8) -> AccountKey {
    key(AccountKind::Escrow { job: job_id(job) })
}

pub fn granted(n: u8) -> AccountKey {
    key(AccountKind::Granted { owner: owner(n) })
}

pub fn balance(account: AccountKey, amount: i64) -> BalanceRow {
    BalanceRow { account, amount: Amount::new(amount), sequence: 3 }
}

pub fn transfer(id: u64, kind: TransferKind, pair: (AccountKey, AccountKey)) -> TransferRow {
    let parts = [pair.0, pair.1].map(|key| key.kind.parts());
    let job = parts.iter().find_map(|part| part.2);
    let host = parts.iter().find_map(|part| part.3);
    let (issuer, evidence) = (identity().coordinator, Digest([5; 32]));
    let (debit, credit) = pair;
    let amount = Amount::new(50);
    let transfer = Transfer { kind, issuer, debit, credit, amount, job, host, evidence };
    TransferRow { id, transfer, at: NOW }
}

/// A grant, a hold and what a host earned.
pub fn books(batch: &mut Batch) {
    let grants = key(AccountKind::Grants);
    batch.transfers = vec![
        transfer(1, TransferKind::Grant, (grants, granted(1))),
        transfer(2, TransferKind::Hold, (granted(1), escrow(5))),
        transfer(3, TransferKind::Earn, (escrow(5), pending(5, 20))),
    ];
    batch.balances = vec![
        balance(grants, -50),
        balance(granted(1), 0),
        balance(escrow(5), 0),
        balance(pending(5, 20), 50),
    ];
}

pub fn once(name: &str, at: Micros) -> OnceRow {
    OnceRow {
        account: owner(1),
        route: "jobs",
        name: name.to_owned(),
        request: Digest([6; 32]),
        subject: vec![5; 32],
        at,
    }
}

pub fn suspension(kind: SuspensionKind) -> SuspensionRow {
    SuspensionRow { kind, subject: [8; 32], reason: "spam".to_owned(), at: NOW }
}

pub fn blob(n: u8) -> BlobRow {
    BlobRow { digest: Digest([n; 32]), length: 1_000, account: owner(1), at: NOW }
}

/// A batch of nothing.
pub fn empty(sequence: u64) -> Batch {
    Batch { sequence, now: NOW, ..Batch::default() }
}

/// The first batch: one row of everything, a running job 5 with replicas of hosts 20 and 21 of task 0.
pub fn everything() -> Batch {
    let mut batch = Batch {
        accounts: vec![account(1), account(2)],
        hosts: vec![host(20, 1), host(21, 2)],
        jobs: vec![job(5, JobState::Running)],
        pages: vec![PageRow { job: job_id(5), page: 0, states: vec![2; PAGE_BYTES] }],
        leases: vec![lease(20, 5), lease(21, 5)],
        closed_leases: vec![AttemptId([21; 16]), AttemptId([99; 16])],
        reports: vec![report(20), report(21), report(22)],
        replicas: vec![replica(5, 0, 20), replica(5, 0, 21), replica(5, 1, 20)],
        moves: vec![ReplicaMove {
            job: job_id(5),
            task: TaskIndex(0),
            segment: 0,
            host: host_id(20),
            state: ReplicaState::Final,
        }],
        tasks: vec![task(5, 0, 1)],
        segments: vec![segment(5, 0, 0), segment(5, 3, 0), segment(5, 3, 1)],
        voids: vec![void(1, 5, 2)],
        suspensions: vec![suspension(SuspensionKind::Host), suspension(SuspensionKind::Module)],
        lifted: vec![(SuspensionKind::Host, [8; 32])],
        once: vec![once("first", NOW)],
        blobs: vec![blob(1), blob(2)],
        ..empty(1)
    };
    batch.admin = vec![AdminRow {
        id: 1,
        actor: owner(1),
        action: "suspend",
        subject: "module 0808".to_owned(),
        reason: "spam".to_owned(),
        at: NOW,
    }];
    batch.keys =
        vec![KeyRow { id: 1, account: owner(1), kind: "account", envelope: signed(1), at: NOW }];
    books(&mut batch);
    batch
}

/// A store that holds [`everything`].
pub async fn filled(backend: &impl Backend) -> Arc<dyn Store> {
    let store = backend.open().await;
    store.commit(&everything()).await.unwrap();
    store
}

pub fn is_conflict(result: Result<(), CommitError>, expected: &str) {
    match result {
        Err(CommitError::Conflict { table, .. }) => assert_eq!(table, expected),
        other => panic!("expected a conflict in {expected}, found {other:?}"),
    }
}
