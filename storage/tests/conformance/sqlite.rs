//! What only SQLite can show: a full disk, corrupt rows, newer schemas, numbers that columns do not hold.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tallymill_engine::rows::{Batch, BlobRow, JobState};
use tallymill_protocol::{Digest, TaskIndex};
use tallymill_storage::{
    Accounts, Blobs, CommitError, Commits, CorruptRow, Jobs, LoadError, OpenError, ReadError,
    Reports, SqliteStore, Tasks,
};

use crate::world::{Backend, Sqlite, blob, empty, everything, identity, job_id, owner, replica};

/// A connection beside the store, to do what no store does.
async fn beside(world: &Sqlite) -> SqliteConnection {
    SqliteConnectOptions::new().filename(world.path()).connect().await.unwrap()
}

async fn filled() -> (Sqlite, SqliteStore) {
    let world = Sqlite::new().await;
    let store = world.store().await;
    store.commit(&everything()).await.unwrap();
    (world, store)
}

async fn change(world: &Sqlite, sql: &'static str) {
    let mut connection = beside(world).await;
    let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
    assert!(done.rows_affected() > 0, "{sql}");
    connection.close().await.unwrap();
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
async fn a_corrupt_row_is_named() {
    let hex = |n: u8| format!("{n:02x}").repeat(32);
    let corrupt =
        |table, column: &str, key: String| CorruptRow { table, column: column.to_owned(), key };
    let cases = [
        (
            "UPDATE host SET settled = -1 WHERE owner = x'0101010101010101010101010101010101010101010101010101010101010101'",
            corrupt("host", "settled", hex(20)),
        ),
        (
            "UPDATE account SET current_key = x'00' WHERE id = x'0101010101010101010101010101010101010101010101010101010101010101'",
            corrupt("account", "current_key", hex(1)),
        ),
        (
            "UPDATE account SET rotations = 'many' WHERE id = x'0101010101010101010101010101010101010101010101010101010101010101'",
            corrupt("account", "rotations", hex(1)),
        ),
        ("UPDATE job SET envelope = x'00'", corrupt("job", "envelope", hex(5))),
        (
            "UPDATE job_page SET states = x'00'",
            corrupt("job_page", "states", format!("{} 0", hex(5))),
        ),
        (
            "UPDATE ledger_account SET job = NULL WHERE kind = 'escrow'",
            corrupt("ledger_account", "kind", String::new()),
        ),
        ("UPDATE lease SET near = x'00'", corrupt("lease", "near", "14".repeat(16))),
        (
            "UPDATE replica SET near = x'00' WHERE host = x'1515151515151515151515151515151515151515151515151515151515151515'",
            corrupt("replica", "near", format!("{} 0 0 {}", hex(5), hex(21))),
        ),
        (
            "UPDATE meta SET value = x'00' WHERE name = 'sequence'",
            corrupt("meta", "value", "sequence".to_owned()),
        ),
    ];
    for (sql, mut expected) in cases {
        let (world, store) = filled().await;
        change(&world, sql).await;
        let Err(LoadError::Read(ReadError::Corrupt(found))) = store.load().await else {
            panic!("{sql}: the load went well");
        };
        if expected.key.is_empty() {
            expected.key.clone_from(&found.key);
        }
        assert_eq!(found, expected, "{sql}");
    }
}

#[tokio::test]
async fn corrupt_rows_are_named_by_reads() {
    let (world, store) = filled().await;
    change(&world, "UPDATE task SET outcome = 1, code = 200").await;
    change(&world, "DELETE FROM lease_token").await;
    let Err(ReadError::Corrupt(found)) = store.task(job_id(5), TaskIndex(0)).await else {
        panic!("the task was read");
    };
    assert_eq!((found.table, found.column.as_str()), ("task", "outcome"));
    let Err(ReadError::Corrupt(found)) = store.report(Digest([20; 32])).await else {
        panic!("the report was read");
    };
    assert_eq!((found.table, found.column.as_str()), ("lease_token", "digest"));
    assert!(found.to_string().contains("lease_token") && found.to_string().contains(&found.key));
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (world, store) = filled().await;
    store.close().await;
    change(&world, "INSERT INTO schema_version (version) VALUES (99)").await;
    let refused = SqliteStore::open(&world.path(), &identity()).await;
    assert!(matches!(refused.err(), Some(OpenError::Newer { found: 99, known: 5 })));
    change(&world, "DELETE FROM schema_version WHERE version = 99").await;
    let store = world.store().await;
    assert_eq!(store.account(owner(1)).await.unwrap(), Some(everything().accounts[0].clone()));
}

#[tokio::test]
async fn numbers_beyond_a_column_are_refused() {
    let (_world, store) = filled().await;
    let large = BlobRow { length: u64::MAX, ..blob(9) };
    let refused = store.commit(&Batch { blobs: vec![large], ..empty(2) }).await;
    assert!(matches!(refused, Err(CommitError::Range { table: "blob" })));
    store.commit(&empty(2)).await.unwrap();
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
    let mut other = beside(&world).await;
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
async fn a_commit_that_nobody_waits_for_leaves_the_store_usable() {
    let (_world, store) = filled().await;
    let next = empty(2);
    {
        let mut commit = store.commit(&next);
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(commit.as_mut().poll(context).is_ready())
        });
        assert!(!polled.await);
    }
    // A machine that is busy may have come to its last statement within that one poll.
    let sequence = store.load().await.unwrap().sequence;
    assert!((1..=2).contains(&sequence), "{sequence}");
    store.commit(&empty(sequence + 1)).await.unwrap();
}
