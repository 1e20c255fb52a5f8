//! What only PostgreSQL can show: takeovers beside commits, broken connections, a server that stops, and what is asked of it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tallymill_engine::rows::{Batch, JobRow, JobState};
use tallymill_protocol::Digest;
use tallymill_storage::{Blobs, CommitError, Commits, Jobs, OpenError, Place, PostgresStore, Seat};

use crate::world::{
    Backend, Postgres, blob, empty, everything, identity, is_conflict, job, job_id,
};

/// How long a test waits for a state of the server, less than the server lets anybody wait for a lock.
const PATIENCE: Duration = Duration::from_secs(20);

async fn filled() -> (Postgres, Arc<PostgresStore>) {
    let world = Postgres::new().await;
    let store = world.store().await;
    store.commit(&everything()).await.unwrap();
    (world, Arc::new(store))
}

/// A batch that writes into the table that tests lock or guard.
fn with_blob(sequence: u64) -> Batch {
    Batch { blobs: vec![blob(9)], ..empty(sequence) }
}

/// Runs this PL/pgSQL before each row of that table.
async fn before_blobs(world: &Postgres, body: &str) {
    world
        .run(&format!(
            "CREATE SEQUENCE IF NOT EXISTS tries; \
             CREATE OR REPLACE FUNCTION hurt() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN {body}; RETURN NEW; END $$; \
             CREATE OR REPLACE TRIGGER hurt BEFORE INSERT ON blob FOR EACH ROW EXECUTE FUNCTION hurt()"
        ))
        .await;
}

