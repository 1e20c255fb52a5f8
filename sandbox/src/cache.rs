//! Compiled modules on disk.
//!
//! An entry is native code, so only what this machine wrote is ever loaded: every entry begins with a keyed BLAKE3 digest over its
//! name and all that follows, under a key that stands beside the cache in a file of mode 0600. An entry's name is the digest of
//! everything that its content depends on and that is known before compiling; the digest of the metered module, which follows from
//! those, stands in the entry. A damaged, foreign or old entry is as good as none. Entries are written under another name and renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tallymill_meter::ModuleInfo;
use tallymill_protocol::cbor::{Decoder, Encoder, Field as _};
use tallymill_protocol::{DecodeError, Digest};

use crate::engine::{Engine, EngineError};
use crate::prepare::{MAX_ARTEFACT, Prepared};
use crate::profile::versions;
use crate::wire;

/// Bytes of the authenticator at the start of an entry.
const MAC: usize = 32;
/// Name of the key's file.
const KEY: &str = "key";
/// What entries' names end with.
const SUFFIX: &str = ".module";

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file or directory of it.
    #[error("the cache of compiled modules at {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The engine whose settings entries depend on.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A directory of compiled modules, of a bounded size.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    key: [u8; 32],
    fingerprint: [u8; 32],
    quota: u64,
    written: AtomicU64,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    |source| CacheError::Io { path, source }
}

impl Cache {
    /// Opens the cache in `directory`, which is made if need be, and keeps it within `quota` bytes.
    ///
    /// # Errors
    /// When directory or key can be neither read nor made.
    pub fn open(directory: impl Into<PathBuf>, quota: u64) -> Result<Self, CacheError> {
        let directory = directory.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(at(&directory))?;
        let path = directory.join(KEY);
        let key = match read_key(&path).map_err(at(&path))? {
            Some(key) => key,
            None => make_key(&path).map_err(at(&path))?,
        };
        let fingerprint = Engine::compiler()?.fingerprint();
        Ok(Self { directory, key, fingerprint, quota, written: AtomicU64::new(0) })
    }

    /// The compiled form of a module, if it is here and intact.
    #[must_use]
    pub fn get(&self, original: Digest) -> Option<Prepared> {
        let name = self.name(original);
        let path = self.directory.join(&name);
        let mut file = File::open(&path).ok()?;
        let mut bytes = Vec::new();
        (&mut file).take(MAX_ARTEFACT).read_to_end(&mut bytes).ok()?;
        let prepared = self.parse(&name, original, &bytes);
        if prepared.is_none() {
            tracing::warn!(module = %original, "cache.entry is damaged or of another machine: compiling again");
            // If it cannot be removed, it will be overwritten.
            let _ = fs::remove_file(&path);
        } else {
            // The time of last use decides what the quota removes; a read-only cache works without.
            let _ = file.set_modified(SystemTime::now());
        }
        prepared
    }

    fn parse(&self, name: &str, original: Digest, bytes: &[u8]) -> Option<Prepared> {
        let (mac, rest) = bytes.split_first_chunk::<MAC>()?;
        // The comparison of two such digests takes the same time whatever they are.
        if blake3::Hash::from(*mac) != self.authenticator(name, rest) {
            return None;
        }
        let (metered, info, artefact) =
            parse_entry(rest, |metered| self.entry_key(original, metered)).ok()?;
        Prepared::new(original, metered, info, artefact).ok()
    }

    /// Keeps the compiled form of a module and removes what was not used for longest, down to the quota.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(
        &self,
        original: Digest,
        metered: Digest,
        info: &ModuleInfo,
        artefact: &[u8],
    ) -> Result<(), CacheError> {
        let name = self.name(original);
        let mut e = Encoder::default();
        e.bytes(&self.entry_key(original, metered));
        metered.encode(&mut e);
        wire::put_info(info, &mut e);
        e.bytes(artefact);
        let rest = e.finish();
        let mac = self.authenticator(&name, &rest);
        self.write(&name, &[mac.as_bytes(), &rest])?;
        self.trim(&name).map_err(at(&self.directory))
    }

    fn write(&self, name: &str, parts: &[&[u8]]) -> Result<(), CacheError> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!("{name}.{}.{number}.tmp", std::process::id()));
        let path = self.directory.join(name);
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            parts.iter().try_for_each(|part| file.write_all(part))?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| {
            // What was written of it is of no use.
            let _ = fs::remove_file(&temporary);
            CacheError::Io { path: path.clone(), source }
        })
    }

    /// Removes the entries not used for longest until the quota holds; `newest` stays.
    fn trim(&self, newest: &str) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(SUFFIX) {
                let data = entry.metadata()?;
                entries.push((name == newest, data.modified()?, data.len(), entry.path()));
            }
        }
        entries.sort();
        let mut used: u64 = entries.iter().map(|entry| entry.2).sum();
        for (_, _, length, path) in entries.iter().filter(|entry| !entry.0) {
            if used <= self.quota {
                break;
            }
            // Another process may have removed it first.
            let _ = fs::remove_file(path);
            used -= length;
        }
        Ok(())
    }

    /// The name of the entry for a module.
    fn name(&self, original: Digest) -> String {
        let digest = blake3::Hash::from(self.entry_key(original, Digest::ZERO));
        format!("{}{SUFFIX}", digest.to_hex())
    }

    fn entry_key(&self, original: Digest, metered: Digest) -> [u8; 32] {
        let versions = versions();
        let mut hasher = blake3::Hasher::new();
        for part in
            [original.as_bytes(), metered.as_bytes(), versions.costs.as_bytes(), &self.fingerprint]
        {
            hasher.update(part);
        }
        hasher.update(&versions.meter.to_be_bytes()).update(&versions.profile.to_be_bytes());
        *hasher.finalize().as_bytes()
    }

    fn authenticator(&self, name: &str, rest: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(name.as_bytes()).update(rest).finalize()
    }
}

fn parse_entry(
    rest: &[u8],
    key: impl FnOnce(Digest) -> [u8; 32],
) -> Result<(Digest, ModuleInfo, &[u8]), DecodeError> {
    let mut d = Decoder::new(rest);
    let stated = d.bytes_exact::<32>()?;
    let metered = Digest::decode(&mut d)?;
    if stated != key(metered) {
        return Err(d.invalid("the entry is of another module, meter or engine"));
    }
    let info = wire::info(&mut d)?;
    let artefact = d.bytes(usize::MAX)?;
    d.end()?;
    Ok((metered, info, artefact))
}

/// The key, if there is one that only this user can read.
fn read_key(path: &Path) -> io::Result<Option<[u8; 32]>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "others can read it; set its mode to 0600",
        ));
    }
    let mut key = [0; 32];
    file.read_exact(&mut key)?;
    Ok(Some(key))
}

/// Makes a key; if another process was first, its key counts.
fn make_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?
        .write_all(&key)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read_key(path)?.ok_or_else(|| io::Error::other("the key was removed just now"))
        }
        Err(error) => Err(error),
    }
}
