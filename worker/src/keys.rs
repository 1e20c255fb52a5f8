//! Key files: 64 hexadecimal digits of the secret, mode 0600.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tallymill_protocol::{Key, Keypair};
use zeroize::Zeroizing;

use crate::files::{FileError, random, read_if_there, write_whole};

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system gave no randomness.
    #[error("could not draw a new key: {0}")]
    Random(std::io::Error),
    /// Not a key.
    #[error("{} is not a key file: it must hold 64 lower-case hexadecimal digits", .0.display())]
    Malformed(PathBuf),
    /// Others can read it.
    #[error("{} can be read by others (mode {mode:o}); run `chmod 600` on it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Loads a key, or makes one where there is none.
///
/// # Errors
/// When the file cannot be used, can be read by others, or holds no key.
pub fn load_or_create(path: &Path) -> Result<Keypair, KeyError> {
    match load(path)? {
        Some(pair) => Ok(pair),
        None => create(path),
    }
}

/// Loads a key if the file is there.
pub(crate) fn load(path: &Path) -> Result<Option<Keypair>, KeyError> {
    let Some(text) = read_if_there(path)?.map(Zeroizing::new) else { return Ok(None) };
    let found = std::fs::metadata(path).map_err(FileError::on("look at", path))?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path.to_owned(), mode });
    }
    let digits = std::str::from_utf8(&text).map(str::trim).unwrap_or_default();
    let secret = digits.parse::<Key>().map_err(|_| KeyError::Malformed(path.to_owned()))?;
    Ok(Some(Keypair::from_secret(&Zeroizing::new(secret.0))))
}

fn create(path: &Path) -> Result<Keypair, KeyError> {
    let secret = Zeroizing::new(random::<32>().map_err(KeyError::Random)?);
    let text = Zeroizing::new(format!("{}\n", Key(*secret)));
    write_whole(path, &[text.as_bytes()])?;
    Ok(Keypair::from_secret(&secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.key");
        let first = load_or_create(&path).unwrap().public();
        assert_eq!(load_or_create(&path).unwrap().public(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.key");
        load_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load_or_create(&path), Err(KeyError::Open { mode: 0o640, .. })));
    }

    #[test]
    fn file_that_is_no_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.key");
        write_whole(&path, &[b"hello"]).unwrap();
        assert!(matches!(load_or_create(&path), Err(KeyError::Malformed(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    }
}
