//! What happens when a database is opened: the schema is brought up to date, the shards are taken.

use sqlx::{Connection, Transaction};
use tallymill_engine::rows::Identity;

use super::backend::failed;
use super::bulk::bulk;
use super::value::{cells, put};
use super::{Backend, Hold, sql};
use crate::{CommitError, CorruptRow, OpenError, SHARDS, Sitter};

/// Every migration in order, with its number.
pub(crate) const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../../../migrations/0001_foundation.sql")),
    (2, include_str!("../../../migrations/0002_segments.sql")),
    (3, include_str!("../../../migrations/0003_given_back.sql")),
    (4, include_str!("../../../migrations/0004_faults.sql")),
    (5, include_str!("../../../migrations/0005_neighbourhoods.sql")),
    (6, include_str!("../../../migrations/0006_packs.sql")),
    (7, include_str!("../../../migrations/0007_retention.sql")),
    (8, include_str!("../../../migrations/0008_seat.sql")),
];

/// The migration that makes the shards, before which nobody holds any.
const FIRST: i64 = 1;

/// A transaction beside which no other one prepares this database.
async fn alone<B: Backend>(
    connection: &mut B::Connection,
) -> Result<Transaction<'_, B>, sqlx::Error> {
    let mut transaction = connection.begin_with(B::BEGIN).await?;
    B::alone(&mut transaction).await?;
    Ok(transaction)
}

