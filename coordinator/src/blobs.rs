//! Content-addressed files: verified while they stream in, named by digest, never half there.
//!
//! Bytes go to a temporary file in the same directory; only when length and BLAKE3 are right is it synced and renamed to
//! its digest, and the directory synced. What a crash leaves are temporary files, removed at the next start.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tallymill_protocol::{AccountId, Digest};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::snapshots::Snapshots;

/// Why a blob is not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are others than the name says.
    #[error("the bytes have digest {found}, not {expected}: upload them under their own digest")]
    Mismatch {
        /// Digest in the name.
        expected: Digest,
        /// Digest of the bytes.
        found: Digest,
    },
    /// Too many bytes.
    #[error("the blob is longer than {limit} bytes, the most this coordinator takes")]
    TooLong {
        /// Most bytes.
        limit: u64,
    },
    /// The sender stopped.
    #[error("the upload was broken off: {0}")]
    Broken(String),
    /// The disk does not take or give the bytes.
    #[error("the blob store cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// Directory of the notes about readers: empty files, so that they need no lock and outlive the process.
const READERS: &str = "readers";
/// How long nobody writes to an upload that was cut off.
const CUT_OFF: Duration = Duration::from_secs(3_600);

/// Who may read a blob by its digest alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A public job names it.
    Everybody,
    /// This account uploaded it.
    Account(AccountId),
}

/// Files named by the digest of their bytes.
#[derive(Debug)]
pub struct BlobStore {
    directory: PathBuf,
    limit: u64,
    temporary: AtomicU64,
    /// Tells the names of this process from those of others on the same directory.
    tag: String,
    pub(crate) snapshots: Snapshots,
}

