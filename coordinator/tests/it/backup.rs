//! Backups made beside a running coordinator, and what is refused when one is put back.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tallymill_coordinator::Options;
use tallymill_coordinator::backup::{BackupError, MANIFEST, Manifest, Verified, back_up, restore};
use tallymill_protocol::Digest;
use tallymill_protocol::work::Verdict;
use tallymill_storage::DatabaseFile;

use crate::world::{World, network, receipt};

/// Where a coordinator keeps its files.
fn options(data: &Path) -> Options {
    Options::new("127.0.0.1:0".parse().unwrap(), data.to_owned(), network())
}

/// A backup of a coordinator that settled a task, and the folder it is in.
async fn backed_up(with_key: bool) -> (World, tempfile::TempDir, PathBuf, Manifest) {
    let world = World::start().await;
    let payer = world.person(2, 100).await;
    let host = world.host(9, &payer).await;
    let manifest = world.manifest(&payer, 2).await;
    world.submitted(&payer, &manifest).await;
    let token = world.lease(&host).await;
    let upload = host.upload(&token, &[receipt(&token.peek().unwrap(), b"1")], b"1");
    assert_eq!(world.report(&host, upload).await.verdicts.0, [Verdict::Settled as u8]);
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("backup");
    let made = back_up(&options(world.data()), &into, with_key).await.unwrap();
    (world, folder, into, made)
}

/// Changes rows of the backup's database, and says in its manifest that they were so.
async fn forge(backup: &Path, statement: &str) {
    let file = backup.join("tallymill.db");
    let options = SqliteConnectOptions::new().filename(&file);
    let mut database = options.connect().await.unwrap();
    let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await.unwrap();
    assert!(done.rows_affected() > 0, "{statement}");
    database.close().await.unwrap();
    let digest = Digest::of(&std::fs::read(&file).unwrap()).to_string();
    change(backup, |manifest| manifest.database = digest);
}

fn change(backup: &Path, change: impl FnOnce(&mut Manifest)) {
    let file = backup.join(MANIFEST);
    let mut manifest: Manifest =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    change(&mut manifest);
    std::fs::write(&file, serde_json::to_string(&manifest).unwrap()).unwrap();
}

