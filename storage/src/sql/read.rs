//! Reads of committed rows, on the pool of readers.

use sqlx::Connection;
use tallymill_engine::rows::{
    AccountRow, AdminRow, BalanceRow, BlobRow, HoldRow, HostRow, JobRow, KeyRow, OnceRow, PageRow,
    ReplicaRow, ReportRow, SegmentRow, SuspensionKind, SuspensionRow, TaskRow, TaskState,
    TransferRow, VoidRow,
};
use tallymill_ledger::{Amount, GrantPolicy, LedgerAccountId};
use tallymill_protocol::{
    AccountId, Digest, HostId, JobId, Key, LeaseDigest, Message, SignedBytes, TaskIndex,
};

use super::audit::{audit, issuer};
use super::backend::LONGER;
use super::lent::read;
use super::load::{many, plain, record};
use super::value::{Cells, cells};
use super::{Backend, SqlStore, sql};
use crate::names::Named;
use crate::records::{
    AccountRecord, AdminRecord, BalanceRecord, BlobRecord, Filed, HoldRecord, HostRecord,
    JobRecord, KeyRecord, OnceRecord, PackRecord, PageRecord, Record, ReplicaRecord, ReportRecord,
    SegmentRecord, SuspensionRecord, TaskRecord, TransferRecord, Unpacked, VoidRecord, file,
};
use crate::{
    Accounts, Admin, Answer, BalanceTotal, Blobs, CorruptRow, Decided, Hosts, JobFilter, Jobs,
    Keys, Leaf, Ledger, LedgerAudit, MAX_PAGE, Page, ReadError, Reports, Tasks, TransferFilter,
};

/// What comes before every key of bytes.
const BEFORE: &[u8] = &[];

/// A number that a page follows, or one before all; numbers beyond what columns hold follow everything.
pub(super) fn after(key: Option<u64>) -> i64 {
    key.map_or(-1, |key| i64::try_from(key).unwrap_or(i64::MAX))
}

/// Bytes that a page follows, or some before all.
pub(super) fn follows(key: Option<&[u8; 32]>) -> &[u8] {
    key.map_or(BEFORE, <[u8; 32]>::as_slice)
}

impl<B: Backend> SqlStore<B> {
    pub(super) fn list<'a, R, T>(&'a self, sql: &'static str, cells: Cells) -> Answer<'a, Vec<T>>
    where
        R: Record,
        T: TryFrom<R, Error = CorruptRow> + Send + 'static,
    {
        self.read(1, move |connection| Box::pin(many::<B, R, T>(connection, sql, cells)))
    }

    fn one<'a, R, T>(&'a self, sql: &'static str, cells: Cells) -> Answer<'a, Option<T>>
    where
        R: Record,
        T: TryFrom<R, Error = CorruptRow> + Send + 'static,
    {
        Box::pin(async move { Ok(self.list::<R, T>(sql, cells).await?.pop()) })
    }

    /// What is read on one connection, which may take so many times as long as a commit.
    pub(super) fn read<'a, T: Send + 'static>(
        &'a self,
        times: u32,
        work: impl for<'c> FnOnce(&'c mut B::Connection) -> Answer<'c, T> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(read(&self.readers, self.patience.saturating_mul(times), work))
    }
}

/// A report together with its lease tokens and leaves.
pub(crate) async fn full<B: Backend>(
    connection: &mut B::Connection,
    sql: &'static str,
    cells: Cells,
) -> Result<Option<ReportRow>, ReadError> {
    let mut snapshot = connection.begin_with(B::SNAPSHOT).await?;
    let rows = B::rows(&mut snapshot, sql, cells).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let report = record::<B, ReportRecord>(row)?;
    let mut tokens = Vec::new();
    for digest in report.leases()? {
        let envelope = token::<B>(&mut snapshot, digest).await?;
        tokens.push((digest, envelope.ok_or_else(|| lost(digest, "digest"))?));
    }
    let all = cells![report.number(), -1_i64];
    let packs = many::<B, PackRecord, Unpacked>(&mut snapshot, sql!("receipt_pack/list"), all);
    let packs = packs.await?;
    snapshot.rollback().await?;
    Ok(Some(report.with(tokens, &packs)?))
}

