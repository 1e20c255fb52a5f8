//! A database file that nobody owns through this handle: copied while others use it, or examined before anybody does.

use std::path::Path;

use sqlx::sqlite::Sqlite;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tallymill_engine::rows::ReportRow;
use tallymill_ledger::GrantPolicy;
use tallymill_protocol::{CoordinatorId, Digest, merkle};

use super::options;
use crate::sql::value::cells;
use crate::sql::{Backend as _, MIGRATIONS, audit, full, migrate, plain, sql};
use crate::{CorruptRow, LedgerAudit, MAX_PAGE, OpenError, ReadError};

/// What tells one database from another, and one state of it from the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Name of the network.
    pub network: String,
    /// Whose database it is.
    pub coordinator: CoordinatorId,
    /// Its schema.
    pub schema: u64,
    /// Epoch of the last owner.
    pub epoch: u64,
    /// Position of the last commit.
    pub sequence: u64,
    /// Entries of the log.
    pub entries: u64,
    /// Merkle root over the log's entries, in their order.
    pub root: Digest,
}

/// An SQLite database without its store: nothing is taken over.
#[derive(Debug)]
pub struct DatabaseFile {
    connection: SqliteConnection,
}

impl DatabaseFile {
    /// Opens a database that is there.
    ///
    /// # Errors
    /// When the file is not there or no database.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let opened = options(path).create_if_missing(false).connect().await;
        let place = path.display().to_string();
        let connection = opened.map_err(|source| OpenError::Database { path: place, source })?;
        Ok(Self { connection })
    }

    /// Brings the schema up to date, as opening a store does.
    ///
    /// # Errors
    /// When a newer program wrote the database, or the file cannot be written.
    pub async fn upgrade(&mut self) -> Result<(), OpenError> {
        migrate::<Sqlite>(&mut self.connection, MIGRATIONS).await
    }

    /// Copies the database, as it is after one commit, into a new file. Others may read and write meanwhile. The copy is not
    /// synced.
    ///
    /// # Errors
    /// When the copy cannot be written.
    pub async fn copy(&mut self, into: &Path) -> Result<(), ReadError> {
        let into = into.display().to_string();
        Sqlite::execute(&mut self.connection, sql!("backup/copy.sqlite"), cells![into]).await?;
        Ok(())
    }

    /// What the file says of itself.
    ///
    /// # Errors
    /// When a fact is missing or makes no sense.
    pub async fn facts(&mut self) -> Result<Facts, ReadError> {
        let network = self.fact("network").await?;
        let coordinator = self.fact("coordinator").await?;
        let sequence = self.fact("sequence").await?;
        let log: Vec<(Vec<u8>,)> = self.plain(sql!("log_entry/all")).await?;
        let digest = |(bytes,): &(Vec<u8>,)| Digest::from_slice(bytes);
        let log: Option<Vec<Digest>> = log.iter().map(digest).collect();
        let log = log.ok_or_else(|| corrupt("log_entry", "digest", "any"))?;
        Ok(Facts {
            network: String::from_utf8(network).map_err(|_| corrupt("meta", "value", "network"))?,
            coordinator: CoordinatorId::from_slice(&coordinator)
                .ok_or_else(|| corrupt("meta", "value", "coordinator"))?,
            schema: self.number(sql!("schema_version/get")).await?,
            epoch: self.number(sql!("shard/last_epoch")).await?,
            sequence: sequence
                .try_into()
                .map(u64::from_be_bytes)
                .map_err(|_| corrupt("meta", "value", "sequence"))?,
            entries: log.len() as u64,
            root: merkle::root(&log),
        })
    }

    /// A fact by its name; none at all is no bytes.
    async fn fact(&mut self, name: &str) -> Result<Vec<u8>, ReadError> {
        let rows = Sqlite::rows(&mut self.connection, sql!("meta/get"), cells![name]).await?;
        let value = rows.first().map(Sqlite::record::<(Vec<u8>,)>).transpose()?;
        Ok(value.map(|(value,)| value).unwrap_or_default())
    }

    async fn plain<R: crate::records::Record>(
        &mut self,
        sql: &'static str,
    ) -> Result<Vec<R>, ReadError> {
        plain::<Sqlite, R>(&mut self.connection, sql, cells![]).await
    }

    async fn number(&mut self, sql: &'static str) -> Result<u64, ReadError> {
        let found: Vec<(i64,)> = self.plain(sql).await?;
        Ok(found.first().map_or(0, |(number,)| number.unsigned_abs()))
    }

    /// Blobs that the database says are held, with their lengths.
    ///
    /// # Errors
    /// When a row makes no sense.
    pub async fn blobs(&mut self) -> Result<Vec<(Digest, u64)>, ReadError> {
        let rows: Vec<(Vec<u8>, i64)> = self.plain(sql!("blob/all")).await?;
        let blob = |(digest, length): (Vec<u8>, i64)| {
            Some((Digest::from_slice(&digest)?, u64::try_from(length).ok()?))
        };
        let blobs: Option<Vec<_>> = rows.into_iter().map(blob).collect();
        Ok(blobs.ok_or_else(|| corrupt("blob", "digest", "any"))?)
    }

    /// What SQLite itself finds wrong with the file, if anything.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn damage(&mut self) -> Result<Option<String>, ReadError> {
        let found: Vec<(String,)> = self.plain(sql!("backup/check.sqlite")).await?;
        Ok(found.into_iter().map(|(text,)| text).find(|text| text != "ok"))
    }

    /// Rows that name others which are not there, if any.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn strays(&mut self) -> Result<Option<String>, ReadError> {
        for (sql, what) in [
            (sql!("backup/lone_results"), "results lack what they stand on"),
            (sql!("backup/shared_receipts"), "receipts stand for several results"),
            (sql!("backup/lone_entries"), "entries of the log lack their reports"),
            (sql!("backup/lone_reports"), "reports are not in the log"),
        ] {
            let count = self.number(sql).await?;
            if count > 0 {
                return Ok(Some(format!("{count} {what}")));
            }
        }
        Ok(None)
    }

    /// Examines every rule of the ledger.
    ///
    /// # Errors
    /// When rows cannot be read.
    pub async fn audit(&mut self, policy: GrantPolicy) -> Result<LedgerAudit, ReadError> {
        audit::<Sqlite>(&mut self.connection, policy).await
    }

    /// Reports after a place of the log, with their lease tokens and leaves.
    ///
    /// # Errors
    /// When a report makes no sense.
    pub async fn reports(&mut self, after: u64) -> Result<Vec<ReportRow>, ReadError> {
        let page = cells![after, MAX_PAGE];
        let sql = sql!("report/list");
        let rows = plain::<Sqlite, (Vec<u8>, i64)>(&mut self.connection, sql, page).await?;
        let mut reports = Vec::with_capacity(rows.len());
        for (root, number) in rows {
            let found =
                full::<Sqlite>(&mut self.connection, sql!("report/get"), cells![root]).await?;
            reports.push(found.ok_or_else(|| corrupt("report", "root", &number.to_string()))?);
        }
        Ok(reports)
    }

    /// Reports of which only the place in the log is left.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn collected(&mut self) -> Result<u64, ReadError> {
        self.number(sql!("backup/collected")).await
    }

    /// Moves the epoch ahead, so that what comes now is told from what an owner wrote or signed after this state.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn leap(&mut self, epochs: u32) -> Result<(), ReadError> {
        Sqlite::execute(&mut self.connection, sql!("shard/leap"), cells![epochs]).await?;
        Ok(())
    }

    /// Closes the file: what was written is in it, and no log stands beside it.
    ///
    /// # Errors
    /// When the system does not close it.
    pub async fn close(self) -> Result<(), ReadError> {
        Ok(self.connection.close().await?)
    }
}

fn corrupt(table: &'static str, column: &str, key: &str) -> CorruptRow {
    CorruptRow { table, column: column.to_owned(), key: key.to_owned() }
}
