//! Backups of a coordinator on SQLite, made while it runs, and what becomes of them.
//!
//! A backup is a folder: the database as it was after one commit, every blob under its digest, the notes about readers, the
//! coordinator's key, and `backup.json`, written last, which says what they are. A backup without that file is none.

mod copy;
mod verify;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tallymill_protocol::Digest;
use tallymill_storage::{DatabaseFile, Facts, OpenError, Place, ReadError};

use crate::clock::now;
use crate::keys::KEY_FILE;
use crate::options::Options;
use crate::turn;
use copy::{Copied, copy_blobs, copy_file, copy_key, copy_readers, read_names, sync};
pub use verify::Verified;

/// Name of the file that says what a backup holds.
pub const MANIFEST: &str = "backup.json";
/// The database in a backup.
const DATABASE: &str = "tallymill.db";
/// The blobs in a backup.
const BLOBS: &str = "blobs";
/// The format of backups.
const FORMAT: u32 = 1;
/// Epochs between the state of a backup and what is made of it: whatever its coordinator did after the backup, in so many
/// starts, is of another epoch.
const LEAP: u32 = 1_000_000;

/// Why a backup is not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The system does not read or write a file.
    #[error("failed to {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The database is on a server.
    #[error(
        "a database on a server is backed up with its own tools (pg_dump); key and blobs are in the data directory"
    )]
    Server,
    /// The database cannot be opened.
    #[error("failed to open the database")]
    Open(#[from] OpenError),
    /// The database cannot be read or copied.
    #[error("failed to read the database")]
    Read(#[from] ReadError),
    /// The place is taken.
    #[error("{path} is there already: choose another place")]
    Taken {
        /// The file or folder.
        path: PathBuf,
    },
    /// No finished backup.
    #[error("{path} is no finished backup: it has no {MANIFEST} that can be read ({reason})")]
    Unfinished {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes are others than they were.
    #[error("{what} is not what was backed up: {found} instead of {expected}")]
    Changed {
        /// What.
        what: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A blob that the database names is not there.
    #[error("the blob {0}, which the database names, is missing")]
    MissingBlob(Digest),
    /// Something in the database does not hold.
    #[error("the backup does not hold: {0}")]
    Untrue(String),
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of the backup: 1.
    pub format: u32,
    /// When it was begun, µs since 1970.
    pub taken: u64,
    /// Name of the network.
    pub network: String,
    /// Whose it is.
    pub coordinator: String,
    /// Schema of the database.
    pub schema: u64,
    /// Epoch of the owner.
    pub epoch: u64,
    /// Position of the last commit in it.
    pub sequence: u64,
    /// Entries of the log.
    pub log_entries: u64,
    /// Merkle root over them.
    pub log_root: String,
    /// Digest of the database file.
    pub database: String,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of blobs.
    pub blob_bytes: u64,
    /// Whether the coordinator's key is in it.
    pub key: bool,
}

impl Manifest {
    /// What the database says, as the manifest would say it.
    fn states(facts: &Facts) -> [String; 5] {
        let Facts { network, coordinator, sequence, entries, root, .. } = facts;
        [
            network,
            &coordinator.to_string(),
            &sequence.to_string(),
            &entries.to_string(),
            &root.to_string(),
        ]
        .map(String::clone)
    }

    fn stated(&self) -> [String; 5] {
        let numbers = [self.sequence, self.log_entries].map(|number| number.to_string());
        let [sequence, entries] = numbers;
        [self.network.clone(), self.coordinator.clone(), sequence, entries, self.log_root.clone()]
    }

    /// Whether a database is the one that was backed up, in the same state.
    fn matches(&self, facts: &Facts) -> Result<(), BackupError> {
        let names =
            ["the network", "the coordinator", "the last commit", "the log", "the root of the log"];
        for ((what, found), expected) in names.iter().zip(Self::states(facts)).zip(self.stated()) {
            if found != expected {
                return Err(BackupError::Changed { what: (*what).to_owned(), found, expected });
            }
        }
        Ok(())
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { action, path, source }
}

const fn file_of(place: &Place) -> Result<&PathBuf, BackupError> {
    match place {
        Place::File(file) => Ok(file),
        Place::Server(_) => Err(BackupError::Server),
    }
}

/// Work on files, on a thread that may wait for them.
async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(BackupError::Untrue(error.to_string())))
}

/// Backs up a coordinator, which may run meanwhile, into a folder that is not there yet.
///
/// Blobs are written before any row names them, never change, and none goes while a backup is made, so those that the copied
/// database names are all there afterwards.
///
/// # Errors
/// When something cannot be read or written, a blob's bytes are others than its name says, or one is missing.
pub async fn back_up(
    options: &Options,
    into: &Path,
    with_key: bool,
) -> Result<Manifest, BackupError> {
    let taken = now().0;
    let mut source = DatabaseFile::open(file_of(&options.database)?).await?;
    if into.exists() {
        return Err(BackupError::Taken { path: into.to_owned() });
    }
    // What is private in the database stays so.
    let folder = DirBuilder::new().recursive(true).mode(0o700).create(into);
    folder.map_err(failed("make", into))?;
    // What the copied database names stays until it is copied too.
    let data = options.data.clone();
    let turn = waiting(move || turn::to_copy(&data).map_err(failed("lock the blobs in", &data)));
    let turn = turn.await?;
    let copy = into.join(DATABASE);
    source.copy(&copy).await?;
    source.close().await?;
    let mut copied = DatabaseFile::open(&copy).await?;
    let (facts, named) = (copied.facts().await?, copied.blobs().await?);
    copied.close().await?;
    let (data, blobs) = (options.data.clone(), options.blobs.clone());
    let folder = into.to_owned();
    let made = waiting(move || {
        let digest = sync(&copy)?;
        let copied = copy_blobs(&blobs, &folder.join(BLOBS), &named)?;
        copy_readers(&blobs, &folder.join(BLOBS))?;
        if with_key {
            let coordinator = facts.coordinator.to_string();
            copy_key(&data.join(KEY_FILE), &folder.join(KEY_FILE), &coordinator)?;
        }
        let manifest = Manifest {
            format: FORMAT,
            taken,
            network: facts.network,
            coordinator: facts.coordinator.to_string(),
            schema: facts.schema,
            epoch: facts.epoch,
            sequence: facts.sequence,
            log_entries: facts.entries,
            log_root: facts.root.to_string(),
            database: digest.to_string(),
            blobs: copied.count,
            blob_bytes: copied.bytes,
            key: with_key,
        };
        copy::write_manifest(&folder, &manifest)?;
        Ok(manifest)
    });
    let made = made.await;
    drop(turn);
    made
}

/// Puts a backup into a data directory in which no coordinator was. With `verify`, everything in it that was ever signed or
/// counted is checked before a coordinator could start on it.
///
/// # Errors
/// When a coordinator was there, the backup is unfinished or not what it was, or something in it does not hold. What was
/// copied so far stays, but no database under its name.
pub async fn restore(
    from: &Path,
    options: &Options,
    verify: bool,
) -> Result<(Manifest, Option<Verified>), BackupError> {
    let (data, file) = (&options.data, file_of(&options.database)?.clone());
    // A log that a database left behind would be taken for the new one's.
    let mut places = with_logs(&file).into_iter().chain([data.join(KEY_FILE)]);
    if let Some(path) = places.find(|path| path.exists()) {
        return Err(BackupError::Taken { path });
    }
    let manifest = copy::read_manifest(from)?;
    if manifest.key {
        copy::is_key_of(&from.join(KEY_FILE), &manifest.coordinator)?;
    }
    let unready = file.with_extension("db.restoring");
    copy_in(from, options, &unready, &manifest).await?;
    let mut restored = DatabaseFile::open(&unready).await?;
    restored.upgrade().await?;
    let facts = restored.facts().await?;
    manifest.matches(&facts)?;
    let named = restored.blobs().await?;
    copy::all_there(&options.blobs, &named)?;
    let verified = match verify {
        true => {
            let grants = options.grants(facts.coordinator);
            Some(verify::all(&mut restored, grants, &manifest).await?)
        }
        false => None,
    };
    restored.leap(LEAP).await?;
    restored.close().await?;
    finish(from, data, (&unready, &file), &manifest).await?;
    Ok((manifest, verified))
}

/// Copies everything but the key; the database under a name with which nothing starts.
async fn copy_in(
    from: &Path,
    options: &Options,
    unready: &Path,
    manifest: &Manifest,
) -> Result<(), BackupError> {
    let (source, unready) = (from.to_owned(), unready.to_owned());
    let (data, blobs) = (options.data.clone(), options.blobs.clone());
    let expected = manifest.database.clone();
    waiting(move || {
        fs::create_dir_all(&data).map_err(failed("make", &data))?;
        with_logs(&unready).iter().try_for_each(|path| remove(path))?;
        let Copied { digest, .. } = copy_file(&source.join(DATABASE), &unready)?;
        let found = digest.to_string();
        if found != expected {
            let what = "the database".to_owned();
            return Err(BackupError::Changed { what, found, expected });
        }
        let named = read_names(&source.join(BLOBS))?;
        copy_blobs(&source.join(BLOBS), &blobs, &named)?;
        copy_readers(&source.join(BLOBS), &blobs)
    })
    .await
}

/// Gives the database its name, then the key: with that alone a coordinator would begin from nothing in the name of this one.
/// Both are there under other names before, so that little can come between.
async fn finish(
    from: &Path,
    data: &Path,
    (unready, file): (&Path, &Path),
    manifest: &Manifest,
) -> Result<(), BackupError> {
    let (source, key) = (from.join(KEY_FILE), data.join(KEY_FILE));
    let (unready, file) = (unready.to_owned(), file.to_owned());
    let (has_key, coordinator) = (manifest.key, manifest.coordinator.clone());
    waiting(move || {
        let waits = key.with_extension("key.restoring");
        if has_key {
            remove(&waits)?;
            copy_key(&source, &waits, &coordinator)?;
        }
        sync(&unready)?;
        rename(&unready, &file)?;
        if has_key {
            rename(&waits, &key)?;
        }
        Ok(())
    })
    .await
}

/// Gives a file its name, and makes that durable.
fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::rename(from, to).map_err(failed("rename", from))?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    copy::sync_folder(folder.unwrap_or(Path::new(".")))
}

/// A database file and what stands beside it while it is in use.
fn with_logs(file: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

fn remove(file: &Path) -> Result<(), BackupError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", file)(error)),
        _ => Ok(()),
    }
}
