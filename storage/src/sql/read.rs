//! Reads of committed rows, on the pool of readers.

use sqlx::FromRow;
use sqlx::sqlite::SqliteRow;
use tallymill_engine::rows::{
    AccountRow, AdminRow, BalanceRow, BlobRow, HostRow, JobRow, KeyRow, OnceRow, PageRow,
    ReplicaRow, ReportRow, SegmentRow, SuspensionKind, SuspensionRow, TaskRow, TaskState,
    TransferRow, VoidRow,
};
use tallymill_ledger::{Amount, GrantPolicy, LedgerAccountId};
use tallymill_protocol::{
    AccountId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest, Message, SignedBytes,
    TaskIndex,
};

use super::bulk::{Cells, cells};
use super::load::{many, record};
use super::{SqliteStore, sql};
use crate::names::Named;
use crate::records::{
    AccountRecord, AdminRecord, BalanceRecord, BlobRecord, HostRecord, JobRecord, KeyRecord,
    LeafRecord, OnceRecord, PageRecord, Record, ReplicaRecord, ReportRecord, SegmentRecord,
    SuspensionRecord, TaskRecord, TransferRecord, VoidRecord,
};
use crate::{
    Accounts, Admin, Answer, BalanceTotal, Blobs, CorruptRow, Decided, Hosts, JobFilter, Jobs,
    Keys, Leaf, Ledger, LedgerAudit, MAX_PAGE, Offence, Page, ReadError, Reports, Rule, Tasks,
    TransferFilter,
};

/// What comes before every key of bytes.
const BEFORE: &[u8] = &[];

/// A number that a page follows, or one before all; numbers beyond what columns hold follow everything.
fn after(key: Option<u64>) -> i64 {
    key.map_or(-1, |key| i64::try_from(key).unwrap_or(i64::MAX))
}

/// Bytes that a page follows, or some before all.
fn follows(key: Option<&[u8; 32]>) -> &[u8] {
    key.map_or(BEFORE, <[u8; 32]>::as_slice)
}

impl SqliteStore {
    fn list<'a, R, T>(&'a self, sql: &'static str, cells: Cells) -> Answer<'a, Vec<T>>
    where
        R: Record + for<'r> FromRow<'r, SqliteRow> + 'a,
        T: TryFrom<R, Error = CorruptRow> + Send + 'a,
    {
        Box::pin(many::<R, T>(&self.readers, sql, cells))
    }

    fn one<'a, R, T>(&'a self, sql: &'static str, cells: Cells) -> Answer<'a, Option<T>>
    where
        R: Record + for<'r> FromRow<'r, SqliteRow> + 'a,
        T: TryFrom<R, Error = CorruptRow> + Send + 'a,
    {
        Box::pin(async move { Ok(many::<R, T>(&self.readers, sql, cells).await?.pop()) })
    }

    /// A report together with its lease tokens.
    fn full(&self, sql: &'static str, cells: Cells) -> Answer<'_, Option<ReportRow>> {
        Box::pin(async move {
            let mut snapshot = self.readers.begin().await?;
            let found =
                sqlx::query_with(sql, cells.arguments).fetch_optional(&mut *snapshot).await?;
            let Some(row) = found else { return Ok(None) };
            let report = record::<ReportRecord>(&row)?;
            let mut tokens = Vec::new();
            for digest in report.leases()? {
                let envelope = token(&mut *snapshot, digest).await?;
                tokens.push((digest, envelope.ok_or_else(|| lost(digest, "digest"))?));
            }
            Ok(Some(report.with(tokens)?))
        })
    }

    async fn offences(
        &self,
        (rule, sql): (Rule, &'static str),
        cells: Cells,
    ) -> Result<Vec<Offence>, ReadError> {
        let rows: Vec<(Vec<u8>, i64, i64)> =
            sqlx::query_as_with(sql, cells.arguments).fetch_all(&self.readers).await?;
        let offence = |(subject, found, expected): (Vec<u8>, _, _)| {
            let subject = subject.iter().map(|byte| format!("{byte:02x}")).collect();
            Offence { rule, subject, found, expected }
        };
        Ok(rows.into_iter().map(offence).collect())
    }
}

/// A token that a report names but that is absent or unreadable.
fn lost(digest: LeaseDigest, column: &str) -> CorruptRow {
    CorruptRow { table: "lease_token", column: column.to_owned(), key: digest.to_string() }
}

async fn token<'c>(
    executor: impl sqlx::Executor<'c, Database = sqlx::Sqlite>,
    digest: LeaseDigest,
) -> Result<Option<SignedBytes>, ReadError> {
    let found: Option<Vec<u8>> = sqlx::query_scalar(sql!("lease_token/get"))
        .bind(digest.0.to_vec())
        .fetch_optional(executor)
        .await?;
    let open = |bytes: Vec<u8>| {
        SignedBytes::from_bytes(&bytes).map_err(|_| lost(digest, "envelope").into())
    };
    found.map(open).transpose()
}

impl Jobs for SqliteStore {
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

    fn pages(&self, job: JobId, page: Page<u32>) -> Answer<'_, Vec<PageRow>> {
        let after = after(page.after.map(u64::from));
        self.list::<PageRecord, _>(sql!("job_page/list"), cells![job, after, page.rows()])
    }
}