impl BlobStore {
    /// The store in `directory`, which is made if needed; uploads cut off by a crash are removed.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub async fn open(directory: &Path, limit: u64) -> Result<Self, BlobError> {
        Self::open_as(directory, limit, String::new(), Duration::ZERO).await
    }

    /// The same of a directory into which others may be writing: their uploads are told from those of this process by `tag`,
    /// and what is left of one that was cut off goes after an hour.
    ///
    /// # Errors
    /// As [`BlobStore::open`].
    pub async fn open_shared(directory: &Path, limit: u64, tag: u64) -> Result<Self, BlobError> {
        Self::open_as(directory, limit, format!("{tag:016x}-"), CUT_OFF).await
    }

    async fn open_as(
        directory: &Path,
        limit: u64,
        tag: String,
        kept: Duration,
    ) -> Result<Self, BlobError> {
        fs::create_dir_all(directory).await?;
        let mut entries = fs::read_dir(directory).await?;
        while let Some(entry) = entries.next_entry().await? {
            if entry.file_name().to_string_lossy().ends_with(".tmp") {
                sweep(&entry.path(), kept).await?;
            }
        }
        let (directory, temporary) = (directory.to_owned(), AtomicU64::new(0));
        Ok(Self { directory, limit, temporary, tag, snapshots: Snapshots::default() })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.directory.join(digest.to_string())
    }

    /// Stores what `body` gives under `digest`, and tells its length. A blob that is here already is not written again,
    /// but who sends it must know all of its bytes.
    ///
    /// # Errors
    /// When it is too long, is broken off, has another digest, or cannot be written; nothing is kept then.
    pub async fn put<E: std::fmt::Display>(
        &self,
        digest: Digest,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<u64, BlobError> {
        if self.length(digest).await?.is_some() {
            return self.receive(digest, None, body).await;
        }
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!("{digest}.{}{number}.tmp", self.tag));
        let stored = self.write(digest, &temporary, body).await;
        if stored.is_err() {
            // It may not even exist; the next start removes what is left.
            drop(fs::remove_file(&temporary).await);
        }
        stored
    }

    async fn write<E: std::fmt::Display>(
        &self,
        digest: Digest,
        temporary: &Path,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<u64, BlobError> {
        let mut file = File::create(temporary).await?;
        let length = self.receive(digest, Some(&mut file), body).await?;
        file.flush().await?;
        file.sync_all().await?;
        fs::rename(temporary, self.path(digest)).await?;
        File::open(&self.directory).await?.sync_all().await?;
        Ok(length)
    }

    /// Reads a body to its end, checks that it is this blob, and tells its length.
    async fn receive<E: std::fmt::Display>(
        &self,
        digest: Digest,
        mut file: Option<&mut File>,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<u64, BlobError> {
        let (mut hasher, mut length) = (blake3::Hasher::new(), 0u64);
        while let Some(part) = body.next().await {
            let part = part.map_err(|error| BlobError::Broken(error.to_string()))?;
            length = length.saturating_add(part.len() as u64);
            if length > self.limit {
                return Err(BlobError::TooLong { limit: self.limit });
            }
            hasher.update(&part);
            if let Some(file) = &mut file {
                file.write_all(&part).await?;
            }
        }
        let found = Digest(*hasher.finalize().as_bytes());
        if found != digest {
            return Err(BlobError::Mismatch { expected: digest, found });
        }
        Ok(length)
    }

    fn note(&self, digest: Digest, reader: Reader) -> PathBuf {
        let who = match reader {
            Reader::Everybody => "everybody".to_owned(),
            Reader::Account(account) => account.to_string(),
        };
        self.directory.join(READERS).join(format!("{digest}-{who}"))
    }

    /// Notes durably who may read a blob by its digest alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn share(&self, digest: Digest, reader: Reader) -> Result<(), BlobError> {
        if self.shared(digest, reader).await? {
            return Ok(());
        }
        let readers = self.directory.join(READERS);
        fs::create_dir_all(&readers).await?;
        File::create(self.note(digest, reader)).await?.sync_all().await?;
        File::open(&readers).await?.sync_all().await?;
        File::open(&self.directory).await?.sync_all().await?;
        Ok(())
    }

    /// Whether it was noted that this reader may read a blob.
    ///
    /// # Errors
    /// When the disk cannot tell.
    pub async fn shared(&self, digest: Digest, reader: Reader) -> Result<bool, BlobError> {
        Ok(fs::try_exists(self.note(digest, reader)).await?)
    }

    /// Removes blobs and the notes about who may read them, durably. What is not here is no error.
    ///
    /// # Errors
    /// When the disk does not do it; some may be gone.
    pub async fn remove(&self, digests: &[Digest]) -> Result<(), BlobError> {
        for digest in digests {
            forgiving(fs::remove_file(self.path(*digest)).await)?;
        }
        let readers = self.directory.join(READERS);
        let mut notes = match fs::read_dir(&readers).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            notes => Some(notes?),
        };
        while let Some(notes) = &mut notes
            && let Some(note) = notes.next_entry().await?
        {
            let name = note.file_name().to_string_lossy().into_owned();
            let about = name.split_once('-').and_then(|(digest, _)| digest.parse().ok());
            if about.is_some_and(|digest| digests.contains(&digest)) {
                forgiving(fs::remove_file(note.path()).await)?;
            }
        }
        if notes.is_some() {
            File::open(&readers).await?.sync_all().await?;
        }
        File::open(&self.directory).await?.sync_all().await?;
        Ok(())
    }

    /// The length of a blob; `None` when it is not here.
    ///
    /// # Errors
    /// When the disk cannot tell.
    pub async fn length(&self, digest: Digest) -> Result<Option<u64>, BlobError> {
        match fs::metadata(self.path(digest)).await {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The file of a blob, positioned at `from`; `None` when it is not here.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn file(&self, digest: Digest, from: u64) -> Result<Option<File>, BlobError> {
        let mut file = match File::open(self.path(digest)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        file.seek(SeekFrom::Start(from)).await?;
        Ok(Some(file))
    }

    /// `length` bytes of a blob from `from` on, in memory; `None` when the blob is not here or ends before.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read(
        &self,
        digest: Digest,
        from: u64,
        length: u64,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        let Some(end) = from.checked_add(length) else { return Ok(None) };
        if self.length(digest).await?.is_none_or(|whole| whole < end) {
            return Ok(None);
        }
        let Some(file) = self.file(digest, from).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).await?;
        Ok(Some(bytes))
    }
}

