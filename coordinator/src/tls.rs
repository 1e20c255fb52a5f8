//! The coordinator's certificate: files that whoever renews it writes, read again when they change.
//!
//! Nothing watches the files: a connection looks at them when nobody has for a second. What is there is taken once
//! certificate and key go together; until then the ones before go on, so a renewal may write them one after the other.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;

use crate::options::TlsFiles;

/// Shortest time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);
/// Longest file, bytes: chains are some thousands.
const MAX_FILE: u64 = 1 << 20;
/// First byte of what a client says that wants TLS: a handshake record.
pub const HANDSHAKE: u8 = 22;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("the file {path} cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others can read the key.
    #[error("the key file {path} has mode {mode:03o}; make it 600: only its owner may read it")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file holds something else.
    #[error("the file {path} holds no {what} in PEM that can be read: {reason}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// They cannot be used together.
    #[error("the certificate in {cert} and the key in {key} cannot be used: {reason}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the library says.
        reason: rustls::Error,
    },
}

/// What tells one state of the two files from another; `None` for one that is not there.
type Stamp = [Option<(u64, u64, i64, i64, i64)>; 2];

fn stamp(files: &TlsFiles) -> Stamp {
    // The change time too: a key that gets another mode is the same key, written at the same time.
    [&files.cert, &files.key].map(|path| {
        let it = fs::metadata(path).ok()?;
        Some((it.ino(), it.size(), it.mtime_nsec() ^ it.mtime(), it.ctime(), it.ctime_nsec()))
    })
}

struct Held {
    config: Arc<ServerConfig>,
    stamp: Stamp,
    looked: Instant,
}

/// The certificate as it is now.
pub struct Tls {
    files: TlsFiles,
    held: Mutex<Held>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, others can read the key, or the two cannot be used.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is seen at the next look.
        let stamp = stamp(&files);
        let held = Held { config: load(&files)?, stamp, looked: Instant::now() };
        Ok(Self { files, held: Mutex::new(held) })
    }

    /// What a connection that comes now is met with.
    pub fn config(&self) -> Arc<ServerConfig> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.looked.elapsed() >= LOOK {
            held.looked = Instant::now();
            self.look(&mut held);
        }
        Arc::clone(&held.config)
    }

    fn look(&self, held: &mut Held) {
        let stamp = stamp(&self.files);
        if stamp == held.stamp {
            return;
        }
        held.stamp = stamp;
        match load(&self.files) {
            Ok(config) => {
                held.config = config;
                tracing::info!(cert = %self.files.cert.display(), "the certificate was read again");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the certificate before this one stays in use");
            }
        }
    }
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let (cert, _) = read(&files.cert)?;
    let chain = CertificateDer::pem_slice_iter(&cert).collect::<Result<Vec<_>, _>>();
    let pem = |path: &Path, what, reason: String| {
        Err(TlsError::Pem { path: path.to_owned(), what, reason })
    };
    let chain = match chain {
        Ok(chain) if !chain.is_empty() => chain,
        Ok(_) => return pem(&files.cert, "certificate", "no BEGIN CERTIFICATE".to_owned()),
        Err(error) => return pem(&files.cert, "certificate", error.to_string()),
    };
    let (bytes, mode) = read(&files.key)?;
    if mode & 0o077 != 0 {
        return Err(TlsError::Mode { path: files.key.clone(), mode });
    }
    let key = match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => key,
        Err(error) => {
            return pem(&files.key, "private key (without a password)", error.to_string());
        }
    };
    let config = configured(chain, key).map_err(|reason| TlsError::Pair {
        cert: files.cert.clone(),
        key: files.key.clone(),
        reason,
    })?;
    Ok(Arc::new(config))
}

/// Bytes and permission bits of a file.
fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let read = || {
        let file = fs::File::open(path)?;
        let mode = file.metadata()?.mode() & 0o777;
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok((bytes, mode))
    };
    read().map_err(|source| TlsError::Io { path: path.to_owned(), source })
}

fn configured(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = config.with_single_cert(chain, key)?;
    // What this server speaks below TLS; see `connections`.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Hosts that come back need no new key exchange, and nothing is kept for them here.
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn pair() -> [String; 2] {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["mill.example".to_owned()]).unwrap();
        [cert.pem(), signing_key.serialize_pem()]
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new([cert, key]: &[String; 2]) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.write("cert.pem", cert);
            folder.write("key.pem", key);
            folder
        }

        /// As tools that renew certificates do: the new file takes the place of the old one.
        fn write(&self, name: &str, text: &str) {
            let (new, path) = (self.0.path().join("new"), self.0.path().join(name));
            fs::write(&new, text).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
            fs::rename(new, path).unwrap();
        }

        fn open(&self) -> Result<Tls, TlsError> {
            let path = |name| self.0.path().join(name);
            Tls::open(TlsFiles { cert: path("cert.pem"), key: path("key.pem") })
        }

        #[track_caller]
        fn refused(&self) -> String {
            self.open().err().unwrap().to_string()
        }
    }

    fn again(tls: &Tls) -> Arc<ServerConfig> {
        let mut held = tls.held.lock().unwrap();
        tls.look(&mut held);
        Arc::clone(&held.config)
    }

    #[test]
    fn files_that_change_are_read_again_once_they_go_together() {
        let (first, second) = (pair(), pair());
        let folder = Folder::new(&first);
        let tls = folder.open().unwrap();
        let before = again(&tls);
        assert!(Arc::ptr_eq(&before, &again(&tls)), "nothing changed");
        folder.write("cert.pem", &second[0]);
        assert!(Arc::ptr_eq(&before, &again(&tls)), "half of a renewal");
        folder.write("key.pem", &second[1]);
        let after = again(&tls);
        assert!(!Arc::ptr_eq(&before, &after), "the renewal");
        fs::remove_file(folder.0.path().join("key.pem")).unwrap();
        assert!(Arc::ptr_eq(&after, &again(&tls)), "a key that is gone is not missed");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_until_they_cannot() {
        let folder = Folder::new(&pair());
        let mode = |mode| {
            let path = folder.0.path().join("key.pem");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let tls = folder.open().unwrap();
        let before = again(&tls);
        mode(0o640);
        assert!(folder.refused().contains("mode 640; make it 600"), "{}", folder.refused());
        assert!(Arc::ptr_eq(&before, &again(&tls)));
        mode(0o600);
        assert!(!Arc::ptr_eq(&before, &again(&tls)), "another mode is a change");
    }

    #[test]
    fn files_that_are_no_pair_are_refused_by_name() {
        let (first, second) = (pair(), pair());
        let folder = Folder::new(&[first[0].clone(), second[1].clone()]);
        assert!(folder.refused().contains("cannot be used: "), "{}", folder.refused());
        folder.write("cert.pem", &first[1]);
        assert!(folder.refused().contains("no certificate in PEM"), "{}", folder.refused());
        folder.write("cert.pem", &first[0]);
        folder.write("key.pem", &first[0]);
        assert!(folder.refused().contains("no private key"), "{}", folder.refused());
        fs::remove_file(folder.0.path().join("key.pem")).unwrap();
        assert!(folder.refused().contains("key.pem cannot be read"), "{}", folder.refused());
    }
}
