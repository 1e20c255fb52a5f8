//! How many bytes an account may store, kept also while uploads run side by side.
//!
//! An upload reserves the length it announces before its first byte is read. While an account has uploads under way its
//! use is kept here; it is read from the database when there are none, so that no upload is counted twice or not at all, and
//! again before one is refused, since blobs may have been collected meanwhile. Bytes under way count each time they are sent,
//! since each copy takes room until it is known to be the same.

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
    /// Bytes that uploads under way have added to `stored` since there were any.
    kept: u64,
}

impl Use {
    const fn fits(&self, limit: u64) -> bool {
        self.stored.saturating_add(self.under_way) <= limit
    }
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
                let entry = Use { stored, uploads: 1, under_way: bytes, kept: 0 };
                lock(&self.table).insert(account, entry);
                entry.fits(limit)
            }
        };
        let table = Arc::clone(&self.table);
        let reservation = Reservation { table, account, bytes, kept: false };
        let fits = fits || self.renew(store, account, limit).await?;
        // Dropping it takes everything back.
        Ok(Some(reservation).filter(|_| fits))
    }

    /// Reads again what an account stores, and says whether its uploads fit: bytes may have been collected meanwhile, or count
    /// for others. What is stored while it is read may count twice, and never not at all.
    async fn renew(
        &self,
        store: &(impl Blobs + ?Sized),
        account: AccountId,
        limit: u64,
    ) -> Result<bool, ReadError> {
        let kept = lock(&self.table).get(&account).map_or(0, |entry| entry.kept);
        let stored = store.blob_bytes(account).await?;
        let mut table = lock(&self.table);
        let Some(entry) = table.get_mut(&account) else { return Ok(false) };
        entry.stored = stored.saturating_add(entry.kept.saturating_sub(kept));
        Ok(entry.fits(limit))
    }

    /// Adds an upload to those under way and says whether it fits; `None` when there are none, as the last one may end at
    /// any moment and take the entry with it.
    fn add(&self, account: AccountId, bytes: u64, limit: u64) -> Option<bool> {
        let mut table = lock(&self.table);
        let entry = table.get_mut(&account)?;
        entry.uploads += 1;
        entry.under_way = entry.under_way.saturating_add(bytes);
        Some(entry.fits(limit))
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
            entry.kept = entry.kept.saturating_add(self.bytes);
        }
        if entry.uploads == 0 {
            table.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use tallymill_protocol::{CoordinatorId, Digest, Micros, Network};
    use tallymill_storage::rows::{Batch, BlobRow, Identity};
    use tallymill_storage::{Answer, Collection as _, Commits as _, MemoryStore, Order, Page};

    use super::*;

    #[tokio::test]
    async fn what_is_collected_makes_room_also_while_uploads_are_under_way() {
        let network = Network::new("test").unwrap();
        let store = MemoryStore::new(&Identity { network, coordinator: CoordinatorId([9; 32]) });
        let account = AccountId([1; 32]);
        let blob = |n, sequence| {
            let digest = Digest([n; 32]);
            let row = BlobRow { digest, length: 1_000, account, at: Micros(1) };
            Batch { sequence, now: Micros(1), blobs: vec![row], ..Batch::default() }
        };
        store.commit(&blob(1, 1)).await.unwrap();
        let quota = Quota::default();
        let reserve = |bytes| quota.reserve(&store, account, bytes, 2_000);
        let under_way = reserve(500).await.unwrap().unwrap();
        assert!(reserve(1_000).await.unwrap().is_none());
        let doom = Order::Doom { digests: vec![Digest([1; 32])], before: Micros(1) };
        store.collect(&doom, 1).await.unwrap();
        let fits = reserve(1_000).await.unwrap().unwrap();
        store.commit(&blob(2, 2)).await.unwrap();
        fits.keep();
        assert!(reserve(501).await.unwrap().is_none(), "what came meanwhile counts");
        assert!(reserve(500).await.unwrap().is_some());
        drop(under_way);
    }

    /// A database that is read while an upload ends: it does not know of those bytes yet.
    struct Meanwhile(Mutex<Option<Reservation>>);

    impl Blobs for Meanwhile {
        fn blob(&self, _: Digest) -> Answer<'_, Option<BlobRow>> {
            Box::pin(async { Ok(None) })
        }

        fn blobs(&self, _: AccountId, _: Page<Digest>) -> Answer<'_, Vec<BlobRow>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn blob_bytes(&self, _: AccountId) -> Answer<'_, u64> {
            let ends = self.0.lock().unwrap().take();
            ends.into_iter().for_each(Reservation::keep);
            Box::pin(async { Ok(1_000) })
        }
    }

    #[tokio::test]
    async fn an_upload_that_ends_while_use_is_read_again_counts() {
        let (store, quota) = (Meanwhile(Mutex::default()), Quota::default());
        let reserve = |bytes| quota.reserve(&store, AccountId([1; 32]), bytes, 1_600);
        let ends = reserve(500).await.unwrap();
        let _under_way = reserve(10).await.unwrap().unwrap();
        *store.0.lock().unwrap() = ends;
        assert!(reserve(300).await.unwrap().is_none(), "1,000, 500, 10 and 300");
    }
}