/// What a restoration says; where it fails, nothing could start on it.
async fn refused(backup: &Path, verify: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let error = restore(backup, &options(&data), verify).await.unwrap_err();
    assert!(!data.join("tallymill.db").exists(), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_backup_holds_what_a_coordinator_goes_on_with() {
    let (world, folder, into, made) = backed_up(true).await;
    assert_eq!((made.format, made.key, made.log_entries, made.blobs), (1, true, 1, 1));
    let data = folder.path().join("data");
    let (read, verified) = restore(&into, &options(&data), true).await.unwrap();
    assert_eq!(read, made);
    let transfers = verified.unwrap().transfers;
    let expected = Verified { reports: 1, receipts: 1, transfers, collected: 0 };
    assert_eq!(verified, Some(expected));
    assert!(expected.transfers > 0);
    let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap());
    assert_eq!(mode(&into.join("coordinator.key")) & 0o777, 0o600);
    assert_eq!(mode(&into) & 0o777, 0o700);
    let notes = |folder: &Path| {
        let entries = std::fs::read_dir(folder.join("blobs/readers")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert!(!notes(&data).is_empty());
    assert_eq!(notes(&data), notes(world.data()));
    let key = world.handle.key;
    let again = tallymill_coordinator::start(options(&data)).await.unwrap();
    assert_eq!(again.key, key);
    let about =
        crate::world::client().get(format!("http://{}/readyz", again.addr)).send().await.unwrap();
    assert_eq!(about.status(), 200);
    again.shutdown().await.unwrap();
}

#[tokio::test]
async fn blobs_are_backed_up_from_the_folder_that_is_named_and_restored_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let [shared, into, data, elsewhere] =
        ["shared", "backup", "data", "elsewhere"].map(|name| folder.path().join(name));
    let world = World::start_with(|options| options.blobs.clone_from(&shared)).await;
    let payer = world.person(2, 100).await;
    let manifest = world.manifest(&payer, 2).await;
    world.submitted(&payer, &manifest).await;
    let module = manifest.module.to_string();
    assert!(shared.join(&module).exists() && !world.data().join("blobs").exists());
    let of = |data: &Path, blobs: &Path| Options { blobs: blobs.to_owned(), ..options(data) };
    let made = back_up(&of(world.data(), &shared), &into, true).await.unwrap();
    assert_eq!(made.blobs, 1);
    restore(&into, &of(&data, &elsewhere), true).await.unwrap();
    assert!(elsewhere.join(&module).exists() && !data.join("blobs").exists());
    assert!(elsewhere.join("readers").read_dir().unwrap().next().is_some());
}

/// What the coordinator of before still signs must not be taken for this one's.
#[tokio::test]
async fn what_is_restored_is_of_another_epoch_than_anything_before() {
    let (_world, folder, into, made) = backed_up(true).await;
    let data = folder.path().join("data");
    restore(&into, &options(&data), false).await.unwrap();
    let again = folder.path().join("again");
    let later = back_up(&options(&data), &again, true).await.unwrap();
    assert_eq!((later.epoch, later.sequence), (made.epoch + 1_000_000, made.sequence));
    assert_eq!(later.log_root, made.log_root);
}

#[tokio::test]
async fn what_is_there_already_stays() {
    let (world, folder, into, _) = backed_up(true).await;
    let here = options(world.data());
    let refused = back_up(&here, &into, true).await.unwrap_err();
    assert!(matches!(refused, BackupError::Taken { path } if path == into));
    let refused = restore(&into, &here, false).await.unwrap_err();
    assert!(matches!(refused, BackupError::Taken { path } if path.ends_with("tallymill.db")));
    let keyed = folder.path().join("keyed");
    std::fs::create_dir_all(&keyed).unwrap();
    std::fs::write(keyed.join("coordinator.key"), [1; 32]).unwrap();
    let refused = restore(&into, &options(&keyed), false).await.unwrap_err();
    assert!(matches!(refused, BackupError::Taken { path } if path.ends_with("coordinator.key")));
}

/// A log that was left behind belongs to another database, and would be applied to this one.
#[tokio::test]
async fn a_log_that_was_left_behind_is_not_taken_over() {
    let (_world, folder, into, _) = backed_up(true).await;
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("tallymill.db-wal"), b"left").unwrap();
    let refused = restore(&into, &options(&data), false).await.unwrap_err();
    assert!(matches!(refused, BackupError::Taken { path } if path.ends_with("tallymill.db-wal")));
    std::fs::remove_file(data.join("tallymill.db-wal")).unwrap();
    let half = data.join("tallymill.db.restoring-wal");
    std::fs::write(&half, b"left").unwrap();
    restore(&into, &options(&data), true).await.unwrap();
    assert!(!half.exists());
}

#[tokio::test]
async fn the_key_must_be_that_of_the_database() {
    let (world, folder, into, _) = backed_up(true).await;
    std::fs::write(into.join("coordinator.key"), [7; 32]).unwrap();
    assert!(refused(&into, false).await.contains("the coordinator whose key is in"));
    std::fs::write(into.join("coordinator.key"), [7; 31]).unwrap();
    assert!(refused(&into, false).await.contains("31 bytes"));
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("coordinator.key"), [7; 32]).unwrap();
    let mut mixed = options(&elsewhere);
    mixed.database = options(world.data()).database;
    let with_key = back_up(&mixed, &folder.path().join("mixed"), true).await.unwrap_err();
    // Blobs are looked for beside the key.
    assert!(matches!(with_key, BackupError::MissingBlob(_) | BackupError::Changed { .. }));
}

#[tokio::test]
async fn a_key_is_left_out_when_it_is_asked_for() {
    let (_world, folder, into, made) = backed_up(false).await;
    assert!(!made.key && !into.join("coordinator.key").exists());
    let data = folder.path().join("data");
    restore(&into, &options(&data), true).await.unwrap();
    assert!(!data.join("coordinator.key").exists());
}

#[tokio::test]
async fn a_restoration_that_was_broken_off_is_begun_again() {
    let (_world, folder, into, _) = backed_up(true).await;
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("blobs")).unwrap();
    std::fs::write(data.join("tallymill.db.restoring"), b"half").unwrap();
    std::fs::write(data.join("coordinator.key.restoring"), b"half").unwrap();
    let blob = std::fs::read_dir(into.join("blobs")).unwrap().flatten();
    for blob in blob.filter(|entry| entry.file_type().unwrap().is_file()) {
        std::fs::copy(blob.path(), data.join("blobs").join(blob.file_name())).unwrap();
        let unready = blob.file_name().into_string().unwrap() + ".tmp";
        std::fs::write(data.join("blobs").join(unready), b"half").unwrap();
    }
    restore(&into, &options(&data), true).await.unwrap();
    let names = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["blobs", "coordinator.key", "tallymill.db"]);
}

