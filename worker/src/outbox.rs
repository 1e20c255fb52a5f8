//! The outbox: finished reports on disk until the coordinator has given a final answer.
//!
//! One file per report, named by its sequence, whole or absent, synced before anybody hears of it. Large outputs lie
//! beside as blobs and go with the last report that names them.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tallymill_protocol::work::ReportUpload;
use tallymill_protocol::{Digest, Message as _, Report};

use crate::files::{FileError, private_dir, probe, read_if_there, remove, write_whole};
use crate::signer::Resigned;
use crate::spool::Spool;

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
    /// Outputs and logs that are uploaded as blobs first, one entry for each result.
    pub large: Vec<Digest>,
    /// The report inside.
    pub report: Report,
}

/// Reports by their sequence.
#[derive(Debug)]
pub struct Outbox {
    dir: PathBuf,
    spool: Arc<Spool>,
    entries: BTreeMap<u64, Entry>,
}

impl Outbox {
    /// Opens or makes the outbox in `dir`. A file that is damaged is set aside as `*.damaged` and logged;
    /// blobs that no report names are removed.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub fn open(dir: &Path) -> Result<Self, OutboxError> {
        private_dir(dir)?;
        let mut entries = BTreeMap::<u64, Entry>::new();
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
        let needed = entries.values().flat_map(|entry| &entry.large).copied();
        let spool = Arc::new(Spool::open(&dir.join("blobs"), needed)?);
        Ok(Self { dir: dir.to_owned(), spool, entries })
    }

    /// Makes an entry durable. When it fails nothing is kept.
    ///
    /// # Errors
    /// When the disk is full or cannot be written.
    pub fn append(&mut self, entry: Entry) -> Result<(), OutboxError> {
        // A file that is there though it may not last would be sent after a restart.
        self.write(&entry).inspect_err(|_| drop(remove(&self.path(entry.report.sequence))))?;
        self.entries.insert(entry.report.sequence, entry);
        Ok(())
    }

    /// Tries whether entries and their blobs of this many bytes can be kept.
    ///
    /// # Errors
    /// When the disk is full or cannot be written.
    pub(crate) fn probe(&self, bytes: usize) -> Result<(), OutboxError> {
        probe(&self.dir, bytes)?;
        Ok(self.spool.probe(bytes)?)
    }

    fn write(&self, entry: &Entry) -> Result<(), OutboxError> {
        let body = encode(entry);
        let digest = Digest::of(&body);
        let parts = [&MAGIC[..], digest.as_bytes(), &body];
        Ok(write_whole(&self.path(entry.report.sequence), &parts)?)
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

    /// Gives every entry, oldest first, the report that was signed again for it. Whatever a crash leaves holds each
    /// root at least once, which is safe: no file is overwritten before its entry has its new one.
    ///
    /// # Errors
    /// When a file cannot be written or removed; the old reports then stay and are refused once more.
    pub(crate) fn renumber(&mut self, reports: Vec<Resigned>) -> Result<(), OutboxError> {
        let mut moved: Vec<(u64, Entry)> = Vec::with_capacity(reports.len());
        for ((old, entry), (signed, report)) in self.entries.iter().zip(reports) {
            let upload = ReportUpload { report: signed, ..entry.upload.clone() };
            moved.push((*old, Entry { upload, large: entry.large.clone(), report }));
        }
        // Sequences ascend without gaps, so those that move up come first: they move from the last to the first.
        let up = moved.partition_point(|(old, entry)| *old < entry.report.sequence);
        let (up, down) = moved.split_at(up);
        for (_, entry) in up.iter().rev().chain(down) {
            self.write(entry)?;
        }
        let kept: HashSet<u64> = moved.iter().map(|(_, entry)| entry.report.sequence).collect();
        for (old, _) in moved.iter().filter(|(old, _)| !kept.contains(old)) {
            remove(&self.path(*old))?;
        }
        self.entries = moved.into_iter().map(|(_, entry)| (entry.report.sequence, entry)).collect();
        Ok(())
    }

    fn take(&mut self, root: Digest) -> Option<Entry> {
        let found = self.entries.iter().find(|(_, entry)| entry.report.root == root)?;
        let sequence = *found.0;
        self.entries.remove(&sequence)
    }

    fn drop_blobs(&self, gone: &Entry) -> Result<(), OutboxError> {
        Ok(gone.large.iter().try_for_each(|blob| self.spool.release(blob))?)
    }

    /// Where large outputs wait.
    pub(crate) fn spool(&self) -> Arc<Spool> {
        self.spool.clone()
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
        self.spool.path(digest)
    }

    fn path(&self, sequence: u64) -> PathBuf {
        self.dir.join(format!("{sequence:016x}.report"))
    }
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

#[cfg(test)]
mod tests {
    use tallymill_protocol::cbor::List;
    use tallymill_protocol::{CoordinatorId, HostId, Keypair, Network};

    use super::*;

    fn signed(number: u64, sequence: u64) -> Resigned {
        let report = Report {
            format: 1,
            network: Network::new("n").unwrap(),
            host: HostId([1; 32]),
            count: 1,
            root: Digest::of(&number.to_be_bytes()),
            sequence,
            previous: Digest::ZERO,
            coordinator: CoordinatorId([2; 32]),
            epoch: 1,
        };
        (Keypair::from_secret(&[3; 32]).sign(&report), report)
    }

    fn entry(number: u64, sequence: u64) -> Entry {
        let (signed, report) = signed(number, sequence);
        let upload = ReportUpload {
            report: signed,
            leases: List::default(),
            receipts: List::default(),
            outputs: List::default(),
            logs: List::default(),
        };
        Entry { upload, large: Vec::new(), report }
    }

    /// Sequence and number of every entry, as a restart finds them.
    fn kept(dir: &Path) -> Vec<(u64, Digest)> {
        let outbox = Outbox::open(dir).unwrap();
        outbox.entries().map(|entry| (entry.report.sequence, entry.report.root)).collect()
    }

    #[test]
    fn entries_move_up_and_down_without_losing_one() {
        for (old, first) in [([7, 8, 9], 8), ([7, 8, 9], 5), ([1, 8, 20], 4), ([3, 4, 9], 4)] {
            let dir = tempfile::tempdir().unwrap();
            let mut outbox = Outbox::open(dir.path()).unwrap();
            (0..).zip(old).for_each(|(number, at)| outbox.append(entry(number, at)).unwrap());
            let renewed = (0..3).map(|number| signed(number, first + number)).collect();
            outbox.renumber(renewed).unwrap();
            let root = |number: u64| Digest::of(&number.to_be_bytes());
            let expected: Vec<_> = (0..3).map(|number| (first + number, root(number))).collect();
            assert_eq!(kept(dir.path()), expected, "{old:?} from {first}");
            assert!(outbox.settle(root(1)).unwrap());
            assert_eq!(kept(dir.path()).len(), 2);
        }
    }

    #[test]
    fn a_move_that_fails_half_way_loses_no_root() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(dir.path()).unwrap();
        (0..3).for_each(|number| outbox.append(entry(number, 7 + number)).unwrap());
        // Nothing can be renamed over a directory: the second of three writes fails.
        let blocked = outbox.path(8);
        fs::remove_file(&blocked).unwrap();
        fs::create_dir_all(blocked.join("x")).unwrap();
        let renewed = (0..3).map(|number| signed(number, 7 + number + 1)).collect();
        assert!(outbox.renumber(renewed).is_err());
        fs::remove_dir_all(&blocked).unwrap();
        outbox.renumber((0..3).map(|number| signed(number, 5 + number)).collect()).unwrap();
        // What the failed move left is there twice, which the coordinator takes for a replay.
        let roots: HashSet<Digest> = kept(dir.path()).into_iter().map(|(_, root)| root).collect();
        assert_eq!(roots.len(), 3);
    }
}
