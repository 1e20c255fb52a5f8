//! Whose turn it is with the blobs of a data directory: a backup copies them while none goes away.
//!
//! A lock on a file beside them, which ends with the process that holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// The file that is locked.
const FILE: &str = "blobs.lock";

fn open(data: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(data.join(FILE))
}

/// Waits for the turn to copy, which several may have; no blob goes away while the answer lives.
pub fn to_copy(data: &Path) -> io::Result<File> {
    let file = open(data)?;
    file.lock_shared()?;
    Ok(file)
}

/// The turn to take blobs away; `None` while somebody copies.
pub fn to_remove(data: &Path) -> io::Result<Option<File>> {
    let file = open(data)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
