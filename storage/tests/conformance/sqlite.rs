//! What only SQLite can show: a full disk, values of the wrong type, files that are none, the lock of the file.

use sqlx::Connection;
use tallymill_engine::rows::{Batch, JobState};
use tallymill_protocol::{Digest, TaskIndex};
use tallymill_storage::{
    Blobs, CommitError, Commits, CorruptRow, Jobs, LoadError, OpenError, ReadError, SqliteStore,
    Tasks,
};

use crate::world::{
    Backend, Sql, Sqlite, account, blob, empty, everything, identity, job_id, replica,
};

async fn filled() -> (Sqlite, SqliteStore) {
    let world = Sqlite::new().await;
    let store = world.store().await;
    store.commit(&everything()).await.unwrap();
    (world, store)
}

#[tokio::test]
async fn a_probe_writes_each_time() {
    let (world, store) = filled().await;
    let log = world.path().with_extension("db-wal");
    let mut before = std::fs::read(&log).unwrap();
    for _ in 0..3 {
        store.probe().await.unwrap();
        let after = std::fs::read(&log).unwrap();
        assert!(after != before, "a disk that takes nothing must be found out");
        before = after;
    }
    store.commit(&empty(2)).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_a_batch_and_takes_it_later() {
    let (_world, store) = filled().await;
    let mut large = replica(5, 9, 20);
    large.receipt = vec![7; 4 << 20];
    let batch = Batch { replicas: vec![large.clone()], blobs: vec![blob(9)], ..empty(2) };
    store.limit_pages(Some(1)).await;
    assert!(matches!(store.commit(&batch).await, Err(CommitError::Full)));
    assert!(matches!(store.commit(&batch).await, Err(CommitError::Full)), "still full");
    assert_eq!(store.load().await.unwrap().sequence, 1);
    assert_eq!(store.blob(Digest([9; 32])).await.unwrap(), None);
    store.limit_pages(None).await;
    store.commit(&batch).await.unwrap();
    assert_eq!(store.replicas(job_id(5), TaskIndex(9)).await.unwrap(), [large]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let world = Sqlite(tempfile::tempdir().unwrap());
    std::fs::write(world.path(), vec![b'x'; 8192]).unwrap();
    let refused = SqliteStore::open(&world.path(), &identity()).await;
    assert!(matches!(refused.err(), Some(OpenError::Database { .. })));
    let missing = world.0.path().join("missing/tallymill.db");
    let refused = SqliteStore::open(&missing, &identity()).await.err().unwrap();
    assert!(refused.to_string().contains("missing/tallymill.db"), "{refused}");
}

#[tokio::test]
async fn a_commit_waits_for_the_lock_of_another_process_or_says_so() {
    let (world, store) = filled().await;
    let mut other = world.beside().await;
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let job = store.job(job_id(5)).await.unwrap();
    assert_eq!(job.map(|row| row.state), Some(JobState::Running), "reads do not wait");
    let next = empty(2);
    let commit = store.commit(&next);
    let release = async { lock.rollback().await.unwrap() };
    let (committed, ()) = tokio::join!(commit, release);
    committed.unwrap();
}

#[tokio::test]
async fn a_value_of_another_type_is_named() {
    let (world, store) = filled().await;
    world.change("UPDATE account SET rotations = 'many' WHERE status = 'waiting'").await;
    let Err(LoadError::Read(ReadError::Corrupt(found))) = store.load().await else {
        panic!("the load went well");
    };
    let key = account(1).id.to_string();
    assert_eq!(found, CorruptRow { table: "account", column: "rotations".to_owned(), key });
}
