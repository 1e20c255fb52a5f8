//! SQLite: one file, WAL with synchronous=FULL, always: with NORMAL a power cut loses commits that were answered for.

mod file;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};
use tallymill_engine::rows::Identity;

use crate::OpenError;
use crate::records::Record;
use crate::sql::value::{Cells, Value};
pub use file::{DatabaseFile, Facts};

use crate::sql::{Backend, Opened, Pending, ROWS, SqlStore, Told, sql, statements};

/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);

/// Prepared statements kept per connection: each bulk statement in eight sizes.
const STATEMENTS: usize = 512;

/// Most rows in one statement; 20 columns of them stay far below SQLite's 32,766 parameters.
const MOST_ROWS: usize = 128;

/// SQLite's code for "no space left".
const SQLITE_FULL: i32 = 13;

/// SQLite's primary code for a broken constraint.
const SQLITE_CONSTRAINT: i32 = 19;

/// How long a read waits for its turn.
const TURN: Duration = Duration::from_secs(30);

/// No network lies between, and a disk that is slow is waited for.
const PATIENCE: Duration = Duration::MAX;

/// SQLite's own limit of a file, pages.
const MOST_PAGES: u64 = 0xffff_fffe;

/// A store in one SQLite file.
pub type SqliteStore = SqlStore<Sqlite>;

impl SqlStore<Sqlite> {
    /// Opens or creates the database, brings its schema up to date and takes its shards in a new epoch.
    ///
    /// A handle that was opened earlier on the same file can read, but not commit any more.
    ///
    /// # Errors
    /// When the file cannot be used, is another coordinator's or network's, was written by a newer program, or lies where
    /// commits would not be durable.
    pub async fn open(path: &Path, identity: &Identity) -> Result<Self, OpenError> {
        let (place, writer) = (path.display().to_string(), options(path));
        let readers = writer.clone().pragma("query_only", "ON");
        let (turn, patience) = (TURN, PATIENCE);
        Self::take(Opened { place, writer, readers, turn, patience }, identity).await
    }

    /// Limits the database file to `pages` pages of 4 KiB (`None`: no limit); commits beyond it fail with
    /// [`crate::CommitError::Full`]. A file that is larger already stays as it is.
    pub async fn limit_pages(&self, pages: Option<u64>) {
        let pages = pages.unwrap_or(MOST_PAGES).to_string();
        let mut writer = self.writer.lock().await;
        writer.options = writer.options.clone().pragma("max_page_count", pages);
        writer.connection = None;
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(PathBuf::from(path))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .statement_cache_capacity(STATEMENTS)
}

/// The parameters as SQLite takes them.
fn arguments(cells: Cells) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for value in cells.values {
        let added = match value {
            Value::Int(number) => arguments.add(number),
            Value::Truth(truth) => arguments.add(truth),
            Value::Text(text) => arguments.add(text),
            Value::Bytes(bytes) => arguments.add(bytes),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// The statement with `rows` tuples of `columns` parameters.
fn expand(sql: &str, columns: usize, rows: usize) -> String {
    let tuple = format!("({})", vec!["?"; columns].join(","));
    sql.replace(ROWS, &format!("VALUES {}", vec![tuple.as_str(); rows].join(",")))
}

/// SQLite names the place as "… constraint failed: table.column, …".
fn conflict(message: &str) -> Told {
    let place = message.split_once("failed: ").map(|(_, place)| place);
    let table = place.and_then(|place| place.split(['.', ' ']).next());
    Told::Conflict(table.map(str::to_owned), message.to_owned())
}

impl Backend for Sqlite {
    const KIND: &'static str = "sqlite";
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const SNAPSHOT: &'static str = "BEGIN";
    const HELD: &'static str = sql!("shard/held.sqlite");

    statements!(arguments);

    /// The file system must give what was asked of it: network shares, for one, have no WAL.
    fn durable<'a>(
        connection: &'a mut SqliteConnection,
        place: &'a str,
    ) -> Pending<'a, (), OpenError> {
        Box::pin(durable(connection, place))
    }

    fn define<'a>(connection: &'a mut SqliteConnection, sql: &'static str) -> Pending<'a, ()> {
        Box::pin(async move { sqlx::raw_sql(sql).execute(connection).await.map(drop) })
    }

    /// The one lock of the file is taken already.
    fn alone(_: &mut SqliteConnection) -> Pending<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// There is no limit.
    fn patient(_: &mut SqliteConnection) -> Pending<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Powers of two, so that few statements are prepared.
    fn portion(left: usize) -> usize {
        1 << left.min(MOST_ROWS).ilog2()
    }

    fn bulk<'a>(
        connection: &'a mut SqliteConnection,
        sql: &'static str,
        cells: Cells,
        rows: usize,
    ) -> Pending<'a, u64> {
        Box::pin(async move {
            // Only question marks are added to a statement from a file; no data enters its text.
            let sql = AssertSqlSafe(expand(sql, cells.values.len() / rows, rows));
            let done = sqlx::query_with(sql, arguments(cells)?).execute(connection).await?;
            Ok(done.rows_affected())
        })
    }

    fn told(error: &sqlx::Error) -> Told {
        let Some(error) = error.as_database_error() else { return Told::Unknown };
        match error.code().and_then(|code| code.parse::<i32>().ok()) {
            Some(SQLITE_FULL) => Told::Full,
            Some(code) if code & 0xff == SQLITE_CONSTRAINT => conflict(error.message()),
            _ => Told::Unknown,
        }
    }
}

async fn durable(connection: &mut SqliteConnection, place: &str) -> Result<(), OpenError> {
    let refused = |source| OpenError::Database { path: place.to_owned(), source };
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await
        .map_err(refused)?;
    let sync: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(connection).await.map_err(refused)?;
    let found = [("journal_mode", journal, "wal"), ("synchronous", sync.to_string(), "2")];
    match found.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((setting, found, expected)) => {
            Err(OpenError::Durability { path: place.to_owned(), setting, found, expected })
        }
    }
}