/// What is not there needs not be removed.
fn forgiving(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes what is left of an upload that nobody has written to for so long. Others may do the same at this moment.
async fn sweep(path: &Path, kept: Duration) -> io::Result<()> {
    let removed = async {
        let written = fs::symlink_metadata(path).await?.modified()?;
        if !kept.is_zero() && written.elapsed().unwrap_or_default() < kept {
            return Ok(());
        }
        fs::remove_file(path).await
    };
    match removed.await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn body(parts: &[&'static [u8]]) -> impl Stream<Item = Result<Bytes, String>> + Unpin + use<> {
        stream::iter(parts.iter().map(|part| Ok(Bytes::from_static(part))).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn a_blob_is_stored_in_parts_and_read_in_ranges() {
        let directory = tempfile::tempdir().unwrap();
        let store = BlobStore::open(directory.path(), 10).await.unwrap();
        let digest = Digest::of(b"0123456789");
        assert_eq!(store.put(digest, body(&[b"01234", b"56789"])).await.unwrap(), 10);
        assert_eq!(store.read(digest, 2, 3).await.unwrap().unwrap(), b"234");
        assert_eq!(store.read(digest, 8, 3).await.unwrap(), None);
        assert_eq!(store.length(Digest::ZERO).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_others_upload_now_is_left_alone_and_what_was_cut_off_goes() {
        let directory = tempfile::tempdir().unwrap();
        let [fresh, stale] = ["a.0.tmp", "b.0.tmp"].map(|name| directory.path().join(name));
        std::fs::write(&fresh, "half").unwrap();
        let old = std::time::SystemTime::now() - CUT_OFF;
        std::fs::File::create(&stale).unwrap().set_modified(old).unwrap();
        let shared = BlobStore::open_shared(directory.path(), 10, 7).await.unwrap();
        assert_eq!((fresh.exists(), stale.exists()), (true, false));
        assert_eq!(shared.tag, "0000000000000007-");
        sweep(&stale, CUT_OFF).await.unwrap();
        BlobStore::open(directory.path(), 10).await.unwrap();
        assert!(!fresh.exists(), "nobody else writes there");
    }

    #[tokio::test]
    async fn a_blob_that_is_here_is_checked_and_not_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = BlobStore::open(directory.path(), 4).await.unwrap();
        let digest = Digest::of(b"abcd");
        store.put(digest, body(&[b"abcd"])).await.unwrap();
        let wrong = store.put(digest, body(&[b"abce"])).await;
        assert!(matches!(wrong, Err(BlobError::Mismatch { .. })));
        let written = std::fs::metadata(store.path(digest)).unwrap().modified().unwrap();
        assert_eq!(store.put(digest, body(&[b"ab", b"cd"])).await.unwrap(), 4);
        let now = std::fs::metadata(store.path(digest)).unwrap().modified().unwrap();
        assert_eq!(now, written);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn wrong_long_and_broken_uploads_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = BlobStore::open(directory.path(), 4).await.unwrap();
        let digest = Digest::of(b"abcd");
        let wrong = store.put(digest, body(&[b"abce"])).await;
        assert!(matches!(wrong, Err(BlobError::Mismatch { .. })));
        let long = store.put(digest, body(&[b"abcd", b"e"])).await;
        assert!(matches!(long, Err(BlobError::TooLong { limit: 4 })));
        let parts = [Ok(Bytes::from_static(b"abcd")), Err("gone".to_owned())];
        let broken = store.put(digest, stream::iter(parts)).await;
        assert!(matches!(broken, Err(BlobError::Broken(_))));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn who_may_read_is_noted_per_reader_and_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let store = BlobStore::open(directory.path(), 4).await.unwrap();
        let reader = |number| Reader::Account(AccountId([number; 32]));
        store.share(Digest::ZERO, reader(1)).await.unwrap();
        let store = BlobStore::open(directory.path(), 4).await.unwrap();
        assert!(store.shared(Digest::ZERO, reader(1)).await.unwrap());
        for other in [reader(2), Reader::Everybody] {
            assert!(!store.shared(Digest::ZERO, other).await.unwrap());
        }
        assert!(!store.shared(Digest::of(b"x"), reader(1)).await.unwrap());
    }

    #[tokio::test]
    async fn a_start_removes_what_a_crash_left() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("x.0.tmp"), b"half").unwrap();
        BlobStore::open(directory.path(), 4).await.unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_blob_goes_with_the_notes_about_its_readers() {
        let directory = tempfile::tempdir().unwrap();
        let store = BlobStore::open(directory.path(), 9).await.unwrap();
        store.remove(&[Digest::ZERO]).await.unwrap();
        let (gone, stays) = (Digest::of(b"gone"), Digest::of(b"stays"));
        store.put(gone, body(&[b"gone"])).await.unwrap();
        store.put(stays, body(&[b"stays"])).await.unwrap();
        let readers = [Reader::Everybody, Reader::Account(AccountId([1; 32]))];
        for (digest, reader) in [gone, stays].into_iter().flat_map(|it| readers.map(|r| (it, r))) {
            store.share(digest, reader).await.unwrap();
        }
        store.remove(&[gone, Digest::ZERO]).await.unwrap();
        assert_eq!(store.length(gone).await.unwrap(), None);
        assert_eq!(store.length(stays).await.unwrap(), Some(5));
        for reader in readers {
            assert!(!store.shared(gone, reader).await.unwrap());
            assert!(store.shared(stays, reader).await.unwrap());
        }
    }
}
