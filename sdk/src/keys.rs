//! Key files: a 32-byte secret in hexadecimal, mode 0600.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use tallymill_protocol::{Digest, Keypair};

use crate::Error;

/// A key pair that lives in a file. Cheap to clone; never printed.
#[derive(Debug, Clone)]
pub struct KeyFile(Arc<Keypair>);

fn fault(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Key { path: path.to_owned(), reason: reason.to_string() }
}

impl KeyFile {
    /// Reads a key file.
    ///
    /// # Errors
    /// When it is missing, readable by others, or not 64 hexadecimal digits.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let mode = fs::metadata(path).map_err(|e| fault(path, e))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(fault(
                path,
                format!("others can read it (mode {:o}); run chmod 600", mode & 0o777),
            ));
        }
        let text = fs::read_to_string(path).map_err(|e| fault(path, e))?;
        let secret: Digest = text.trim().parse().map_err(|e| fault(path, e))?;
        Ok(Self(Arc::new(Keypair::from_secret(secret.as_bytes()))))
    }

    /// Draws a new key and writes it to a file that must not exist yet.
    ///
    /// # Errors
    /// When the file exists or cannot be written, or the system gives no randomness.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| fault(path, e))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| fault(path, e))?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| fault(path, e))?;
        file.write_all(format!("{}\n", Digest(secret)).as_bytes()).map_err(|e| fault(path, e))?;
        file.sync_all().map_err(|e| fault(path, e))?;
        Ok(Self(Arc::new(Keypair::from_secret(&secret))))
    }

    /// Reads the key file, or makes it when there is none.
    ///
    /// # Errors
    /// As [`KeyFile::load`] and [`KeyFile::create`].
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        if path.exists() { Self::load(path) } else { Self::create(path) }
    }

    /// The key pair.
    #[must_use]
    pub fn pair(&self) -> &Keypair {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/me.key");
        let made = KeyFile::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(KeyFile::load_or_create(&path).unwrap().pair().public(), made.pair().public());
        assert!(KeyFile::create(&path).is_err(), "never overwrites a key");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("me.key");
        KeyFile::create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(KeyFile::load(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn rubbish_is_not_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("me.key");
        fs::write(&path, "zz").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(KeyFile::load(&path).unwrap_err().to_string().contains("64 hexadecimal digits"));
    }
}
