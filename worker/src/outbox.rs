//! The outbox: finished reports on disk until the coordinator has given a final answer.
//!
//! One file per report, named by its sequence, whole or absent, synced before anybody hears of it. Large outputs lie
//! beside as blobs and go with the last report that names them.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use tallymill_protocol::work::ReportUpload;
use tallymill_protocol::{Digest, Message as _, Report};

use crate::files::{FileError, private_dir, read_if_there, remove, write_whole};

const MAGIC: &[u8; 4] = b"TMO1";

/// Why the outbox could not be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct OutboxError(#[from] pub FileError);

/// A report that waits for its final answer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What is sent.
    pub upload: ReportUpload,
    /// Outputs and logs that are uploaded as blobs first.
    pub large: Vec<Digest>,
    /// The report inside.
    pub report: Report,
}

/// Reports by their sequence.
#[derive(Debug)]
pub struct Outbox {
    dir: PathBuf,
    entries: BTreeMap<u64, Entry>,
}

impl Outbox {
    /// Opens or makes the outbox in `dir`. A file that is damaged is set aside as `*.damaged` and logged;
    /// blobs that no report names are removed.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub fn open(dir: &Path) -> Result<Self, OutboxError> {
        private_dir(&dir.join("blobs"))?;
        let mut entries = BTreeMap::new();
        for file in fs::read_dir(dir).map_err(FileError::on("list", dir))? {
            let path = file.map_err(FileError::on("list", dir))?.path();
            if path.extension().is_some_and(|ending| ending == "part") {
                remove(&path)?;
            }
            if path.extension().is_none_or(|ending| ending != "report") {
                continue;
            }
            let bytes = read_if_there(&path)?.unwrap_or_default();
            match decode(&bytes) {
                Some(entry) => drop(entries.insert(entry.report.sequence, entry)),
                None => set_aside(&path, "damaged")?,
            }
        }
        let outbox = Self { dir: dir.to_owned(), entries };
        outbox.sweep()?;
        Ok(outbox)
    }

    /// Removes blobs that no report names: their tasks were running when the worker ended.
    fn sweep(&self) -> Result<(), OutboxError> {
        let dir = self.dir.join("blobs");
        let named: HashSet<PathBuf> =
            self.entries().flat_map(|entry| &entry.large).map(|blob| self.blob(blob)).collect();
        for file in fs::read_dir(&dir).map_err(FileError::on("list", &dir))? {
            let path = file.map_err(FileError::on("list", &dir))?.path();
            if !named.contains(&path) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Makes an entry durable. When it fails nothing is kept.
    ///
    /// # Errors
    /// When the disk is full or cannot be written.
    pub fn append(&mut self, entry: Entry) -> Result<(), OutboxError> {
        let (path, body) = (self.path(entry.report.sequence), encode(&entry));
        let written = write_whole(&path, &[MAGIC, Digest::of(&body).as_bytes(), &body]);
        // A file that is there though it may not last would be sent after a restart.
        written.inspect_err(|_| drop(remove(&path)))?;
        self.entries.insert(entry.report.sequence, entry);
        Ok(())
    }

    /// Removes an entry that has its final answer, with the blobs that no other entry names.
    ///
    /// # Errors
    /// When a file cannot be removed; the entry is then sent once more after a restart, which is safe.
    pub fn settle(&mut self, root: Digest) -> Result<bool, OutboxError> {
        let Some(entry) = self.take(root) else { return Ok(false) };
        remove(&self.path(entry.report.sequence))?;
        self.drop_blobs(&entry)?;
        Ok(true)
    }

    /// Sets an entry aside that the coordinator will not even read, for a person to look at.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn reject(&mut self, root: Digest) -> Result<bool, OutboxError> {
        let Some(entry) = self.take(root) else { return Ok(false) };
        set_aside(&self.path(entry.report.sequence), "refused")?;
        self.drop_blobs(&entry)?;
        Ok(true)
    }

    fn take(&mut self, root: Digest) -> Option<Entry> {
        let found = self.entries.iter().find(|(_, entry)| entry.report.root == root)?;
        let sequence = *found.0;
        self.entries.remove(&sequence)
    }

    fn drop_blobs(&self, gone: &Entry) -> Result<(), OutboxError> {
        let named = |blob| self.entries.values().any(|entry| entry.large.contains(blob));
        let mut unnamed = gone.large.iter().filter(|blob| !named(blob));
        Ok(unnamed.try_for_each(|blob| remove(&self.blob(blob)))?)
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Entries that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where the blob of a large output lies.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        blob_path(&self.dir, digest)
    }

    fn path(&self, sequence: u64) -> PathBuf {
        self.dir.join(format!("{sequence:016x}.report"))
    }
}

/// Where large outputs wait for their upload.
pub(crate) fn blob_path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs").join(digest.to_string())
}

fn set_aside(path: &Path, why: &str) -> Result<(), FileError> {
    let aside = path.with_extension(why);
    tracing::error!(file = %aside.display(), "a report in the outbox is {why}: set aside");
    fs::rename(path, &aside).map_err(FileError::on("set aside", path))
}

fn encode(entry: &Entry) -> Vec<u8> {
    let count = u32::try_from(entry.large.len()).unwrap_or(u32::MAX);
    let mut body = count.to_be_bytes().to_vec();
    entry.large.iter().for_each(|digest| body.extend(digest.as_bytes()));
    body.extend(entry.upload.to_bytes());
    body
}

fn decode(bytes: &[u8]) -> Option<Entry> {
    let (digest, body) = bytes.strip_prefix(MAGIC)?.split_at_checked(32)?;
    if Digest::from_slice(digest)? != Digest::of(body) {
        return None;
    }
    let (count, rest) = body.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_be_bytes(*count)).ok()?.checked_mul(32)?;
    let (large, upload) = rest.split_at_checked(size)?;
    let large = large.chunks_exact(32).filter_map(Digest::from_slice).collect();
    let upload = ReportUpload::from_bytes(upload).ok()?;
    let report = upload.report.peek().ok()?;
    Some(Entry { upload, large, report })
}
