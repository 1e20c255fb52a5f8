//! The blob cache: downloaded bytes by digest, within a quota; what was not used longest goes first.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tallymill_protocol::Digest;

use crate::files::{FileError, private_dir, read_if_there, remove};

/// Why a blob is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The cache's files.
    #[error(transparent)]
    File(#[from] FileError),
    /// Other bytes than asked for.
    #[error("blob {expected} came with the bytes of {found}")]
    Corrupt {
        /// What was asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// More bytes than may come.
    #[error("blob {digest} has more than {limit} bytes")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// The limit, bytes.
        limit: u64,
    },
    /// The stream broke off.
    #[error("blob {0} broke off: {1}")]
    Broken(Digest, String),
}

#[derive(Debug, Default)]
struct Index {
    held: HashMap<Digest, (u64, u64)>,
    bytes: u64,
    uses: u64,
}

/// Blobs on disk, at most `quota` bytes.
#[derive(Debug)]
pub struct BlobCache {
    dir: PathBuf,
    quota: u64,
    index: Mutex<Index>,
}

impl BlobCache {
    /// Opens or makes the cache in `dir`; what is over the quota goes at once.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(dir: &Path, quota: u64) -> Result<Self, BlobError> {
        private_dir(dir)?;
        let mut found: Vec<(SystemTime, Digest, u64)> = Vec::new();
        for file in fs::read_dir(dir).map_err(FileError::on("list", dir))? {
            let file = file.map_err(FileError::on("list", dir))?;
            let meta = file.metadata().map_err(FileError::on("look at", &file.path()))?;
            match file.file_name().to_str().and_then(|name| name.parse().ok()) {
                Some(digest) => {
                    found.push((
                        meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                        digest,
                        meta.len(),
                    ));
                }
                // What an interrupted download left.
                None => remove(&file.path())?,
            }
        }
        found.sort_unstable();
        let cache = Self { dir: dir.to_owned(), quota, index: Mutex::default() };
        found.into_iter().for_each(|(_, digest, size)| cache.index().insert(digest, size));
        cache.make_room(0)?;
        Ok(cache)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    /// Bytes held.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.index().bytes
    }

    /// Up to 256 blobs it holds, the last used first.
    #[must_use]
    pub fn recent(&self) -> Vec<Digest> {
        let index = self.index();
        let mut held: Vec<_> =
            index.held.iter().map(|(digest, (_, used))| (*used, *digest)).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        held.into_iter().take(256).map(|(_, digest)| digest).collect()
    }

    /// A blob from the disk, verified again; one that rotted is dropped and `None`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(&self, digest: &Digest) -> Result<Option<Bytes>, BlobError> {
        if !self.index().touch(digest) {
            return Ok(None);
        }
        let bytes = read_if_there(&self.path(digest))?;
        match bytes.filter(|bytes| Digest::of(bytes) == *digest) {
            Some(bytes) => Ok(Some(bytes.into())),
            None => {
                self.forget(digest)?;
                Ok(None)
            }
        }
    }

    fn forget(&self, digest: &Digest) -> Result<(), BlobError> {
        self.index().remove(digest);
        Ok(remove(&self.path(digest))?)
    }

    fn make_room(&self, more: u64) -> Result<(), BlobError> {
        loop {
            let oldest = self.index().over(self.quota, more);
            match oldest {
                Some(digest) => self.forget(&digest)?,
                None => return Ok(()),
            }
        }
    }

    /// Takes a stream of bytes, verified as they come, and keeps them where the quota allows.
    ///
    /// # Errors
    /// When they are not the blob's, are too many or break off. A disk that does not take them costs only the next download.
    pub async fn take<S, E>(
        &self,
        digest: Digest,
        limit: u64,
        stream: S,
    ) -> Result<Bytes, BlobError>
    where
        S: Stream<Item = Result<Bytes, E>>,
        E: std::fmt::Display,
    {
        let bytes = verified(digest, limit, stream).await?;
        if let Err(error) = self.keep(digest, &bytes) {
            tracing::warn!(blob = %digest.short(), "blob.not_kept: {error}");
        }
        Ok(bytes)
    }

    fn keep(&self, digest: Digest, bytes: &Bytes) -> Result<(), BlobError> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > self.quota {
            return Ok(());
        }
        self.make_room(size)?;
        // A cache need not survive a power cut, so it is not synced; every read verifies.
        let beside = self.dir.join(format!("{digest}.part"));
        fs::File::create(&beside)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&beside, self.path(&digest)))
            .inspect_err(|_| drop(fs::remove_file(&beside)))
            .map_err(FileError::on("write the blob", &beside))?;
        self.index().insert(digest, size);
        Ok(())
    }
}

