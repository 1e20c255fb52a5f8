//! Files that must be whole or absent: written beside, synced, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use tallymill_protocol::Micros;

/// A file of the state directory that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {}{}", path.display(), help(source))]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    pub(crate) fn on<'p>(
        action: &'static str,
        path: &'p Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'p> {
        move |source| Self { action, path: path.to_owned(), source }
    }
}

/// What to do about the errors that an owner can mend.
fn help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": the disk is full, free some space"
        }
        io::ErrorKind::FileTooLarge => {
            ": this process may not write files so large, raise its limit (ulimit -f)"
        }
        _ => "",
    }
}

/// Makes a directory that only its owner can enter.
pub(crate) fn private_dir(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::on("create the directory", path))
}

/// Tries whether a file of this size can be written to a folder, at least one of 64 KiB.
pub(crate) fn probe(folder: &Path, bytes: usize) -> Result<(), FileError> {
    const PART: &[u8] = &[0; 1 << 16];
    let probe = folder.join("probe.part");
    write_whole(&probe, &vec![PART; bytes.div_ceil(PART.len()).max(1)])?;
    remove(&probe)
}

/// Writes a file of mode 0600 so that after a crash it is either the old one or the new one.
pub(crate) fn write_whole(path: &Path, parts: &[&[u8]]) -> Result<(), FileError> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    // Two runs may write the same blob at once: each has a file of its own until it is whole.
    let beside = path.with_extension(format!("{}.part", WRITES.fetch_add(1, Relaxed)));
    let written = write_synced(&beside, parts).and_then(|()| {
        fs::rename(&beside, path).map_err(FileError::on("rename a new file to", path))
    });
    written.inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })?;
    sync_parent(path)
}

fn write_synced(path: &Path, parts: &[&[u8]]) -> Result<(), FileError> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = open.map_err(FileError::on("create", path))?;
    for part in parts {
        file.write_all(part).map_err(FileError::on("write", path))?;
    }
    file.sync_all().map_err(FileError::on("sync", path))
}

fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(FileError::on("sync the directory", parent))
}

/// Reads a file; `None` when it does not exist.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError { action: "read", path: path.to_owned(), source }),
    }
}

/// Removes a file; one that is gone already is fine.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError { action: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// The wall clock.
pub(crate) fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Bytes from the system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], io::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_is_said_in_words() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = FileError::on("write", Path::new("/state/x"))(full);
        assert_eq!(
            error.to_string(),
            "could not write /state/x: the disk is full, free some space"
        );
        let limited = io::Error::from(io::ErrorKind::FileTooLarge);
        let error = FileError::on("write", Path::new("/state/x"))(limited);
        assert!(error.to_string().contains("ulimit -f"), "{error}");
    }

    #[test]
    fn failed_write_leaves_what_was_there_and_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::create_dir(&path).unwrap();
        assert!(write_whole(&path, &[b"new"]).is_err());
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().path()).collect();
        assert!(left == [path.clone()] && path.is_dir());
    }

    #[test]
    fn writers_of_the_same_file_do_not_disturb_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| write_whole(&path, &[b"same"]).unwrap()));
            }
        });
        assert_eq!(fs::read(&path).unwrap(), b"same");
    }
}