impl Tasks for SqliteStore {
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
        self.list::<ReplicaRecord, _>(sql!("replica/list"), cells![job, task, MAX_PAGE])
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

impl Accounts for SqliteStore {
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

impl Hosts for SqliteStore {
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

impl Ledger for SqliteStore {
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
        Box::pin(async move {
            let rows: Vec<(Vec<u8>, String, i64)> = sqlx::query_as(sql!("balance/total"))
                .bind(owner.0.to_vec())
                .fetch_all(&self.readers)
                .await?;
            rows.into_iter()
                .map(|(id, kind, amount)| {
                    Ok(BalanceTotal { issuer: issuer(&id)?, kind, amount: Amount::new(amount) })
                })
                .collect()
        })
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
        Box::pin(self.audit(policy))
    }
}

fn issuer(id: &[u8]) -> Result<CoordinatorId, CorruptRow> {
    CoordinatorId::from_slice(id).ok_or_else(|| CorruptRow {
        table: "ledger_account",
        column: "issuer".to_owned(),
        key: id.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

impl SqliteStore {
    /// The database adds up; only sums and what breaks a rule come here.
    async fn audit(&self, policy: GrantPolicy) -> Result<LedgerAudit, ReadError> {
        let (transfers, balances): (i64, i64) =
            sqlx::query_as(sql!("audit/count")).fetch_one(&self.readers).await?;
        let rows: Vec<(Vec<u8>, i64)> =
            sqlx::query_as(sql!("audit/sums")).fetch_all(&self.readers).await?;
        let sums: Result<Vec<_>, CorruptRow> =
            rows.iter().map(|(id, sum)| Ok((issuer(id)?, *sum))).collect();
        let sums = sums?;
        let unequal = sums.iter().filter(|(_, sum)| *sum != 0).map(|(issuer, sum)| Offence {
            rule: Rule::SumIsZero,
            subject: issuer.to_string(),
            found: *sum,
            expected: 0,
        });
        let mut offences: Vec<_> = unequal.collect();
        let [each, all] = [policy.per_account, policy.total].map(Amount::micros);
        for (rule, cells) in [
            ((Rule::Floor, sql!("audit/floors")), cells![]),
            ((Rule::BalanceIsTransfers, sql!("audit/balances")), cells![]),
            ((Rule::EscrowCoversReserved, sql!("audit/escrow")), cells![]),
            ((Rule::ClosedIsEmpty, sql!("audit/closed")), cells![]),
            ((Rule::GrantsWithinLimits, sql!("audit/grants")), cells![policy.issuer, each, all]),
            ((Rule::PaidOnce, sql!("audit/paid_once")), cells![]),
            ((Rule::PayFollowsPayer, sql!("audit/payer")), cells![]),
        ] {
            offences.extend(self.offences(rule, cells).await?);
        }
        let (transfers, balances) = (transfers.unsigned_abs(), balances.unsigned_abs());
        Ok(LedgerAudit { transfers, balances, sums, offences })
    }
}

impl Reports for SqliteStore {
    fn report(&self, root: Digest) -> Answer<'_, Option<ReportRow>> {
        self.full(sql!("report/get"), cells![root])
    }

    fn report_of(&self, host: HostId, sequence: u64) -> Answer<'_, Option<ReportRow>> {
        self.full(sql!("report/get_by_host"), cells![host, after(Some(sequence))])
    }

    fn receipts(&self, root: Digest, page: Page<u32>) -> Answer<'_, Vec<Leaf>> {
        let after = after(page.after.map(u64::from));
        self.list::<LeafRecord, _>(sql!("replica/list_receipts"), cells![root, after, page.rows()])
    }

    fn lease_token(&self, digest: LeaseDigest) -> Answer<'_, Option<SignedBytes>> {
        Box::pin(token(&self.readers, digest))
    }
}

impl Keys for SqliteStore {
    fn keys(&self, account: AccountId, page: Page<u64>) -> Answer<'_, Vec<KeyRow>> {
        let cells = cells![account, after(page.after), page.rows()];
        self.list::<KeyRecord, _>(sql!("key_entry/list"), cells)
    }
}

impl Admin for SqliteStore {
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

impl Blobs for SqliteStore {
    fn blob(&self, digest: Digest) -> Answer<'_, Option<BlobRow>> {
        self.one::<BlobRecord, _>(sql!("blob/get"), cells![digest])
    }

    fn blobs(&self, account: AccountId, page: Page<Digest>) -> Answer<'_, Vec<BlobRow>> {
        let after = follows(page.after.as_ref().map(|id| &id.0));
        self.list::<BlobRecord, _>(sql!("blob/list"), cells![account, after, page.rows()])
    }

    fn blob_bytes(&self, account: AccountId) -> Answer<'_, u64> {
        Box::pin(async move {
            let sum: i64 = sqlx::query_scalar(sql!("blob/sum"))
                .bind(account.0.to_vec())
                .fetch_one(&self.readers)
                .await?;
            Ok(sum.unsigned_abs())
        })
    }
}