async fn verified<S, E>(digest: Digest, limit: u64, stream: S) -> Result<Bytes, BlobError>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::fmt::Display,
{
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), Vec::new());
    let mut stream = std::pin::pin!(stream);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| BlobError::Broken(digest, error.to_string()))?;
        if u64::try_from(bytes.len() + chunk.len()).unwrap_or(u64::MAX) > limit {
            return Err(BlobError::TooLarge { digest, limit });
        }
        hasher.update(&chunk);
        bytes.extend_from_slice(&chunk);
    }
    let found = Digest(*hasher.finalize().as_bytes());
    if found == digest {
        Ok(bytes.into())
    } else {
        Err(BlobError::Corrupt { expected: digest, found })
    }
}

impl Index {
    fn insert(&mut self, digest: Digest, size: u64) {
        self.remove(&digest);
        self.uses += 1;
        self.bytes += size;
        self.held.insert(digest, (size, self.uses));
    }

    fn remove(&mut self, digest: &Digest) {
        if let Some((size, _)) = self.held.remove(digest) {
            self.bytes -= size;
        }
    }

    fn touch(&mut self, digest: &Digest) -> bool {
        self.uses += 1;
        let now = self.uses;
        self.held.get_mut(digest).map(|(_, used)| *used = now).is_some()
    }

    fn over(&self, quota: u64, more: u64) -> Option<Digest> {
        if self.bytes.saturating_add(more) <= quota {
            return None;
        }
        self.held.iter().min_by_key(|(_, (_, used))| *used).map(|(digest, _)| *digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn chunks(bytes: &[u8]) -> impl Stream<Item = Result<Bytes, String>> {
        stream::iter(bytes.chunks(3).map(|c| Ok(Bytes::copy_from_slice(c))).collect::<Vec<_>>())
    }

    async fn put(cache: &BlobCache, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        cache.take(digest, 100, chunks(bytes)).await.unwrap();
        digest
    }

    #[tokio::test]
    async fn corrupt_long_and_broken_blobs_are_refused_and_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 100).unwrap();
        let asked = Digest::of(b"right");
        let got = cache.take(asked, 100, chunks(b"wrong")).await;
        assert!(matches!(got, Err(BlobError::Corrupt { .. })));
        let got = cache.take(asked, 4, chunks(b"right")).await;
        assert!(matches!(got, Err(BlobError::TooLarge { limit: 4, .. })));
        let got = cache.take(asked, 9, stream::iter([Err::<Bytes, _>("gone")])).await;
        assert!(matches!(got, Err(BlobError::Broken(..))));
        assert_eq!((cache.size(), cache.get(&asked).unwrap()), (0, None));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn quota_drops_what_was_not_used_longest_even_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 10).unwrap();
        let (a, b) = (put(&cache, b"aaaa").await, put(&cache, b"bbbb").await);
        assert!(cache.get(&a).unwrap().is_some());
        let c = put(&cache, b"cccc").await;
        assert_eq!(cache.size(), 8);
        assert_eq!(cache.get(&b).unwrap(), None);
        assert_eq!(cache.recent(), [c, a]);
        drop(cache);
        assert_eq!(BlobCache::open(dir.path(), 4).unwrap().size(), 4);
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_costs_only_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("blobs");
        let cache = BlobCache::open(&place, 10).unwrap();
        fs::remove_dir(&place).unwrap();
        fs::write(&place, b"").unwrap();
        let digest = Digest::of(b"aaaa");
        assert_eq!(cache.take(digest, 100, chunks(b"aaaa")).await.unwrap(), "aaaa");
        assert_eq!((cache.size(), cache.get(&digest).unwrap()), (0, None));
    }

    #[tokio::test]
    async fn blob_that_rotted_on_disk_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 10).unwrap();
        let a = put(&cache, b"aaaa").await;
        fs::write(dir.path().join(a.to_string()), b"aaab").unwrap();
        assert_eq!(cache.get(&a).unwrap(), None);
        assert_eq!(cache.size(), 0);
    }
}
