//! Blobs that somebody relies on now, and those that are being taken away: never the same ones.
//!
//! A blob is looked at before what needs it is committed, and between the two it must not go. So whoever looks claims it until
//! its commit is done; what is claimed is not taken away, and what is being taken away is claimed only afterwards, when it is
//! gone and is uploaded anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tallymill_protocol::Digest;
use tokio::sync::watch;

/// Longest wait for bytes to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A blob is being taken away and that takes long; asking again is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the blob {0} is being removed: send it again in a moment")]
pub struct Removed(pub Digest);

/// Who has hold of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hand {
    /// So many rely on it.
    Claimed(usize),
    /// It is being taken away.
    Seized,
}

#[derive(Debug)]
struct Inner {
    hands: Mutex<HashMap<Digest, Hand>>,
    /// Rings when something that was seized is free.
    bell: watch::Sender<()>,
    patience: Duration,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Hand>> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a blob unless it is being taken away.
    fn try_claim(&self, digest: Digest) -> bool {
        match self.lock().entry(digest).or_insert(Hand::Claimed(0)) {
            Hand::Seized => false,
            Hand::Claimed(count) => {
                *count += 1;
                true
            }
        }
    }
}

/// Claims of this process.
#[derive(Debug, Clone)]
pub struct Claims(Arc<Inner>);

impl Default for Claims {
    fn default() -> Self {
        Self::with_patience(PATIENCE)
    }
}

impl Claims {
    fn with_patience(patience: Duration) -> Self {
        let bell = watch::Sender::new(());
        Self(Arc::new(Inner { hands: Mutex::default(), bell, patience }))
    }

    /// Relies on a blob until the answer is dropped; waits while it is being taken away.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn claim(&self, digest: Digest) -> Result<Claimed, Removed> {
        let mut bell = self.0.bell.subscribe();
        let free = async {
            while !self.0.try_claim(digest) {
                // The sender lives as long as these claims.
                drop(bell.changed().await);
            }
        };
        let claimed = tokio::time::timeout(self.0.patience, free).await;
        claimed.map_err(|_| Removed(digest))?;
        Ok(Claimed { claims: self.clone(), digest })
    }

    /// Relies on several.
    ///
    /// # Errors
    /// As [`Claims::claim`].
    pub async fn claim_all(&self, digests: Vec<Digest>) -> Result<Vec<Claimed>, Removed> {
        let mut claimed = Vec::new();
        for digest in digests {
            claimed.push(self.claim(digest).await?);
        }
        Ok(claimed)
    }

    /// Takes a blob away from everybody, unless somebody relies on it.
    #[must_use]
    pub fn seize(&self, digest: Digest) -> Option<Seized> {
        let mut hands = self.0.lock();
        if hands.contains_key(&digest) {
            return None;
        }
        hands.insert(digest, Hand::Seized);
        Some(Seized { claims: self.clone(), digest })
    }
}

/// A blob that stays while this lives.
#[derive(Debug)]
pub struct Claimed {
    claims: Claims,
    digest: Digest,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut hands = self.claims.0.lock();
        if let Some(Hand::Claimed(count)) = hands.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                hands.remove(&self.digest);
            }
        }
    }
}

/// A blob on which nobody relies while this lives.
#[derive(Debug)]
pub struct Seized {
    claims: Claims,
    /// Which.
    pub digest: Digest,
}

impl Drop for Seized {
    fn drop(&mut self) {
        self.claims.0.lock().remove(&self.digest);
        self.claims.0.bell.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: Digest = Digest([1; 32]);

    #[tokio::test]
    async fn what_is_claimed_is_not_seized_until_the_last_claim_ends() {
        let claims = Claims::default();
        let (first, second) =
            (claims.claim(BLOB).await.unwrap(), claims.claim(BLOB).await.unwrap());
        assert!(claims.seize(Digest([2; 32])).is_some(), "others are");
        drop(first);
        assert!(claims.seize(BLOB).is_none());
        drop(second);
        assert!(claims.seize(BLOB).is_some());
    }

    #[tokio::test]
    async fn what_is_seized_is_claimed_when_it_is_free() {
        let claims = Claims::default();
        let seized = claims.seize(BLOB).unwrap();
        assert!(claims.seize(BLOB).is_none(), "once");
        let mut waits = Box::pin(claims.claim_all(vec![Digest([3; 32]), BLOB]));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(seized);
        assert_eq!(waits.await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told() {
        let claims = Claims::with_patience(Duration::ZERO);
        let _seized = claims.seize(BLOB).unwrap();
        assert_eq!(claims.claim(BLOB).await.unwrap_err(), Removed(BLOB));
    }
}