/// Applies the migrations that the database does not have, each in one transaction.
pub(crate) async fn run<B: Backend>(
    connection: &mut B::Connection,
    migrations: &[(i64, &'static str)],
) -> Result<(), OpenError> {
    let failed = |source| OpenError::Migration { version: 0, source };
    let found = prepare::<B>(connection).await.map_err(failed)?;
    let known = migrations.last().map_or(0, |(version, _)| *version);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (version, text) in migrations {
        let version = *version;
        apply::<B>(connection, version, text)
            .await
            .map_err(|source| OpenError::Migration { version, source })?;
    }
    Ok(())
}

/// Makes the table of versions, and says the newest.
async fn prepare<B: Backend>(connection: &mut B::Connection) -> Result<i64, sqlx::Error> {
    let mut transaction = alone::<B>(connection).await?;
    B::define(&mut transaction, sql!("schema_version/create")).await?;
    let found = version(&mut transaction).await?;
    transaction.commit().await?;
    Ok(found)
}

async fn version<B: Backend>(tx: &mut Transaction<'_, B>) -> Result<i64, sqlx::Error> {
    number(tx, sql!("schema_version/get")).await
}

/// The one number that a query answers.
async fn number<B: Backend>(
    tx: &mut Transaction<'_, B>,
    sql: &'static str,
) -> Result<i64, sqlx::Error> {
    let rows = B::rows(tx, sql, cells![]).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    B::record::<(i64,)>(row).map(|(number,)| number)
}

/// Applies one migration unless it was applied before, also by a process that starts at the same moment.
async fn apply<B: Backend>(
    connection: &mut B::Connection,
    number: i64,
    text: &'static str,
) -> Result<(), sqlx::Error> {
    let mut transaction = alone::<B>(connection).await?;
    // It may move everything that there is.
    B::patient(&mut transaction).await?;
    if version(&mut transaction).await? < number {
        B::define(&mut transaction, text).await?;
        B::execute(&mut transaction, sql!("schema_version/insert"), cells![number]).await?;
        if number > FIRST {
            // An older program that serves on this database knows nothing of the new schema: it commits nothing from here on.
            B::execute(&mut transaction, sql!("shard/leap"), cells![1_u32]).await?;
        }
    }
    transaction.commit().await
}

/// With what right the shards are taken.
pub(super) enum Claim<'a> {
    /// Whoever starts on a database of its own takes it.
    Own,
    /// Whoever stands by takes the seat of the one that it saw last, if that has done nothing since.
    Seen {
        /// Who had the seat, if anybody.
        seen: Option<&'a Sitter>,
        /// Where others reach the one that takes it.
        address: &'a str,
    },
}

/// Checks whose database it is; in a new one that is written down.
pub(super) async fn check<B: Backend>(
    connection: &mut B::Connection,
    identity: &Identity,
) -> Result<(), OpenError> {
    let failed = refused("owner");
    let mut transaction = alone::<B>(connection).await.map_err(&failed)?;
    ours(&mut transaction, identity).await?;
    transaction.commit().await.map_err(&failed)
}

async fn ours<B: Backend>(
    tx: &mut Transaction<'_, B>,
    identity: &Identity,
) -> Result<(), OpenError> {
    belongs(tx, "network", identity.network.as_str().as_bytes(), text).await?;
    belongs(tx, "coordinator", &identity.coordinator.0, hex).await
}

/// Checks whose database it is, and takes its shards in a new epoch. It waits for a commit of whoever holds them now.
/// `None` if somebody else was quicker.
pub(super) async fn take<B: Backend>(
    connection: &mut B::Connection,
    identity: &Identity,
    claim: Claim<'_>,
) -> Result<Option<Hold>, OpenError> {
    let failed = refused("shards");
    let mut transaction = alone::<B>(connection).await.map_err(&failed)?;
    ours(&mut transaction, identity).await?;
    let found = version(&mut transaction).await.map_err(&failed)?;
    let known = MIGRATIONS.last().map_or(0, |(version, _)| *version);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    let last = number(&mut transaction, sql!("shard/last_epoch")).await.map_err(&failed)?;
    let corrupt =
        || CorruptRow { table: "shard", column: "epoch".to_owned(), key: "highest".to_owned() };
    let epoch = u64::try_from(last).map_err(|_| corrupt())?.saturating_add(1);
    let hold = Hold { owner: identity.coordinator, epoch };
    if sit(&mut transaction, epoch, claim).await.map_err(&failed)? == 0 {
        return Ok(None);
    }
    let shards: Vec<u8> = (0..SHARDS).collect();
    bulk!("shard", "take")
        .run(&mut transaction, &shards, |shard, cells| put!(cells; *shard, hold.owner, hold.epoch))
        .await
        .map_err(|error| failed(source(error)))?;
    transaction.commit().await.map_err(&failed)?;
    Ok(Some(hold))
}

/// Takes the seat; says how many seats that were.
async fn sit<B: Backend>(
    tx: &mut Transaction<'_, B>,
    epoch: u64,
    claim: Claim<'_>,
) -> Result<u64, sqlx::Error> {
    match claim {
        Claim::Own => B::execute(tx, sql!("seat/take"), cells!["", epoch]).await,
        Claim::Seen { seen: None, address } => {
            B::execute(tx, sql!("seat/take_first"), cells![address, epoch]).await
        }
        Claim::Seen { seen: Some(seen), address } => {
            let cells = cells![address, epoch, seen.epoch, seen.beat];
            B::execute(tx, sql!("seat/take_from"), cells).await
        }
    }
}

fn refused(what: &'static str) -> impl Fn(sqlx::Error) -> OpenError {
    move |source| OpenError::Database { path: what.to_owned(), source }
}

/// The database's own error, which says more than what it stands for.
fn source(error: CommitError) -> sqlx::Error {
    match error {
        CommitError::Unavailable(source) => source,
        error => sqlx::Error::Protocol(error.to_string()),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A fact about the database.
pub(super) async fn fact<B: Backend>(
    tx: &mut Transaction<'_, B>,
    name: &str,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let rows = B::rows(tx, sql!("meta/get"), cells![name]).await?;
    rows.first().map(|row| B::record::<(Vec<u8>,)>(row).map(|(value,)| value)).transpose()
}

/// Writes facts about the database.
pub(super) async fn set<B: Backend>(
    tx: &mut Transaction<'_, B>,
    facts: &[(&str, &[u8])],
) -> Result<(), CommitError> {
    bulk!("meta", "set")
        .run(tx, facts, |(name, value), cells| put!(cells; *name, *value))
        .await
        .map(drop)
}

/// Writes a fact into a new database; in an old one it must be the same.
async fn belongs<B: Backend>(
    tx: &mut Transaction<'_, B>,
    what: &'static str,
    expected: &[u8],
    show: fn(&[u8]) -> String,
) -> Result<(), OpenError> {
    let failed = refused(what);
    let Some(found) = fact(tx, what).await.map_err(&failed)? else {
        return set(tx, &[(what, expected)]).await.map_err(|error| failed(source(error)));
    };
    if found == expected {
        return Ok(());
    }
    Err(OpenError::Foreign { what, found: show(&found), expected: show(expected) })
}

/// Whether all shards still have this owner and epoch; nobody takes them before the transaction ends.
pub(super) async fn held<B: Backend>(
    tx: &mut Transaction<'_, B>,
    hold: Hold,
) -> Result<bool, sqlx::Error> {
    let rows = B::rows(tx, B::HELD, cells![hold.owner, hold.epoch]).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    B::record::<(i64,)>(row).map(|(count,)| count == i64::from(SHARDS))
}

/// The same as a condition of a commit.
pub(super) async fn fence<B: Backend>(
    tx: &mut Transaction<'_, B>,
    hold: Hold,
) -> Result<(), CommitError> {
    if held(tx, hold).await.map_err(failed::<B>)? {
        return Ok(());
    }
    Err(CommitError::Fenced { epoch: hold.epoch })
}
