//! The seat: which of several coordinators on one database serves.
//!
//! Nothing here reads a clock of another machine: whoever stands by sees a count that grows or does not.

use std::sync::Arc;
use std::time::Duration;

use tallymill_engine::rows::Identity;
use tokio::sync::Mutex;

use super::backend::{connect, late};
use super::migrate::{self, Claim};
use super::value::cells;
use super::{Backend, Opened, Pending, SqlStore, sql};
use crate::{Answer, OpenError, ReadError, Seat, Sitter, Taken};

/// Longest wait for an answer about the seat, or for the seat itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// The seat of a database on a server.
pub(crate) struct SqlSeat<B: Backend> {
    identity: Identity,
    /// How a store on it is opened.
    opened: Box<dyn Fn() -> Opened<B> + Send + Sync>,
    /// `None` before the first use and after a failure.
    connection: Mutex<Option<B::Connection>>,
}

impl<B: Backend> SqlSeat<B> {
    /// Brings the schema up to date and checks whose the database is.
    pub(crate) async fn open(
        identity: &Identity,
        opened: impl Fn() -> Opened<B> + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let Opened { place, writer, patience, .. } = opened();
        let refused = |source| OpenError::Database { path: place.clone(), source };
        let mut connection = connect::<B>(&writer, patience).await.map_err(refused)?;
        B::durable(&mut connection, &place).await?;
        migrate::run::<B>(&mut connection, migrate::MIGRATIONS).await?;
        migrate::check::<B>(&mut connection, identity).await?;
        let (identity, opened) = (identity.clone(), Box::new(opened));
        Ok(Self { identity, opened, connection: Mutex::new(Some(connection)) })
    }

    /// The open connection, or a new one. Taken out: after a failure, and where an answer takes too long, the next one is new.
    async fn connection(
        &self,
        held: &mut Option<B::Connection>,
    ) -> Result<B::Connection, sqlx::Error> {
        match held.take() {
            Some(connection) => Ok(connection),
            None => connect::<B>(&(self.opened)().writer, PATIENCE).await,
        }
    }

    async fn seen(&self) -> Result<Option<Sitter>, sqlx::Error> {
        let mut held = self.connection.lock().await;
        let mut connection = self.connection(&mut held).await?;
        let rows = soon(B::rows(&mut connection, sql!("seat/get"), cells![])).await?;
        *held = Some(connection);
        let sitter = |row| {
            let (address, epoch, beat) = B::record::<(String, i64, i64)>(row)?;
            Ok(Sitter { address, epoch: epoch.cast_unsigned(), beat: beat.cast_unsigned() })
        };
        rows.first().map(sitter).transpose()
    }

    /// Changes the seat of this epoch; says whether there is one.
    async fn change(&self, sql: &'static str, epoch: u64) -> Result<bool, sqlx::Error> {
        let mut held = self.connection.lock().await;
        let mut connection = self.connection(&mut held).await?;
        let changed = soon(B::execute(&mut connection, sql, cells![epoch])).await?;
        *held = Some(connection);
        Ok(changed == 1)
    }

    async fn sit(
        &self,
        seen: Option<&Sitter>,
        address: &str,
    ) -> Result<Option<SqlStore<B>>, OpenError> {
        let opened = (self.opened)();
        let refused = |source| OpenError::Database { path: opened.place.clone(), source };
        let mut connection = connect::<B>(&opened.writer, PATIENCE).await.map_err(refused)?;
        let claim = Claim::Seen { seen, address };
        let taken = migrate::take::<B>(&mut connection, &self.identity, claim);
        let taken = tokio::time::timeout(PATIENCE, taken).await;
        let hold = taken.unwrap_or_else(|_| Err(refused(late())))?;
        Ok(hold.map(|hold| SqlStore::held(opened, connection, hold)))
    }
}

/// What comes within [`PATIENCE`].
async fn soon<T>(answer: Pending<'_, T>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(late()))
}

impl<B: Backend> Seat for SqlSeat<B> {
    fn sitter(&self) -> Answer<'_, Option<Sitter>, ReadError> {
        Box::pin(async move { Ok(self.seen().await?) })
    }

    fn take<'a>(
        &'a self,
        seen: Option<&'a Sitter>,
        address: &'a str,
    ) -> Answer<'a, Option<Taken>, OpenError> {
        Box::pin(async move {
            let store = self.sit(seen, address).await?;
            Ok(store.map(|store| Taken { epoch: store.epoch(), store: Arc::new(store) }))
        })
    }

    fn beat(&self, epoch: u64) -> Answer<'_, bool, ReadError> {
        Box::pin(async move { Ok(self.change(sql!("seat/beat"), epoch).await?) })
    }

    fn leave(&self, epoch: u64) -> Answer<'_, (), ReadError> {
        Box::pin(async move {
            self.change(sql!("seat/leave"), epoch).await?;
            Ok(())
        })
    }
}