/// The replicas of a task with their receipts, which never change once they are there.
async fn replicas<B: Backend>(
    connection: &mut B::Connection,
    job: JobId,
    task: TaskIndex,
) -> Result<Vec<ReplicaRow>, ReadError> {
    let rows = cells![job, task, MAX_PAGE];
    let filed = many::<B, ReplicaRecord, Filed>(connection, sql!("replica/list"), rows).await?;
    let sql = sql!("receipt_pack/list_by_task");
    let packs = many::<B, PackRecord, Unpacked>(connection, sql, cells![job, task]).await?;
    Ok(file(filed, packs)?)
}

/// Whose report it is, and what was answered to it.
async fn verdicts<B: Backend>(
    connection: &mut B::Connection,
    root: Digest,
) -> Result<Option<(HostId, Vec<u8>)>, ReadError> {
    let sql = sql!("report/get_verdicts");
    let found = plain::<B, (Vec<u8>, Vec<u8>)>(connection, sql, cells![root]).await?;
    let Some((host, codes)) = found.into_iter().next() else { return Ok(None) };
    let corrupt =
        || CorruptRow { table: "report", column: "host".to_owned(), key: root.to_string() };
    Ok(Some((HostId::from_slice(&host).ok_or_else(corrupt)?, codes)))
}

/// Receipts of a report, by position.
async fn leaves<B: Backend>(
    connection: &mut B::Connection,
    root: Digest,
    page: Page<u32>,
) -> Result<Vec<Leaf>, ReadError> {
    let numbers = plain::<B, (i64,)>(connection, sql!("report/number"), cells![root]).await?;
    let Some((number,)) = numbers.into_iter().next() else { return Ok(Vec::new()) };
    let cells = cells![number, after(page.after.map(u64::from))];
    let packs = many::<B, PackRecord, Unpacked>(connection, sql!("receipt_pack/list"), cells);
    let leaves: Result<Vec<Leaf>, _> =
        packs.await?.into_iter().flat_map(Unpacked::leaves).collect();
    let mut leaves = leaves?;
    leaves.retain(|leaf| page.after.is_none_or(|after| leaf.position > after));
    leaves.sort_by_key(|leaf| leaf.position);
    leaves.truncate(page.rows() as usize);
    Ok(leaves)
}

/// Sums of an owner's balances.
async fn totals<B: Backend>(
    connection: &mut B::Connection,
    owner: AccountId,
) -> Result<Vec<BalanceTotal>, ReadError> {
    let sql = sql!("balance/total");
    let rows = plain::<B, (Vec<u8>, String, i64)>(connection, sql, cells![owner]).await?;
    let total = |(id, kind, amount): (Vec<u8>, _, _)| {
        Ok(BalanceTotal { issuer: issuer(&id)?, kind, amount: Amount::new(amount) })
    };
    rows.into_iter().map(total).collect()
}

/// Bytes that an account uploaded first.
async fn stored<B: Backend>(
    connection: &mut B::Connection,
    account: AccountId,
) -> Result<u64, ReadError> {
    let sums = plain::<B, (i64,)>(connection, sql!("blob/sum"), cells![account]).await?;
    Ok(sums.first().map_or(0, |(sum,)| sum.unsigned_abs()))
}

/// A token that a report names but that is absent or unreadable.
fn lost(digest: LeaseDigest, column: &str) -> CorruptRow {
    CorruptRow { table: "lease_token", column: column.to_owned(), key: digest.to_string() }
}

async fn token<B: Backend>(
    connection: &mut B::Connection,
    digest: LeaseDigest,
) -> Result<Option<SignedBytes>, ReadError> {
    let rows = B::rows(connection, sql!("lease_token/get"), cells![digest]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (bytes,) = record::<B, (Vec<u8>,)>(row)?;
    SignedBytes::from_bytes(&bytes).map(Some).map_err(|_| lost(digest, "envelope").into())
}

impl<B: Backend> Jobs for SqlStore<B> {
    fn job(&self, id: JobId) -> Answer<'_, Option<JobRow>> {
        self.one::<JobRecord, _>(sql!("job/get"), cells![id])
    }

    fn jobs(&self, filter: JobFilter, page: Page<u64>) -> Answer<'_, Vec<JobRow>> {
        let before = page.after.map_or(i64::MAX, |key| after(Some(key)));
        let rows = page.rows();
        let state = filter.state.map(Named::name);
        let (sql, cells) = match (filter.payer, state) {
            (Some(payer), state) => (sql!("job/list_by_payer"), cells![payer, state, before, rows]),
            (None, Some(state)) => (sql!("job/list_by_state"), cells![state, before, rows]),
            (None, None) => (sql!("job/list"), cells![before, rows]),
        };
        self.list::<JobRecord, _>(sql, cells)
    }

    fn holds(&self, job: JobId) -> Answer<'_, Vec<HoldRow>> {
        self.list::<HoldRecord, _>(sql!("job_hold/list"), cells![job])
    }

    fn pages(&self, job: JobId, page: Page<u32>) -> Answer<'_, Vec<PageRow>> {
        let after = after(page.after.map(u64::from));
        self.list::<PageRecord, _>(sql!("job_page/list"), cells![job, after, page.rows()])
    }
}

