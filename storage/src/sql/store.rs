//! The store: one connection that writes, a pool of readers.
//!
//! A connection whose transaction failed is closed, which rolls back whatever is left of it, and the next commit opens
//! another one.

use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{Connection as _, Pool};
use tallymill_engine::rows::{Batch, Identity, Snapshot};
use tokio::sync::Mutex;

use super::backend::{LONGER, connect, failed, late};
use super::migrate::Claim;
use super::{Backend, Hold, Opened, Options, Pending, Told, collect, load, migrate, write};
use crate::{
    Answer, CollectError, CommitError, Commits, Done, Durability, LoadError, OpenError, Order,
};

/// Connections that read at the same time.
const READERS: u32 = 4;

/// How often a batch is tried again that was undone for the sake of another transaction.
const AGAIN: u32 = 3;

/// How to write.
pub(crate) struct Writer<B: Backend> {
    /// How to connect.
    pub(crate) options: Options<B>,
    /// How long to wait for a connection.
    pub(crate) patience: Duration,
    /// `None` before the first use and after a failure.
    pub(crate) connection: Option<B::Connection>,
}

impl<B: Backend> Writer<B> {
    /// The open connection, or a new one. Taken out, so that a caller who stops waiting leaves no half-done transaction.
    async fn take(&mut self) -> Result<B::Connection, sqlx::Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => connect::<B>(&self.options, self.patience).await,
        }
    }
}

/// A store in an SQL database.
pub struct SqlStore<B: Backend> {
    hold: Hold,
    pub(crate) writer: Mutex<Writer<B>>,
    pub(super) readers: Pool<B>,
    pub(super) patience: Duration,
}

impl<B: Backend> SqlStore<B> {
    /// Brings the schema up to date and takes the shards in a new epoch.
    pub(crate) fn take(opened: Opened<B>, identity: &Identity) -> Pending<'_, Self, OpenError> {
        Box::pin(async move {
            let place = opened.place.clone();
            let refused = |source| OpenError::Database { path: place.clone(), source };
            let mut connection =
                connect::<B>(&opened.writer, opened.patience).await.map_err(refused)?;
            B::durable(&mut connection, &place).await?;
            migrate::run::<B>(&mut connection, migrate::MIGRATIONS).await?;
            let hold = migrate::take::<B>(&mut connection, identity, Claim::Own).await?;
            // Nobody is asked whether the seat is free.
            let hold = hold.ok_or_else(|| refused(sqlx::Error::RowNotFound))?;
            Ok(Self::held(opened, connection, hold))
        })
    }

    /// The store of whoever holds the shards, which writes by this connection.
    pub(super) fn held(opened: Opened<B>, connection: B::Connection, hold: Hold) -> Self {
        let Opened { place, writer: options, readers, turn, patience } = opened;
        let pool = PoolOptions::new().max_connections(READERS).acquire_timeout(turn);
        // As they are needed: the writer has shown that the place can be reached.
        let readers = pool.connect_lazy_with(readers);
        tracing::info!(place, epoch = hold.epoch, "database opened");
        let writer = Mutex::new(Writer { options, patience, connection: Some(connection) });
        Self { hold, writer, readers, patience }
    }

    /// The epoch in which this handle commits.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.hold.epoch
    }

    /// Closes all connections; what was committed stays. Dropping does the same in the background.
    pub async fn close(&self) {
        self.readers.close().await;
        if let Some(connection) = self.writer.lock().await.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the database failed; its commits are durable");
        }
    }

    /// Waits so long for whatever comes.
    #[cfg(test)]
    pub(crate) async fn be_patient_for(&mut self, patience: Duration) {
        self.patience = patience;
        self.writer.lock().await.patience = patience;
    }

    /// One step of collecting, when the commits before it are done.
    pub(super) async fn step(&self, order: &Order, portion: u32) -> Result<Done, CollectError> {
        let mut writer = self.writer.lock().await;
        let mut connection = writer.take().await.map_err(failed::<B>)?;
        let work = collect::run::<B>(&mut connection, self.hold, order, portion);
        let done = tokio::time::timeout(self.patience, work).await;
        let done = done.unwrap_or_else(|_| Err(CommitError::Unavailable(late()).into()))?;
        writer.connection = Some(connection);
        Ok(done)
    }

    async fn attempt(&self, writer: &mut Writer<B>, batch: &Batch) -> Result<(), CommitError> {
        let mut connection = writer.take().await.map_err(failed::<B>)?;
        bounded(self.patience, write::commit::<B>(&mut connection, self.hold, batch)).await?;
        writer.connection = Some(connection);
        Ok(())
    }
}

/// A commit that takes longer is given up, and whether it happened is unknown.
async fn bounded(
    patience: Duration,
    work: impl Future<Output = Result<(), CommitError>>,
) -> Result<(), CommitError> {
    let done = tokio::time::timeout(patience, work).await;
    done.unwrap_or_else(|_| Err(CommitError::Unavailable(late())))
}

/// Whether nothing of the batch is stored for certain, and the same may go well now.
fn undone<B: Backend>(result: &Result<(), CommitError>) -> bool {
    matches!(result, Err(CommitError::Unavailable(error)) if B::told(error) == Told::Undone)
}

impl<B: Backend> Commits for SqlStore<B> {
    fn durability(&self) -> Durability {
        // Opening read the settings back from the database and refused anything else.
        Durability { database: B::KIND, synchronous: "full" }
    }

    fn commit<'a>(&'a self, batch: &'a Batch) -> Answer<'a, (), CommitError> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut result = self.attempt(&mut writer, batch).await;
            for _ in 0..AGAIN {
                if !undone::<B>(&result) {
                    break;
                }
                result = self.attempt(&mut writer, batch).await;
            }
            result
        })
    }

    fn load(&self) -> Answer<'_, Snapshot, LoadError> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut connection = writer.take().await?;
            let work = load::load::<B>(&mut connection, self.hold);
            let loaded = tokio::time::timeout(self.patience.saturating_mul(LONGER), work).await;
            let snapshot = loaded.unwrap_or_else(|_| Err(late().into()))?;
            writer.connection = Some(connection);
            Ok(snapshot)
        })
    }

    fn probe(&self) -> Answer<'_, (), CommitError> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut connection = writer.take().await.map_err(failed::<B>)?;
            bounded(self.patience, write::probe::<B>(&mut connection, self.hold)).await?;
            writer.connection = Some(connection);
            Ok(())
        })
    }
}
