//! Files of a backup: copied whole, known by their digests, synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tallymill_protocol::{CoordinatorId, Digest, Keypair};

use super::{BackupError, FORMAT, MANIFEST, Manifest, failed};

/// Notes about readers, in the folder of blobs.
const READERS: &str = "readers";
/// Bytes read at once.
const PART: usize = 1 << 20;

/// What was copied.
pub(super) struct Copied {
    pub(super) digest: Digest,
    bytes: u64,
}

/// How many blobs were copied.
#[derive(Default)]
pub(super) struct Blobs {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

/// Copies a file to a place where none is, and syncs it.
pub(super) fn copy_file(from: &Path, to: &Path) -> Result<Copied, BackupError> {
    let mut source = File::open(from).map_err(failed("read", from))?;
    let fresh = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut target = fresh.map_err(failed("write", to))?;
    let copied =
        digest(&mut source, |part| target.write_all(part)).map_err(failed("copy", from))?;
    target.sync_all().map_err(failed("sync", to))?;
    Ok(copied)
}

/// The digest of a file's bytes, each part of which is handed over.
fn digest(source: &mut File, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Copied> {
    let (mut hasher, mut bytes, mut part) = (blake3::Hasher::new(), 0, vec![0; PART]);
    loop {
        let length = source.read(&mut part)?;
        if length == 0 {
            return Ok(Copied { digest: Digest(*hasher.finalize().as_bytes()), bytes });
        }
        hasher.update(&part[..length]);
        take(&part[..length])?;
        bytes += length as u64;
    }
}

/// Syncs a file and says its digest.
pub(super) fn sync(path: &Path) -> Result<Digest, BackupError> {
    let mut file = File::open(path).map_err(failed("read", path))?;
    file.sync_all().map_err(failed("sync", path))?;
    digest(&mut file, |_| Ok(())).map(|copied| copied.digest).map_err(failed("read", path))
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

/// The blobs in a folder by their names; none where there is no folder.
pub(super) fn read_names(folder: &Path) -> Result<Vec<(Digest, u64)>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("read", folder))?;
        let length = entry.metadata().map_err(failed("read", folder))?.len();
        let name = entry.file_name();
        names.extend(name.to_str().and_then(|name| name.parse().ok()).map(|name| (name, length)));
    }
    Ok(names)
}

/// Copies blobs, each of which must have the bytes that its name says.
pub(super) fn copy_blobs(
    from: &Path,
    to: &Path,
    named: &[(Digest, u64)],
) -> Result<Blobs, BackupError> {
    fs::create_dir_all(to).map_err(failed("make", to))?;
    let mut blobs = Blobs::default();
    for (name, _) in named {
        let (source, target) = (from.join(name.to_string()), to.join(name.to_string()));
        if !source.exists() {
            return Err(BackupError::MissingBlob(*name));
        }
        let unready = to.join(format!("{name}.tmp"));
        super::remove(&unready)?;
        let copied = copy_file(&source, &unready)?;
        if copied.digest != *name {
            let (what, found) = (format!("the blob {name}"), copied.digest.to_string());
            return Err(BackupError::Changed { what, found, expected: name.to_string() });
        }
        fs::rename(&unready, &target).map_err(failed("rename", &unready))?;
        blobs.count += 1;
        blobs.bytes += copied.bytes;
    }
    sync_folder(to)?;
    Ok(blobs)
}

/// Whether every blob that a database names is there.
pub(super) fn all_there(folder: &Path, named: &[(Digest, u64)]) -> Result<(), BackupError> {
    let missing = named.iter().find(|(name, _)| !folder.join(name.to_string()).exists());
    missing.map_or(Ok(()), |(name, _)| Err(BackupError::MissingBlob(*name)))
}

/// Copies the notes about who may read a blob: empty files, whose names are all that counts.
pub(super) fn copy_readers(from: &Path, to: &Path) -> Result<(), BackupError> {
    let (from, to) = (from.join(READERS), to.join(READERS));
    let entries = match fs::read_dir(&from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("read", &from))?,
    };
    fs::create_dir_all(&to).map_err(failed("make", &to))?;
    for entry in entries {
        let note = to.join(entry.map_err(failed("read", &from))?.file_name());
        File::create(&note).map_err(failed("write", &note))?;
    }
    sync_folder(&to)
}

/// The coordinator that signs with a key.
fn owner_of(key: &Path) -> Result<String, BackupError> {
    let secret = fs::read(key).map_err(failed("read", key))?;
    let secret: [u8; 32] = secret.as_slice().try_into().map_err(|_| BackupError::Changed {
        what: "the key".to_owned(),
        found: format!("{} bytes", secret.len()),
        expected: "32".to_owned(),
    })?;
    Ok(CoordinatorId::from(Keypair::from_secret(&secret).public()).to_string())
}

/// Whether a key is that of this coordinator.
pub(super) fn is_key_of(key: &Path, coordinator: &str) -> Result<(), BackupError> {
    let found = owner_of(key)?;
    if found == coordinator {
        return Ok(());
    }
    let what = format!("the coordinator whose key is in {}", key.display());
    Err(BackupError::Changed { what, found, expected: coordinator.to_owned() })
}

/// Copies the key of this coordinator, for its owner alone.
pub(super) fn copy_key(from: &Path, to: &Path, coordinator: &str) -> Result<(), BackupError> {
    is_key_of(from, coordinator)?;
    copy_file(from, to).map(drop)
}

/// Writes what makes a folder a backup.
pub(super) fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let (path, unready) = (folder.join(MANIFEST), folder.join("backup.tmp"));
    let text = serde_json::to_string_pretty(manifest).map_err(io::Error::from);
    let text = text.map_err(failed("write", &path))?;
    fs::write(&unready, text + "\n").map_err(failed("write", &unready))?;
    sync(&unready)?;
    fs::rename(&unready, &path).map_err(failed("rename", &unready))?;
    sync_folder(folder)
}

/// What a backup says of itself.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest, BackupError> {
    let unfinished = |reason: String| BackupError::Unfinished { path: folder.to_owned(), reason };
    let text = fs::read_to_string(folder.join(MANIFEST)).map_err(|e| unfinished(e.to_string()))?;
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| unfinished(error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(unfinished(format!("format {}; this program reads {FORMAT}", manifest.format)));
    }
    Ok(manifest)
}
