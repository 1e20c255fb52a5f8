//! A store in memory, with the behaviour of a database: for tests, the simulator and trying things out.

mod audit;
mod collect;
mod read;
mod tables;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tallymill_engine::rows::{Batch, Identity, Snapshot};
use tallymill_protocol::CoordinatorId;

use crate::{Answer, CommitError, Commits, Durability, LoadError, OpenError};
use tables::Tables;

/// A store whose rows live as long as its last handle.
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
    owner: CoordinatorId,
    epoch: u64,
}

impl MemoryStore {
    /// An empty store in its first epoch.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        let (mut tables, owner) = (Tables::new(identity.clone()), identity.coordinator);
        let epoch = tables.take(owner);
        Self { tables: Arc::new(Mutex::new(tables)), owner, epoch }
    }

    /// Another handle on the same rows, in a new epoch: what a restart is for a database. This handle cannot commit any more.
    ///
    /// # Errors
    /// When the store is another coordinator's or network's.
    pub fn reopen(&self, identity: &Identity) -> Result<Self, OpenError> {
        let mut tables = self.lock();
        tables.belongs(identity)?;
        let epoch = tables.take(identity.coordinator);
        Ok(Self { tables: Arc::clone(&self.tables), owner: identity.coordinator, epoch })
    }

    /// The epoch in which this handle commits.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The rows. Nothing panics between two changes of a commit, so even a poisoned lock guards whole batches.
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows, when the shards are still this handle's.
    fn held(&self) -> Result<MutexGuard<'_, Tables>, u64> {
        let tables = self.lock();
        if tables.is_held(self.owner, self.epoch) { Ok(tables) } else { Err(self.epoch) }
    }
}

impl Commits for MemoryStore {
    fn durability(&self) -> Durability {
        Durability { database: "memory", synchronous: "none" }
    }

    fn commit<'a>(&'a self, batch: &'a Batch) -> Answer<'a, (), CommitError> {
        Box::pin(async move {
            let mut tables = self.held().map_err(|epoch| CommitError::Fenced { epoch })?;
            tables.check(batch)?;
            tables.apply(batch);
            Ok(())
        })
    }

    fn load(&self) -> Answer<'_, Snapshot, LoadError> {
        Box::pin(async move {
            let tables = self.held().map_err(|epoch| LoadError::Fenced { epoch })?;
            Ok(tables.snapshot(self.epoch))
        })
    }

    fn probe(&self) -> Answer<'_, (), CommitError> {
        Box::pin(
            async move { self.held().map(drop).map_err(|epoch| CommitError::Fenced { epoch }) },
        )
    }
}
