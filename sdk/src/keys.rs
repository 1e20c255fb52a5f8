//! Key files: a 32-byte secret in hexadecimal, mode 0600; after a rotation, a second line names the account.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use tallymill_protocol::{AccountId, Digest, Keypair};

use crate::Error;

/// A key pair that lives in a file. Cheap to clone; never printed.
#[derive(Debug, Clone)]
pub struct KeyFile {
    pair: Arc<Keypair>,
    account: AccountId,
}

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
        let mut lines = text.lines().map(str::trim);
        let secret: Digest =
            lines.next().unwrap_or_default().parse().map_err(|e| fault(path, e))?;
        let pair = Keypair::from_secret(secret.as_bytes());
        let account = lines
            .next()
            .map_or(Ok(pair.public().into()), str::parse)
            .map_err(|e| fault(path, e))?;
        Ok(Self { pair: Arc::new(pair), account })
    }

    /// Draws a new key and writes it to a file that must not exist yet.
    ///
    /// # Errors
    /// When the file exists or cannot be written, or the system gives no randomness.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Self::write(path, None)
    }

    /// Draws the next key of an account that has one already.
    ///
    /// # Errors
    /// As [`KeyFile::create`].
    pub fn create_for(path: &Path, account: AccountId) -> Result<Self, Error> {
        Self::write(path, Some(account))
    }

    fn write(path: &Path, account: Option<AccountId>) -> Result<Self, Error> {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(|e| fault(path, e))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| fault(path, e))?;
        }
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.map_err(|e| fault(path, e))?;
        let second = account.map(|account| format!("{account}\n")).unwrap_or_default();
        write!(file, "{}\n{second}", Digest(*secret)).map_err(|e| fault(path, e))?;
        file.sync_all().map_err(|e| fault(path, e))?;
        let pair = Keypair::from_secret(&secret);
        let account = account.unwrap_or_else(|| pair.public().into());
        Ok(Self { pair: Arc::new(pair), account })
    }

    /// Reads the key file, or makes it when there is none.
    ///
    /// # Errors
    /// As [`KeyFile::load`] and [`KeyFile::create`].
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        if path.exists() { Self::load(path) } else { Self::create(path) }
    }

    /// This key, as one of `account`: its recovery key, which can do nothing but move it to a new key.
    #[must_use]
    pub fn speaking_for(self, account: AccountId) -> Self {
        Self { account, ..self }
    }

    /// The key pair.
    #[must_use]
    pub fn pair(&self) -> &Keypair {
        &self.pair
    }

    /// The account it signs for: the first key that its owner published.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The recovery key that belongs to this key: derived, so that one backup of the file keeps both.
    #[must_use]
    pub(crate) fn recovery(&self) -> Keypair {
        let secret = tallymill_protocol::digest_in_context("recovery", &[&self.pair.secret()[..]]);
        Keypair::from_secret(secret.as_bytes())
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
    fn the_next_key_of_an_account_remembers_the_account() {
        let folder = tempfile::tempdir().unwrap();
        let first = KeyFile::create(&folder.path().join("one.key")).unwrap();
        let path = folder.path().join("two.key");
        KeyFile::create_for(&path, first.account()).unwrap();
        let read = KeyFile::load(&path).unwrap();
        assert_eq!(read.account(), first.account());
        assert_ne!(read.pair().public(), first.pair().public());
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