impl<B: Backend> Tasks for SqlStore<B> {
    fn task(&self, job: JobId, task: TaskIndex) -> Answer<'_, Option<TaskRow>> {
        self.one::<TaskRecord, _>(sql!("task/get"), cells![job, task])
    }

    fn tasks(
        &self,
        job: JobId,
        state: Option<TaskState>,
        page: Page<TaskIndex>,
    ) -> Answer<'_, Vec<TaskRow>> {
        let after = after(page.after.map(|task| u64::from(task.0)));
        let cells = cells![job, state.map(Named::name), after, page.rows()];
        self.list::<TaskRecord, _>(sql!("task/list"), cells)
    }

    fn decided(&self, job: JobId, page: Page<u64>) -> Answer<'_, Vec<Decided>> {
        let cells = cells![job, after(page.after), page.rows()];
        self.list::<TaskRecord, _>(sql!("task/list_decided"), cells)
    }

    fn replicas(&self, job: JobId, task: TaskIndex) -> Answer<'_, Vec<ReplicaRow>> {
        self.read(1, move |connection| Box::pin(replicas::<B>(connection, job, task)))
    }

    fn segments(
        &self,
        job: JobId,
        task: TaskIndex,
        page: Page<u32>,
    ) -> Answer<'_, Vec<SegmentRow>> {
        let cells = cells![job, task, after(page.after.map(u64::from)), page.rows()];
        self.list::<SegmentRecord, _>(sql!("segment/list"), cells)
    }

    fn voids(&self, job: JobId, task: TaskIndex, page: Page<u64>) -> Answer<'_, Vec<VoidRow>> {
        let cells = cells![job, task, after(page.after), page.rows()];
        self.list::<VoidRecord, _>(sql!("void_run/list"), cells)
    }
}

impl<B: Backend> Accounts for SqlStore<B> {
    fn account(&self, id: AccountId) -> Answer<'_, Option<AccountRow>> {
        self.one::<AccountRecord, _>(sql!("account/get"), cells![id])
    }

    fn account_by_key(&self, key: Key) -> Answer<'_, Option<AccountRow>> {
        self.one::<AccountRecord, _>(sql!("account/get_by_key"), cells![key])
    }

    fn accounts(&self, page: Page<AccountId>) -> Answer<'_, Vec<AccountRow>> {
        let after = follows(page.after.as_ref().map(|id| &id.0));
        self.list::<AccountRecord, _>(sql!("account/list"), cells![after, page.rows()])
    }

    fn once<'a>(
        &'a self,
        account: AccountId,
        route: &'a str,
        name: &'a str,
    ) -> Answer<'a, Option<OnceRow>> {
        self.one::<OnceRecord, _>(sql!("idempotency/get"), cells![account, route, name])
    }
}

impl<B: Backend> Hosts for SqlStore<B> {
    fn host(&self, id: HostId) -> Answer<'_, Option<HostRow>> {
        self.one::<HostRecord, _>(sql!("host/get"), cells![id])
    }

    fn hosts(&self, owner: Option<AccountId>, page: Page<HostId>) -> Answer<'_, Vec<HostRow>> {
        let after = follows(page.after.as_ref().map(|id| &id.0));
        let (sql, cells) = match owner {
            Some(owner) => (sql!("host/list_by_owner"), cells![owner, after, page.rows()]),
            None => (sql!("host/list"), cells![after, page.rows()]),
        };
        self.list::<HostRecord, _>(sql, cells)
    }
}

