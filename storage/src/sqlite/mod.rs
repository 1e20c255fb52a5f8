//! SQLite: one file, one writer connection, a pool of readers.
//!
//! WAL with synchronous=FULL, always: with NORMAL a power cut loses commits that were answered for. A connection whose
//! transaction failed is closed, which rolls back whatever is left of it, and the next commit opens another one.

mod bulk;
mod load;
mod migrate;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tallymill_engine::rows::{Batch, Identity, Snapshot};
use tokio::sync::Mutex;

use crate::{Answer, CommitError, Commits, Durability, LoadError, OpenError};

/// The text of the query in `sql/NAME.sql`.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $name, ".sql"))
    };
}
use sql;

/// Connections that read at the same time.
const READERS: u32 = 4;

/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);

/// Prepared statements kept per connection: each bulk statement in eight sizes.
const STATEMENTS: usize = 512;

/// SQLite's code for "no space left".
const SQLITE_FULL: i32 = 13;

/// SQLite's primary code for a broken constraint.
const SQLITE_CONSTRAINT: i32 = 19;

/// Whose the shards are while this handle is good.
#[derive(Debug, Clone, Copy)]
struct Hold {
    owner: tallymill_protocol::CoordinatorId,
    epoch: u64,
}

/// How to write.
struct Writer {
    options: SqliteConnectOptions,
    /// Most pages of the file, when limited.
    pages: Option<u64>,
    /// `None` before the first use and after a failure.
    connection: Option<SqliteConnection>,
}

impl Writer {
    /// The open connection, or a new one. Taken out, so that a caller who stops waiting leaves no half-done transaction.
    async fn take(&mut self) -> Result<SqliteConnection, sqlx::Error> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let options = match self.pages {
            Some(pages) => self.options.clone().pragma("max_page_count", pages.to_string()),
            None => self.options.clone(),
        };
        options.connect().await
    }
}

/// A store in one SQLite file.
pub struct SqliteStore {
    hold: Hold,
    writer: Mutex<Writer>,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens or creates the database, brings its schema up to date and takes its shards in a new epoch.
    ///
    /// A handle that was opened earlier on the same file can read, but not commit any more.
    ///
    /// # Errors
    /// When the file cannot be used, is another coordinator's or network's, was written by a newer program, or lies where
    /// commits would not be durable.
    pub async fn open(path: &Path, identity: &Identity) -> Result<Self, OpenError> {
        let options = options(path);
        let mut connection = options.connect().await.map_err(|source| refused(path, source))?;
        migrate::durable(&mut connection, path).await?;
        migrate::run(&mut connection, migrate::MIGRATIONS).await?;
        let hold = migrate::take(&mut connection, identity).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.clone().pragma("query_only", "ON"))
            .await
            .map_err(|source| refused(path, source))?;
        tracing::info!(path = %path.display(), epoch = hold.epoch, "database opened");
        let writer = Writer { options, pages: None, connection: Some(connection) };
        Ok(Self { hold, writer: Mutex::new(writer), readers })
    }

    /// The epoch in which this handle commits.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.hold.epoch
    }

    /// Limits the database file to `pages` pages of 4 KiB (`None`: no limit); commits beyond it fail with
    /// [`CommitError::Full`]. A file that is larger already stays as it is.
    pub async fn limit_pages(&self, pages: Option<u64>) {
        let mut writer = self.writer.lock().await;
        writer.pages = pages;
        writer.connection = None;
    }

    /// Closes all connections; what was committed is in the file. Dropping does the same in the background.
    pub async fn close(&self) {
        self.readers.close().await;
        if let Some(connection) = self.writer.lock().await.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the database failed; its commits are durable");
        }
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

fn refused(path: &Path, source: sqlx::Error) -> OpenError {
    OpenError::Database { path: path.display().to_string(), source }
}

/// The commit error that an error of the database stands for.
fn failed(error: sqlx::Error) -> CommitError {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    match code {
        Some(SQLITE_FULL) => CommitError::Full,
        Some(code) if code & 0xff == SQLITE_CONSTRAINT => conflict(&error),
        _ => CommitError::Unavailable(error),
    }
}

/// SQLite names the place as "… constraint failed: table.column, …".
fn conflict(error: &sqlx::Error) -> CommitError {
    let message = error.as_database_error().map_or(String::new(), |e| e.message().to_owned());
    let place = message.split_once("failed: ").map_or("", |(_, place)| place);
    let table = place.split(['.', ' ']).next().unwrap_or_default().to_owned();
    CommitError::Conflict { table, detail: message }
}

impl Commits for SqliteStore {
    fn durability(&self) -> Durability {
        // Opening read the setting back from the database and refused anything else.
        Durability { database: "sqlite", synchronous: "full" }
    }

    fn commit<'a>(&'a self, batch: &'a Batch) -> Answer<'a, (), CommitError> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut connection = writer.take().await.map_err(failed)?;
            write::commit(&mut connection, self.hold, batch).await?;
            writer.connection = Some(connection);
            Ok(())
        })
    }

    fn load(&self) -> Answer<'_, Snapshot, LoadError> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut connection = writer.take().await?;
            let snapshot = load::load(&mut connection, self.hold).await?;
            writer.connection = Some(connection);
            Ok(snapshot)
        })
    }

    fn probe(&self) -> Answer<'_, (), CommitError> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut connection = writer.take().await.map_err(failed)?;
            write::probe(&mut connection, self.hold).await?;
            writer.connection = Some(connection);
            Ok(())
        })
    }
}