#[tokio::test]
async fn bytes_that_changed_are_refused() {
    let (_world, _folder, into, made) = backed_up(true).await;
    let blobs = std::fs::read_dir(into.join("blobs")).unwrap().flatten();
    let blob = blobs.map(|entry| entry.path()).find(|path| path.is_file()).unwrap();
    let bytes = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, b"other").unwrap();
    assert!(refused(&into, false).await.contains("the blob"));
    std::fs::remove_file(&blob).unwrap();
    assert!(refused(&into, false).await.contains("is missing"));
    std::fs::write(&blob, bytes).unwrap();
    change(&into, |manifest| manifest.log_root = "00".repeat(32));
    assert!(refused(&into, false).await.contains("the root of the log"));
    change(&into, |manifest| manifest.log_root.clone_from(&made.log_root));
    let mut database = std::fs::read(into.join("tallymill.db")).unwrap();
    *database.last_mut().unwrap() ^= 1;
    std::fs::write(into.join("tallymill.db"), database).unwrap();
    assert!(refused(&into, false).await.contains("the database is not what was backed up"));
}

#[tokio::test]
async fn a_folder_that_is_no_finished_backup_is_refused() {
    let (_world, folder, into, _) = backed_up(true).await;
    assert!(refused(folder.path(), false).await.contains("no finished backup"));
    change(&into, |manifest| manifest.format = 2);
    assert!(refused(&into, false).await.contains("format 2"));
    std::fs::write(into.join(MANIFEST), b"{}").unwrap();
    assert!(refused(&into, false).await.contains("no finished backup"));
}

/// Rows that were changed by who can also change the manifest: copied as they are, found when they are verified.
#[tokio::test]
async fn what_was_never_signed_or_paid_is_found() {
    for (statement, why) in [
        ("UPDATE balance SET amount = amount + 1 WHERE amount > 0", "sum to zero"),
        ("UPDATE report SET root = zeroblob(32)", "lack their reports"),
        (
            "UPDATE receipt_pack SET bytes = substr(bytes, 1, 60) || x'00' || substr(bytes, 62)",
            "have another root",
        ),
        ("DELETE FROM receipt_pack", "1 results lack what they stand on"),
        ("UPDATE replica SET host = (SELECT MIN(number) FROM host) + 1", "1 results lack what they stand on"),
        (
            "INSERT INTO replica (job, task, segment, host, state, report, position, lease, amount, relaxed)
             SELECT job, task + 1, segment, host, state, report, position, lease, amount, relaxed FROM replica",
            "1 receipts stand for several results",
        ),
        ("UPDATE replica SET lease = 77", "1 results lack what they stand on"),
        ("UPDATE log_entry SET id = id + 1", "1 entries of the log lack their reports"),
        ("DELETE FROM log_entry", "1 reports are not in the log"),
        ("UPDATE report SET sequence = 7", "another place among its host's reports"),
        (
            "UPDATE report SET envelope = substr(envelope, 1, length(envelope) - 1) || x'ff'",
            "signature",
        ),
        (
            "UPDATE lease_token SET envelope = substr(envelope, 1, length(envelope) - 1) || x'ff'",
            "its lease",
        ),
    ] {
        let (_world, _folder, into, _) = backed_up(true).await;
        forge(&into, statement).await;
        let mut file = DatabaseFile::open(&into.join("tallymill.db")).await.unwrap();
        let facts = file.facts().await.unwrap();
        file.close().await.unwrap();
        change(&into, |it| (it.log_entries, it.log_root) = (facts.entries, facts.root.to_string()));
        let said = refused(&into, true).await;
        assert!(said.contains("does not hold") && said.contains(why), "{statement}: {said}");
    }
}

#[tokio::test]
async fn a_server_is_not_copied_from_here() {
    let mut options = options(Path::new("unused"));
    options.database = "postgres://m@127.0.0.1:1/mill".parse().unwrap();
    let refused = back_up(&options, Path::new("unused"), true).await.unwrap_err();
    assert!(refused.to_string().contains("pg_dump"), "{refused}");
    let refused = restore(Path::new("unused"), &options, true).await.unwrap_err();
    assert!(refused.to_string().contains("pg_dump"), "{refused}");
}