impl<B: Backend> Ledger for SqlStore<B> {
    fn balances<'a>(
        &'a self,
        owner: AccountId,
        kind: Option<&'a str>,
        page: Page<LedgerAccountId>,
    ) -> Answer<'a, Vec<BalanceRow>> {
        let after = follows(page.after.as_ref().map(|id| &id.0));
        let cells = cells![owner, kind, after, page.rows()];
        self.list::<BalanceRecord, _>(sql!("balance/list_by_owner"), cells)
    }

    fn totals(&self, owner: AccountId) -> Answer<'_, Vec<BalanceTotal>> {
        self.read(1, move |connection| Box::pin(totals::<B>(connection, owner)))
    }

    fn job_balances(&self, job: JobId, page: Page<LedgerAccountId>) -> Answer<'_, Vec<BalanceRow>> {
        let after = follows(page.after.as_ref().map(|id| &id.0));
        let cells = cells![job, after, page.rows()];
        self.list::<BalanceRecord, _>(sql!("balance/list_by_job"), cells)
    }

    fn transfers(&self, filter: TransferFilter, page: Page<u64>) -> Answer<'_, Vec<TransferRow>> {
        let (after, rows) = (after(page.after), page.rows());
        let (sql, cells) = match filter {
            TransferFilter::All => (sql!("transfer/list"), cells![after, rows]),
            TransferFilter::Job(job) => (sql!("transfer/list_by_job"), cells![job, after, rows]),
            TransferFilter::Owner(owner) => {
                (sql!("transfer/list_by_owner"), cells![owner, after, rows])
            }
        };
        self.list::<TransferRecord, _>(sql, cells)
    }

    fn audit_ledger(&self, policy: GrantPolicy) -> Answer<'_, LedgerAudit> {
        self.read(LONGER, move |connection| Box::pin(audit::<B>(connection, policy)))
    }
}

impl<B: Backend> Reports for SqlStore<B> {
    fn report(&self, root: Digest) -> Answer<'_, Option<ReportRow>> {
        let cells = cells![root];
        self.read(1, move |connection| Box::pin(full::<B>(connection, sql!("report/get"), cells)))
    }

    fn verdicts(&self, root: Digest) -> Answer<'_, Option<(HostId, Vec<u8>)>> {
        self.read(1, move |connection| Box::pin(verdicts::<B>(connection, root)))
    }

    fn report_of(&self, host: HostId, sequence: u64) -> Answer<'_, Option<ReportRow>> {
        let cells = cells![host, after(Some(sequence))];
        self.read(1, move |connection| {
            Box::pin(full::<B>(connection, sql!("report/get_by_host"), cells))
        })
    }

    fn receipts(&self, root: Digest, page: Page<u32>) -> Answer<'_, Vec<Leaf>> {
        self.read(1, move |connection| Box::pin(leaves::<B>(connection, root, page)))
    }

    fn lease_token(&self, digest: LeaseDigest) -> Answer<'_, Option<SignedBytes>> {
        self.read(1, move |connection| Box::pin(token::<B>(connection, digest)))
    }
}

impl<B: Backend> Keys for SqlStore<B> {
    fn keys(&self, account: AccountId, page: Page<u64>) -> Answer<'_, Vec<KeyRow>> {
        let cells = cells![account, after(page.after), page.rows()];
        self.list::<KeyRecord, _>(sql!("key_entry/list"), cells)
    }
}

impl<B: Backend> Admin for SqlStore<B> {
    fn admin(&self, page: Page<u64>) -> Answer<'_, Vec<AdminRow>> {
        let cells = cells![after(page.after), page.rows()];
        self.list::<AdminRecord, _>(sql!("admin_entry/list"), cells)
    }

    fn suspensions(
        &self,
        page: Page<(SuspensionKind, [u8; 32])>,
    ) -> Answer<'_, Vec<SuspensionRow>> {
        let kind = page.after.map_or("", |(kind, _)| kind.name());
        let after = follows(page.after.as_ref().map(|(_, subject)| subject));
        let cells = cells![kind, after, page.rows()];
        self.list::<SuspensionRecord, _>(sql!("suspension/list"), cells)
    }
}

impl<B: Backend> Blobs for SqlStore<B> {
    fn blob(&self, digest: Digest) -> Answer<'_, Option<BlobRow>> {
        self.one::<BlobRecord, _>(sql!("blob/get"), cells![digest])
    }

    fn blobs(&self, account: AccountId, page: Page<Digest>) -> Answer<'_, Vec<BlobRow>> {
        let after = follows(page.after.as_ref().map(|id| &id.0));
        self.list::<BlobRecord, _>(sql!("blob/list"), cells![account, after, page.rows()])
    }

    fn blob_bytes(&self, account: AccountId) -> Answer<'_, u64> {
        self.read(1, move |connection| Box::pin(stored::<B>(connection, account)))
    }
}
