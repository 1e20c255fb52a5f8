//! Large outputs on disk until their upload: one file per digest, however many results wrote the same bytes.
//!
//! A file stays while any result that wrote it is undelivered, also one that is not in the outbox yet: the counts of
//! results are kept here, under the lock that guards the files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tallymill_protocol::Digest;

use crate::files::{FileError, private_dir, probe, remove, write_whole};

/// Files of large outputs, with the number of results that need each.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    needed: Mutex<HashMap<Digest, usize>>,
    /// The last bytes that could not be kept, until somebody asks.
    failure: Mutex<Option<Unkept>>,
}

/// Bytes that the disk did not take, and why.
#[derive(Debug)]
pub(crate) struct Unkept {
    pub(crate) why: String,
    pub(crate) bytes: usize,
}

impl Spool {
    /// The spool in `dir` with what these results need; any other file there is of a task that was running when the
    /// worker ended, and is removed.
    pub(crate) fn open(
        dir: &Path,
        needed: impl Iterator<Item = Digest>,
    ) -> Result<Self, FileError> {
        private_dir(dir)?;
        let mut counts: HashMap<Digest, usize> = HashMap::new();
        needed.for_each(|digest| *counts.entry(digest).or_default() += 1);
        let needed = Mutex::new(counts);
        let spool = Self { dir: dir.to_owned(), needed, failure: Mutex::default() };
        spool.sweep()?;
        Ok(spool)
    }

    fn sweep(&self) -> Result<(), FileError> {
        let needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        let named: Vec<PathBuf> = needed.keys().map(|digest| self.path(digest)).collect();
        for file in fs::read_dir(&self.dir).map_err(FileError::on("list", &self.dir))? {
            let path = file.map_err(FileError::on("list", &self.dir))?.path();
            if !named.contains(&path) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Keeps the bytes of one more result.
    pub(crate) fn put(&self, digest: Digest, bytes: &[u8]) -> Result<(), FileError> {
        let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = needed.entry(digest).or_default();
        if *count == 0 {
            write_whole(&self.path(&digest), &[bytes]).inspect_err(|error| {
                let unkept = Unkept { why: error.to_string(), bytes: bytes.len() };
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(unkept);
            })?;
        }
        *count += 1;
        Ok(())
    }

    /// What could not be kept since the last time this was asked.
    pub(crate) fn take_failure(&self) -> Option<Unkept> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Tries whether this many bytes can be kept.
    pub(crate) fn probe(&self, bytes: usize) -> Result<(), FileError> {
        probe(&self.dir, bytes)
    }

    /// One result needs its bytes no more; the last one takes the file away.
    pub(crate) fn release(&self, digest: &Digest) -> Result<(), FileError> {
        let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = needed.get_mut(digest) else { return Ok(()) };
        *count = count.saturating_sub(1);
        if *count == 0 {
            needed.remove(digest);
            remove(&self.path(digest))?;
        }
        Ok(())
    }

    /// Where the bytes of a large output lie.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outputs_share_a_file_that_goes_with_the_last_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), std::iter::empty()).unwrap();
        let digest = Digest::of(b"large");
        spool.put(digest, b"large").unwrap();
        spool.put(digest, b"large").unwrap();
        spool.release(&digest).unwrap();
        assert_eq!(fs::read(spool.path(&digest)).unwrap(), b"large");
        spool.release(&digest).unwrap();
        assert!(!spool.path(&digest).exists());
        spool.release(&digest).unwrap();
    }

    #[test]
    fn a_start_keeps_what_is_needed_and_removes_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, stray) = (Digest::of(b"kept"), Digest::of(b"stray"));
        for digest in [kept, stray] {
            fs::write(dir.path().join(digest.to_string()), b"x").unwrap();
        }
        let spool = Spool::open(dir.path(), [kept, kept].into_iter()).unwrap();
        assert!(spool.path(&kept).exists() && !spool.path(&stray).exists());
        spool.release(&kept).unwrap();
        assert!(spool.path(&kept).exists(), "two results need it");
    }
}
