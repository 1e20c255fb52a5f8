//! Reading through the pool, with an end to waiting.

use std::time::Duration;

use sqlx::Pool;
use sqlx::pool::PoolConnection;

use super::Backend;
use super::backend::late;
use crate::{Answer, ReadError};

/// A connection of the pool while it answers. Dropped before it is given back it is closed, since an answer may still be
/// on its way in it: the pool would wait for that, for ever where the server is gone, and be one connection short.
struct Lent<B: Backend>(Option<PoolConnection<B>>);

impl<B: Backend> Lent<B> {
    /// Gives it back to the pool.
    fn back(mut self) {
        drop(self.0.take());
    }
}

impl<B: Backend> Drop for Lent<B> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// What `work` reads on a connection of the pool, if that takes no longer than `patience`.
pub(super) async fn read<B: Backend, T>(
    pool: &Pool<B>,
    patience: Duration,
    work: impl for<'c> FnOnce(&'c mut B::Connection) -> Answer<'c, T>,
) -> Result<T, ReadError> {
    let mut connection = Lent(Some(pool.acquire().await?));
    let Some(lent) = &mut connection.0 else { return Err(late().into()) };
    let answer = tokio::time::timeout(patience, work(lent)).await;
    let answer = answer.map_err(|_| ReadError::from(late()))?;
    connection.back();
    answer
}
