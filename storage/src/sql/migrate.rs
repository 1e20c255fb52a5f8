//! What happens when a database is opened: durability is checked, the schema brought up to date, the shards taken.

use std::path::Path;

use sqlx::{Connection, SqliteConnection};
use tallymill_engine::rows::Identity;

use super::bulk::{Bulk, cells, put};
use super::{Hold, sql};
use crate::{CorruptRow, OpenError, SHARDS};

/// Every migration in order, with its number.
pub(super) const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../../../migrations/0001_foundation.sql")),
    (2, include_str!("../../../migrations/0002_segments.sql")),
    (3, include_str!("../../../migrations/0003_given_back.sql")),
    (4, include_str!("../../../migrations/0004_faults.sql")),
    (5, include_str!("../../../migrations/0005_neighbourhoods.sql")),
];

const BEGIN: &str = "BEGIN IMMEDIATE";

/// Checks that the file system gave what was asked of it: network shares, for one, have no WAL.
pub(super) async fn durable(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), OpenError> {
    let refused = |source| super::refused(path, source);
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await
        .map_err(refused)?;
    let sync: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(connection).await.map_err(refused)?;
    let found = [("journal_mode", journal, "wal"), ("synchronous", sync.to_string(), "2")];
    match found.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((setting, found, expected)) => Err(OpenError::Durability {
            path: path.display().to_string(),
            setting,
            found,
            expected,
        }),
    }
}

/// Applies the migrations that the database does not have, each in one transaction.
pub(super) async fn run(
    connection: &mut SqliteConnection,
    migrations: &[(i64, &'static str)],
) -> Result<(), OpenError> {
    let failed = |source| OpenError::Migration { version: 0, source };
    sqlx::raw_sql(sql!("schema_version/create")).execute(&mut *connection).await.map_err(failed)?;
    let found = version(connection).await.map_err(failed)?;
    let known = migrations.last().map_or(0, |(version, _)| *version);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (version, text) in migrations {
        let version = *version;
        apply(connection, version, text)
            .await
            .map_err(|source| OpenError::Migration { version, source })?;
    }
    Ok(())
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(sql!("schema_version/get")).fetch_one(connection).await
}

/// Applies one migration unless it was applied before, also by a process that starts at the same moment.
async fn apply(
    connection: &mut SqliteConnection,
    number: i64,
    text: &'static str,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    if version(&mut transaction).await? < number {
        sqlx::raw_sql(text).execute(&mut *transaction).await?;
        sqlx::query(sql!("schema_version/insert")).bind(number).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Checks whose database it is, and takes its shards in a new epoch.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    identity: &Identity,
) -> Result<Hold, OpenError> {
    let failed = |source| super::refused(Path::new("shards"), source);
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failed)?;
    belongs(&mut transaction, "network", identity.network.as_str().as_bytes(), text).await?;
    belongs(&mut transaction, "coordinator", &identity.coordinator.0, hex).await?;
    let last: i64 = sqlx::query_scalar(sql!("shard/last_epoch"))
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
    let corrupt =
        || CorruptRow { table: "shard", column: "epoch".to_owned(), key: "highest".to_owned() };
    let epoch = u64::try_from(last).map_err(|_| corrupt())?.saturating_add(1);
    let hold = Hold { owner: identity.coordinator, epoch };
    let shards: Vec<u8> = (0..SHARDS).collect();
    Bulk { table: "shard", sql: sql!("shard/take") }
        .run(&mut transaction, &shards, |shard, cells| put!(cells; *shard, hold.owner, hold.epoch))
        .await
        .map_err(|error| failed(sqlx::Error::Protocol(error.to_string())))?;
    transaction.commit().await.map_err(failed)?;
    Ok(hold)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a fact into a new database; in an old one it must be the same.
async fn belongs(
    connection: &mut SqliteConnection,
    what: &'static str,
    expected: &[u8],
    show: fn(&[u8]) -> String,
) -> Result<(), OpenError> {
    let failed = |source| super::refused(Path::new(what), source);
    let found: Option<Vec<u8>> = sqlx::query_scalar(sql!("meta/get"))
        .bind(what)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    let Some(found) = found else {
        let facts = cells![what, expected];
        let set = sqlx::query_with(sql!("meta/set"), facts.arguments);
        return set.execute(connection).await.map(drop).map_err(failed);
    };
    if found == expected {
        return Ok(());
    }
    Err(OpenError::Foreign { what, found: show(&found), expected: show(expected) })
}
