//! What a database with SQL shows: corrupt rows, newer schemas, numbers that columns do not hold, commits that are left
//! alone.

use tallymill_engine::rows::{Batch, BlobRow};
use tallymill_protocol::{Digest, TaskIndex};
use tallymill_storage::{CommitError, CorruptRow, LoadError, OpenError, Page, ReadError};

use crate::world::{Sql, blob, empty, everything, filled, identity, job_id, owner};

crate::on_sql! {
    a_corrupt_row_is_named, corrupt_rows_are_named_by_reads, a_newer_schema_is_refused_and_left_alone,
    numbers_beyond_a_column_are_refused, a_commit_that_nobody_waits_for_leaves_the_store_usable,
}

async fn a_corrupt_row_is_named<W: Sql>(_: W) {
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
            "UPDATE replica SET near = x'00' WHERE host IN (SELECT number FROM host WHERE id = x'1515151515151515151515151515151515151515151515151515151515151515')",
            corrupt("replica", "near", format!("{} 0 0 {}", hex(5), hex(21))),
        ),
        (
            "UPDATE receipt_pack SET packing = 1 WHERE report = 21",
            corrupt("receipt_pack", "bytes", "21 0".to_owned()),
        ),
        (
            "UPDATE lease_token SET number = 99 WHERE attempt = x'15151515151515151515151515151515'",
            corrupt("replica", "owner", String::new()),
        ),
        (
            "UPDATE report SET log_index = 99 WHERE log_index = 21",
            corrupt("replica", "report", String::new()),
        ),
        (
            "DELETE FROM receipt_pack WHERE report = 21",
            corrupt("receipt_pack", "bytes", "21 0".to_owned()),
        ),
        (
            "UPDATE meta SET value = x'00' WHERE name = 'sequence'",
            corrupt("meta", "value", "sequence".to_owned()),
        ),
    ];
    for (sql, mut expected) in cases {
        let world = W::new().await;
        let store = filled(&world).await;
        world.change(sql).await;
        let Err(LoadError::Read(ReadError::Corrupt(found))) = store.load().await else {
            panic!("{sql}: the load went well");
        };
        if expected.key.is_empty() {
            expected.key.clone_from(&found.key);
        }
        assert_eq!(found, expected, "{sql}");
    }
}

async fn corrupt_rows_are_named_by_reads(world: impl Sql) {
    let store = filled(&world).await;
    world.change("UPDATE task SET outcome = 1, code = 200").await;
    let Err(ReadError::Corrupt(found)) = store.task(job_id(5), TaskIndex(0)).await else {
        panic!("the task was read");
    };
    assert_eq!((found.table, found.column.as_str()), ("task", "outcome"));
    for (spoil, restore) in [
        (
            "UPDATE report SET leaves = x'1515151515151515151515151515151515151515151515151515151515151515' WHERE log_index = 20",
            "UPDATE report SET leaves = x'' WHERE log_index = 20",
        ),
        (
            "DELETE FROM receipt_pack WHERE report = 20",
            "UPDATE report SET leaves = x'' WHERE log_index = 20",
        ),
    ] {
        world.change(spoil).await;
        let read = store.report(Digest([20; 32])).await;
        let Err(ReadError::Corrupt(found)) = read else { panic!("the report was read") };
        assert_eq!((found.table, found.column.as_str()), ("report", "leaves"));
        world.change(restore).await;
    }
    world.change("UPDATE receipt_pack SET bytes = x'00' WHERE report = 21").await;
    let read = store.receipts(Digest([21; 32]), Page::first(9)).await;
    let Err(ReadError::Corrupt(found)) = read else { panic!("the receipts were read") };
    assert_eq!((found.table, found.key.as_str()), ("receipt_pack", "21 0"));
    world.change("DELETE FROM lease_token").await;
    let Err(ReadError::Corrupt(found)) = store.report(Digest([22; 32])).await else {
        panic!("the report was read");
    };
    assert_eq!((found.table, found.column.as_str()), ("lease_token", "digest"));
    assert!(found.to_string().contains("lease_token") && found.to_string().contains(&found.key));
}

async fn a_newer_schema_is_refused_and_left_alone(world: impl Sql) {
    let store = filled(&world).await;
    drop(store);
    world.change("INSERT INTO schema_version (version) VALUES (99)").await;
    let refused = world.open_as(&identity()).await;
    assert!(matches!(refused.err(), Some(OpenError::Newer { found: 99, known: 8 })));
    world.change("DELETE FROM schema_version WHERE version = 99").await;
    let store = world.open().await;
    assert_eq!(store.account(owner(1)).await.unwrap(), Some(everything().accounts[0].clone()));
}

async fn numbers_beyond_a_column_are_refused(world: impl Sql) {
    let store = filled(&world).await;
    let large = BlobRow { length: u64::MAX, ..blob(9) };
    let refused = store.commit(&Batch { blobs: vec![large], ..empty(2) }).await;
    assert!(matches!(refused, Err(CommitError::Range { table: "blob" })));
    store.commit(&empty(2)).await.unwrap();
}

async fn a_commit_that_nobody_waits_for_leaves_the_store_usable(world: impl Sql) {
    let store = filled(&world).await;
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