/// Waits until so many sessions of this database wait for locks; a test that waits in vain fails.
async fn until_waiting(observer: &mut PgConnection, sessions: i64) {
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let look = async {
        let mut found = -1_i64;
        while found < sessions {
            found = sqlx::query_scalar(waiting).fetch_one(&mut *observer).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap();
}

#[tokio::test]
async fn a_takeover_waits_for_a_commit_that_began_before_it() {
    let (world, old) = filled().await;
    let (mut lock, mut observer) = (world.beside().await, world.beside().await);
    let mut held = lock.begin().await.unwrap();
    sqlx::query("LOCK TABLE blob IN EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let commit = tokio::spawn({
        let old = Arc::clone(&old);
        async move { old.commit(&with_blob(2)).await }
    });
    until_waiting(&mut observer, 1).await;
    let takeover = tokio::spawn(async move { (world.store().await, world) });
    until_waiting(&mut observer, 2).await;
    held.rollback().await.unwrap();
    commit.await.unwrap().unwrap();
    let (new, _world) = takeover.await.unwrap();
    assert_eq!(new.load().await.unwrap().sequence, 2, "it reads what was committed before it");
    assert!(matches!(old.commit(&empty(3)).await, Err(CommitError::Fenced { .. })));
    new.commit(&empty(3)).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_waited_for_a_takeover_commits_nothing() {
    let (world, old) = filled().await;
    let (mut other, mut observer) = (world.beside().await, world.beside().await);
    let mut takeover = other.begin().await.unwrap();
    let take = "UPDATE shard SET epoch = epoch + 1 WHERE shard = 63";
    sqlx::query(take).execute(&mut *takeover).await.unwrap();
    let commit = tokio::spawn({
        let old = Arc::clone(&old);
        async move { old.commit(&with_blob(2)).await }
    });
    until_waiting(&mut observer, 1).await;
    takeover.commit().await.unwrap();
    let refused = commit.await.unwrap();
    assert!(matches!(refused, Err(CommitError::Fenced { .. })), "one shard of 64 is enough");
    assert_eq!(old.blob(Digest([9; 32])).await.unwrap(), None);
    assert!(matches!(old.probe().await, Err(CommitError::Fenced { .. })));
}

#[tokio::test]
async fn who_opens_a_database_at_the_same_moment_gets_another_epoch() {
    let world = Postgres::new().await;
    let stores = tokio::join!(world.store(), world.store(), world.store());
    let stores = [stores.0, stores.1, stores.2];
    let mut epochs = stores.each_ref().map(PostgresStore::epoch);
    let last = stores.iter().max_by_key(|store| store.epoch()).unwrap();
    last.commit(&everything()).await.unwrap();
    epochs.sort_unstable();
    assert_eq!(epochs, [1, 2, 3]);
}

#[tokio::test]
async fn a_connection_that_is_killed_in_a_commit_leaves_nothing_of_it() {
    let (world, store) = filled().await;
    before_blobs(&world, "PERFORM pg_terminate_backend(pg_backend_pid())").await;
    let unknown = store.commit(&with_blob(2)).await;
    assert!(matches!(unknown, Err(CommitError::Unavailable(_))), "{unknown:?}");
    store.probe().await.unwrap();
    assert_eq!(store.load().await.unwrap().sequence, 1);
    assert_eq!(store.blob(Digest([9; 32])).await.unwrap(), None);
    before_blobs(&world, "NULL").await;
    store.commit(&with_blob(2)).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_a_batch_and_takes_it_later() {
    let (world, store) = filled().await;
    before_blobs(&world, "RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'").await;
    assert!(matches!(store.commit(&with_blob(2)).await, Err(CommitError::Full)));
    assert_eq!(store.load().await.unwrap().sequence, 1);
    before_blobs(&world, "NULL").await;
    store.commit(&with_blob(2)).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_is_undone_for_the_sake_of_another_is_tried_again() {
    let (world, store) = filled().await;
    let fail = |code: &str, times: u32| {
        format!(
            "IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END IF"
        )
    };
    before_blobs(&world, &fail("40001", 3)).await;
    store.commit(&with_blob(2)).await.unwrap();
    world.run("ALTER SEQUENCE tries RESTART; DELETE FROM blob").await;
    before_blobs(&world, &fail("40P01", 4)).await;
    let given_up = store.commit(&with_blob(3)).await;
    assert!(matches!(given_up, Err(CommitError::Unavailable(_))), "{given_up:?}");
    store.commit(&with_blob(3)).await.unwrap();
}

#[tokio::test]
async fn a_row_that_comes_twice_is_a_conflict_of_its_table() {
    let (_world, store) = filled().await;
    let jobs = vec![job(7, JobState::Running), job(7, JobState::Running)];
    is_conflict(store.commit(&Batch { jobs, ..empty(2) }).await, "job");
    store.commit(&empty(2)).await.unwrap();
}

#[tokio::test]
async fn a_number_that_its_column_does_not_hold_is_refused() {
    let (world, store) = filled().await;
    world.run("ALTER TABLE blob ALTER COLUMN length TYPE SMALLINT").await;
    let mut large = with_blob(2);
    large.blobs[0].length = 40_000;
    assert!(matches!(store.commit(&large).await, Err(CommitError::Range { table: "blob" })));
}

#[tokio::test]
async fn a_character_that_text_cannot_have_is_replaced() {
    let (_world, store) = filled().await;
    let title = "nul\0in between".to_owned();
    let named = JobRow { title, ..job(7, JobState::Running) };
    store.commit(&Batch { jobs: vec![named], ..empty(2) }).await.unwrap();
    let found = store.job(job_id(7)).await.unwrap().unwrap();
    assert_eq!(found.title, "nul\u{fffd}in between");
}

#[tokio::test]
async fn a_server_that_stops_loses_nothing_and_is_found_again() {
    let server = tallymill_postgres::Server::start().unwrap();
    let world = Postgres(server.database().unwrap());
    let store = world.store().await;
    store.commit(&everything()).await.unwrap();
    server.crash().unwrap();
    for _ in 0..2 {
        let unknown = store.commit(&with_blob(2)).await;
        assert!(matches!(unknown, Err(CommitError::Unavailable(_))), "{unknown:?}");
        assert!(matches!(store.probe().await, Err(CommitError::Unavailable(_))));
    }
    server.start_again().unwrap();
    store.probe().await.unwrap();
    assert_eq!(store.load().await.unwrap().sequence, 1);
    store.commit(&with_blob(2)).await.unwrap();
    assert!(store.blob(Digest([9; 32])).await.unwrap().is_some(), "readers are there again too");
}

#[tokio::test]
async fn a_server_that_does_not_keep_what_it_commits_is_refused() {
    let server = tallymill_postgres::Server::start().unwrap();
    let world = Postgres(server.database().unwrap());
    world.store().await.close().await;
    server.configure("fsync = off").unwrap();
    // The server hears of it a moment after it was told.
    loop {
        let mut connection = world.beside().await;
        let fsync: String =
            sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.unwrap();
        if fsync == "off" {
            break;
        }
    }
    match world.open_as(&identity()).await.err() {
        Some(OpenError::Durability { setting: "fsync", found, .. }) => assert_eq!(found, "off"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_database_that_does_not_hold_every_text_is_refused() {
    let world = Postgres::new().await;
    world.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'").await;
    let (place, _) = world.0.rsplit_once('/').unwrap();
    let latin = Postgres(format!("{place}/latin"));
    let refused = latin.open_as(&identity()).await.err();
    assert!(
        matches!(refused, Some(OpenError::Durability { setting: "server_encoding", .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let world = Postgres::new().await;
    let wrong = Postgres(world.0.replace(tallymill_postgres::PASSWORD, "s3cret"));
    let refused = wrong.open_as(&identity()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Database { .. }), "{refused:?}");
    let said = format!("{refused} {refused:?}");
    assert!(said.contains("password authentication failed") && !said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn a_server_is_believed_only_with_its_certificate_where_that_is_asked_for() {
    let server = tallymill_postgres::Server::start().unwrap();
    let plain = server.database().unwrap();
    let opened = |parameters: String| {
        let world = Postgres(format!("{plain}?{parameters}"));
        async move {
            world.open_as(&identity()).await.err().map(|error| format!("{error:?}").to_lowercase())
        }
    };
    let refused = opened("sslmode=require".to_owned()).await.unwrap();
    assert!(refused.contains("tls"), "{refused}");
    let authority = server.with_tls().unwrap();
    let full = |file: &std::path::Path| {
        opened(format!("sslmode=verify-full&sslrootcert={}", file.display()))
    };
    assert_eq!(full(&authority).await, None);
    let other = full(&server.folder().join("server.pem")).await.unwrap();
    assert!(other.contains("certificate"), "not its authority: {other}");
    let system = opened("sslmode=verify-full".to_owned()).await.unwrap();
    assert!(system.contains("certificate"), "not known to the system: {system}");
    let parameters = format!("?sslmode=verify-full&sslrootcert={}", authority.display());
    let elsewhere = Postgres(plain.replace("127.0.0.1", "localhost") + &parameters);
    let named = format!("{:?}", elsewhere.open_as(&identity()).await.err()).to_lowercase();
    assert!(named.contains("certificate"), "it has another name: {named}");
}

/// The seat of a database, as one of several coordinators sees it.
async fn seat(world: &Postgres) -> Arc<dyn Seat> {
    let place: Place = world.0.parse().unwrap();
    place.seat(&identity()).await.unwrap()
}

#[tokio::test]
async fn a_seat_is_taken_once_from_whoever_shows_no_life() {
    let world = Postgres::new().await;
    let [one, other] = [seat(&world).await, seat(&world).await];
    assert_eq!(one.sitter().await.unwrap(), None, "nobody has it in a new database");
    let first = one.take(None, "http://one").await.unwrap().unwrap();
    assert!(other.take(None, "http://other").await.unwrap().is_none(), "somebody was quicker");
    first.store.load().await.unwrap();
    first.store.commit(&everything()).await.unwrap();
    let seen = other.sitter().await.unwrap().unwrap();
    assert_eq!((seen.address.as_str(), seen.epoch, seen.beat), ("http://one", first.epoch, 0));
    assert!(one.beat(first.epoch).await.unwrap());
    let late = other.take(Some(&seen), "http://other").await.unwrap();
    assert!(late.is_none(), "it showed life after that look");
    let seen = other.sitter().await.unwrap().unwrap();
    assert_eq!(seen.beat, 1);
    let second = other.take(Some(&seen), "http://other").await.unwrap().unwrap();
    assert!(second.epoch > first.epoch);
    assert!(!one.beat(first.epoch).await.unwrap(), "its time is over");
    one.leave(first.epoch).await.unwrap();
    assert_eq!(one.sitter().await.unwrap().unwrap().epoch, second.epoch, "not its to leave");
    let stale = first.store.commit(&empty(2)).await;
    assert!(matches!(stale, Err(CommitError::Fenced { .. })), "{stale:?}");
    assert_eq!(second.store.load().await.unwrap().sequence, 1, "with all that was committed");
    second.store.commit(&empty(2)).await.unwrap();
    other.leave(second.epoch).await.unwrap();
    assert_eq!(one.sitter().await.unwrap(), None);
    assert!(one.take(None, "http://one").await.unwrap().is_some());
}

#[tokio::test]
async fn an_older_program_that_stands_by_does_not_take_a_newer_database() {
    let world = Postgres::new().await;
    let old = seat(&world).await;
    world.run("INSERT INTO schema_version (version) VALUES (99)").await;
    let refused = old.take(None, "http://old").await;
    assert!(matches!(refused.err(), Some(OpenError::Newer { found: 99, .. })));
    assert_eq!(old.sitter().await.unwrap(), None);
}

#[tokio::test]
async fn a_new_schema_ends_what_an_older_program_commits() {
    let (world, old) = filled().await;
    // What the newest migration made, as it was before it.
    world.run("DROP TABLE seat; DELETE FROM schema_version WHERE version = 8").await;
    let newer = seat(&world).await;
    assert_eq!(newer.sitter().await.unwrap(), None, "the table is there again");
    assert!(matches!(old.commit(&empty(2)).await, Err(CommitError::Fenced { .. })));
}

#[tokio::test]
async fn one_that_stands_still_in_a_commit_keeps_nobody_from_its_seat() {
    let world = Postgres::new().await;
    let [one, other] = [seat(&world).await, seat(&world).await];
    let first = one.take(None, "http://one").await.unwrap().unwrap();
    let seen = other.sitter().await.unwrap();
    // As a process holds its shards that is stopped between two statements of a commit.
    let mut beside = world.beside().await;
    sqlx::query("SET idle_in_transaction_session_timeout = '2s'")
        .execute(&mut beside)
        .await
        .unwrap();
    let mut held = beside.begin().await.unwrap();
    sqlx::query("SELECT shard FROM shard FOR UPDATE").execute(&mut *held).await.unwrap();
    let mut taken = None;
    for _ in 0..3 {
        taken = other.take(seen.as_ref(), "http://other").await.ok().flatten();
        if taken.is_some() {
            break;
        }
    }
    assert!(taken.unwrap().epoch > first.epoch);
    assert!(held.commit().await.is_err(), "the server ended its session");
}
