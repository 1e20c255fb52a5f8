//! How many bytes an account may store, kept also while uploads run side by side.
//!
//! An upload reserves the length it announces before its first byte is read. While an account has uploads under way its
//! use is kept here; it is read from the database only when there are none, so that no upload is counted twice or not at
//! all. Bytes under way count each time they are sent, since each copy takes room until it is known to be the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tallymill_protocol::AccountId;
use tallymill_storage::{Blobs, ReadError};

/// What an account with uploads under way stores and may come to store.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    stored: u64,
    under_way: u64,
    uploads: usize,
}

type Table = Arc<Mutex<HashMap<AccountId, Use>>>;

fn lock(table: &Table) -> MutexGuard<'_, HashMap<AccountId, Use>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The accounts with uploads under way.
#[derive(Debug, Default)]
pub struct Quota {
    table: Table,
    admission: tokio::sync::Mutex<()>,
}

impl Quota {
    /// Reserves `bytes` for `account`; `None` when it would store more than `limit`.
    ///
    /// # Errors
    /// When the database cannot tell what the account stores.
    pub async fn reserve(
        &self,
        store: &(impl Blobs + ?Sized),
        account: AccountId,
        bytes: u64,
        limit: u64,
    ) -> Result<Option<Reservation>, ReadError> {
        // One at a time, or two that both read the database would know nothing of each other.
        let _one = self.admission.lock().await;
        let fits = match self.add(account, bytes, limit) {
            Some(fits) => fits,
            None => {
                let stored = store.blob_bytes(account).await?;
                // Only this call, which has the turn, makes entries.
                lock(&self.table).insert(account, Use { stored, uploads: 1, under_way: bytes });
                stored.saturating_add(bytes) <= limit
            }
        };
        let table = Arc::clone(&self.table);
        let reservation = Reservation { table, account, bytes, kept: false };
        // Dropping it takes everything back.
        Ok(Some(reservation).filter(|_| fits))
    }

    /// Adds an upload to those under way and says whether it fits; `None` when there are none, as the last one may end at
    /// any moment and take the entry with it.
    fn add(&self, account: AccountId, bytes: u64, limit: u64) -> Option<bool> {
        let mut table = lock(&self.table);
        let entry = table.get_mut(&account)?;
        entry.uploads += 1;
        entry.under_way = entry.under_way.saturating_add(bytes);
        Some(entry.stored.saturating_add(entry.under_way) <= limit)
    }
}

/// Bytes reserved until it is dropped.
#[derive(Debug)]
pub struct Reservation {
    table: Table,
    account: AccountId,
    bytes: u64,
    kept: bool,
}

impl Reservation {
    /// The bytes are stored now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        let Some(entry) = table.get_mut(&self.account) else { return };
        entry.under_way = entry.under_way.saturating_sub(self.bytes);
        entry.uploads -= 1;
        if self.kept {
            entry.stored = entry.stored.saturating_add(self.bytes);
        }
        if entry.uploads == 0 {
            table.remove(&self.account);
        }
    }
}
