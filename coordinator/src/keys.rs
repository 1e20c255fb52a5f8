//! The coordinator's key file: made at the first start, readable by its owner alone.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tallymill_protocol::Keypair;

/// Name of the key file in the data directory.
pub const KEY_FILE: &str = "coordinator.key";

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the key file {path} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others can read it.
    #[error("the key file {path} has mode {mode:03o}; make it 600: only its owner may read it")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else than 32 bytes.
    #[error("the key file {path} has {found} bytes; a secret key has 32")]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: usize,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// Thirty-two bytes of the system's randomness.
///
/// # Errors
/// When the system gives none.
pub fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(KeyError::Randomness)?;
    Ok(bytes)
}

/// The key in `directory`, drawn and written with mode 0600 when there is none yet.
///
/// # Errors
/// When the file cannot be read or written, is readable by others, or is no key.
pub fn load_or_create(directory: &Path) -> Result<Keypair, KeyError> {
    let path = directory.join(KEY_FILE);
    match fs::read(&path) {
        Ok(bytes) => read_key(&path, &bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(directory, &path),
        Err(source) => Err(KeyError::Io { path, source }),
    }
}

/// Another secret of whoever has the key in `directory`, which says nothing of the key.
///
/// # Errors
/// As [`load_or_create`].
pub(crate) fn derive(directory: &Path, what: &str) -> Result<[u8; 32], KeyError> {
    load_or_create(directory)?;
    let path = directory.join(KEY_FILE);
    let bytes = fs::read(&path).map_err(|source| KeyError::Io { path, source })?;
    Ok(blake3::derive_key(what, &bytes))
}

fn read_key(path: &Path, bytes: &[u8]) -> Result<Keypair, KeyError> {
    let metadata =
        fs::metadata(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Mode { path: path.to_owned(), mode });
    }
    let secret: [u8; 32] = bytes
        .try_into()
        .map_err(|_| KeyError::Length { path: path.to_owned(), found: bytes.len() })?;
    Ok(Keypair::from_secret(&secret))
}

fn create(directory: &Path, path: &Path) -> Result<Keypair, KeyError> {
    let secret = random::<32>()?;
    let write = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&secret)?;
        file.sync_all()?;
        fs::File::open(directory)?.sync_all()
    };
    write().map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    Ok(Keypair::from_secret(&secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_with_mode_600_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let first = load_or_create(directory.path()).unwrap();
        let mode = fs::metadata(directory.path().join(KEY_FILE)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(load_or_create(directory.path()).unwrap().public(), first.public());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_no_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        load_or_create(directory.path()).unwrap();
        let path = directory.path().join(KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            load_or_create(directory.path()),
            Err(KeyError::Mode { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(matches!(load_or_create(directory.path()), Err(KeyError::Length { found: 5, .. })));
    }
}
