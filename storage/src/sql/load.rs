//! What a start reads, in one transaction.

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, FromRow, Row, SqliteConnection};
use tallymill_engine::rows::{Counters, Snapshot};
use tallymill_protocol::Micros;

use super::bulk::{Cells, cells};
use super::{Hold, sql, write};
use crate::records::{
    AccountRecord, BalanceRecord, HostRecord, JobRecord, LeaseRecord, OnceRecord, PageRecord,
    PaidRecord, Record, ReplicaRecord, SegmentRecord, SuspensionRecord, VoidRecord,
};
use crate::{CorruptRow, LoadError, ONCE_TERM, ReadError};

/// The engine's rows of a query.
pub(super) async fn many<'c, R, T>(
    executor: impl sqlx::Executor<'c, Database = sqlx::Sqlite>,
    sql: &'static str,
    cells: Cells,
) -> Result<Vec<T>, ReadError>
where
    R: Record + for<'r> FromRow<'r, SqliteRow>,
    T: TryFrom<R, Error = CorruptRow>,
{
    let rows = sqlx::query_with(sql, cells.arguments).fetch_all(executor).await?;
    rows.iter().map(|row| Ok(T::try_from(record::<R>(row)?)?)).collect()
}

/// A record of a row. SQLite lets any column hold any type, so a wrong one is a corrupt row and not the program's fault.
pub(super) fn record<R>(row: &SqliteRow) -> Result<R, ReadError>
where
    R: Record + for<'r> FromRow<'r, SqliteRow>,
{
    R::from_row(row).map_err(|error| match error {
        sqlx::Error::ColumnDecode { index, .. } => {
            let column = index.trim_matches('"').to_owned();
            CorruptRow { table: R::TABLE, column, key: first(row) }.into()
        }
        error => error.into(),
    })
}

/// The first column of a row as people read it: every query starts with its key.
fn first(row: &SqliteRow) -> String {
    if let Ok(number) = row.try_get::<i64, _>(0) {
        return number.to_string();
    }
    let bytes = row.try_get_unchecked::<Vec<u8>, _>(0).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number among the facts; 0 before the first commit.
async fn fact(connection: &mut SqliteConnection, name: &str) -> Result<u64, LoadError> {
    let found: Option<Vec<u8>> =
        sqlx::query_scalar(sql!("meta/get")).bind(name).fetch_optional(connection).await?;
    let Some(bytes) = found else { return Ok(0) };
    let number = bytes.try_into().map(u64::from_be_bytes);
    let corrupt = || CorruptRow { table: "meta", column: "value".to_owned(), key: name.to_owned() };
    Ok(number.map_err(|_| corrupt())?)
}

async fn counters(connection: &mut SqliteConnection) -> Result<Counters, LoadError> {
    let row = sqlx::query(sql!("counter/get")).fetch_one(&mut *connection).await?;
    let count = |index: &'static str| {
        let corrupt =
            || CorruptRow { table: "counter", column: index.to_owned(), key: String::new() };
        let number: i64 = row.try_get(index)?;
        Ok::<u64, LoadError>(u64::try_from(number).map_err(|_| corrupt())?)
    };
    Ok(Counters {
        job: count("job")?,
        task: fact(connection, "task").await?,
        transfer: count("transfer")?,
        void: count("void")?,
        admin: count("admin")?,
        key: count("key")?,
        log: count("log")?,
    })
}

/// The state that the engine starts from.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    hold: Hold,
) -> Result<Snapshot, LoadError> {
    // Waits for the lock of writers: a commit that was abandoned at its very end may still be under way.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let tx = &mut *transaction;
    if !write::held(tx, hold).await? {
        return Err(LoadError::Fenced { epoch: hold.epoch });
    }
    let now = Micros(fact(tx, "now").await?);
    let oldest = Micros(now.0.saturating_sub(ONCE_TERM));
    macro_rules! all {
        ($record:ident, $name:literal) => {
            many::<$record, _>(&mut *tx, sql!($name), cells![]).await?
        };
    }
    let snapshot = Snapshot {
        epoch: hold.epoch,
        sequence: fact(tx, "sequence").await?,
        now,
        counters: counters(tx).await?,
        accounts: all!(AccountRecord, "account/load"),
        hosts: all!(HostRecord, "host/load"),
        jobs: all!(JobRecord, "job/load"),
        pages: all!(PageRecord, "job_page/load"),
        leases: all!(LeaseRecord, "lease/load"),
        replicas: all!(ReplicaRecord, "replica/load"),
        segments: all!(SegmentRecord, "segment/load"),
        voids: all!(VoidRecord, "void_run/load"),
        paid: all!(PaidRecord, "ledger_account/load_paid"),
        balances: all!(BalanceRecord, "balance/load"),
        suspensions: all!(SuspensionRecord, "suspension/load"),
        once: many::<OnceRecord, _>(&mut *tx, sql!("idempotency/load"), cells![oldest]).await?,
    };
    transaction.rollback().await?;
    Ok(snapshot)
}
