//! What a start reads, in one transaction.

use sqlx::{Connection, Transaction};
use tallymill_engine::rows::{Counters, ReplicaRow, Snapshot};
use tallymill_protocol::Micros;

use super::migrate::{self, held};
use super::value::{Cells, cells};
use super::{Backend, Hold, sql};
use crate::records::{
    AccountRecord, BalanceRecord, CounterRecord, Filed, HostRecord, JobRecord, LeaseRecord,
    OnceRecord, PackRecord, PageRecord, PaidRecord, Record, ReplicaRecord, SegmentRecord,
    SuspensionRecord, Unpacked, VoidRecord, file,
};
use crate::{CorruptRow, LoadError, ONCE_TERM, ReadError};

/// The engine's rows of a query.
pub(crate) async fn many<B, R, T>(
    connection: &mut B::Connection,
    sql: &'static str,
    cells: Cells,
) -> Result<Vec<T>, ReadError>
where
    B: Backend,
    R: Record,
    T: TryFrom<R, Error = CorruptRow>,
{
    let rows = B::rows(connection, sql, cells).await?;
    rows.iter().map(|row| Ok(T::try_from(record::<B, R>(row)?)?)).collect()
}

/// The rows of a query as they are.
pub(crate) async fn plain<B: Backend, R: Record>(
    connection: &mut B::Connection,
    sql: &'static str,
    cells: Cells,
) -> Result<Vec<R>, ReadError> {
    let rows = B::rows(connection, sql, cells).await?;
    Ok(rows.iter().map(B::record::<R>).collect::<Result<_, _>>()?)
}

/// A record of a row. SQLite lets any column hold any type, so a wrong one is a corrupt row and not the program's fault.
pub(super) fn record<B: Backend, R: Record>(row: &B::Row) -> Result<R, ReadError> {
    B::record::<R>(row).map_err(|error| match error {
        sqlx::Error::ColumnDecode { index, .. } => {
            let column = index.trim_matches('"').to_owned();
            CorruptRow { table: R::TABLE, column, key: first::<B>(row) }.into()
        }
        error => error.into(),
    })
}

/// The first column of a row as people read it: every query starts with its key.
fn first<B: Backend>(row: &B::Row) -> String {
    if let Ok((number,)) = B::record::<(i64,)>(row) {
        return number.to_string();
    }
    let (bytes,) = B::record::<(Vec<u8>,)>(row).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number among the facts; 0 before the first commit.
async fn fact<B: Backend>(tx: &mut Transaction<'_, B>, name: &str) -> Result<u64, LoadError> {
    let Some(bytes) = migrate::fact(tx, name).await? else { return Ok(0) };
    let number = bytes.try_into().map(u64::from_be_bytes);
    let corrupt = || CorruptRow { table: "meta", column: "value".to_owned(), key: name.to_owned() };
    Ok(number.map_err(|_| corrupt())?)
}

/// The highest numbers given out. Those of tasks are among the facts, and those of void runs when some were collected: no table
/// holds them all.
async fn counters<B: Backend>(tx: &mut Transaction<'_, B>) -> Result<Counters, LoadError> {
    let counters = many::<B, CounterRecord, Counters>(tx, sql!("counter/get"), cells![]).await?;
    let task = fact(tx, "task").await?;
    let counters = counters.into_iter().next().unwrap_or_default();
    let void = counters.void.max(fact(tx, "void").await?);
    Ok(Counters { task, void, ..counters })
}

/// Results of live jobs that wait for others, with their receipts.
async fn waiting<B: Backend>(tx: &mut Transaction<'_, B>) -> Result<Vec<ReplicaRow>, LoadError> {
    let filed = many::<B, ReplicaRecord, Filed>(tx, sql!("replica/load"), cells![]).await?;
    let packs = many::<B, PackRecord, Unpacked>(tx, sql!("receipt_pack/load"), cells![]).await?;
    Ok(file(filed, packs)?)
}

/// The state that the engine starts from.
pub(super) async fn load<B: Backend>(
    connection: &mut B::Connection,
    hold: Hold,
) -> Result<Snapshot, LoadError> {
    // Waits for the locks of writers: a commit that was abandoned at its very end may still be under way. None begins
    // before this ends, so all that follows is read from one state.
    let mut transaction = connection.begin_with(B::BEGIN).await?;
    let tx = &mut transaction;
    B::patient(tx).await?;
    if !held(tx, hold).await? {
        return Err(LoadError::Fenced { epoch: hold.epoch });
    }
    let now = Micros(fact(tx, "now").await?);
    let oldest = Micros(now.0.saturating_sub(ONCE_TERM));
    macro_rules! all {
        ($record:ident, $name:literal) => {
            many::<B, $record, _>(tx, sql!($name), cells![]).await?
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
        replicas: waiting::<B>(tx).await?,
        segments: all!(SegmentRecord, "segment/load"),
        voids: all!(VoidRecord, "void_run/load"),
        paid: all!(PaidRecord, "ledger_account/load_paid"),
        balances: all!(BalanceRecord, "balance/load"),
        suspensions: all!(SuspensionRecord, "suspension/load"),
        once: many::<B, OnceRecord, _>(tx, sql!("idempotency/load"), cells![oldest]).await?,
    };
    transaction.rollback().await?;
    Ok(snapshot)
}
