//! What only the inside of the SQLite back end can show: every query prepares, migrations are all or nothing.

use std::path::Path;

use sqlx::{ConnectOptions, Connection as _, Executor, SqlSafeStr, Sqlite, SqliteConnection};
use tallymill_engine::rows::{Identity, LeaseRow};
use tallymill_protocol::cbor::{Blob, Text};
use tallymill_protocol::{
    AttemptId, CoordinatorId, Digest, Key, LeaseDigest, Message as _, Micros, Network, Outcome,
    Receipt, SignedBytes, TaskIndex, merkle,
};

use super::{SqliteStore, durable, expand, options};
use crate::records::LeaseRecord;
use crate::sql::value::cells;
use crate::sql::{self, MIGRATIONS, before, many, migrate, sql};
use crate::{Commits as _, OpenError, Page, Reports as _, Tasks as _};

async fn connect(folder: &Path) -> SqliteConnection {
    options(&folder.join("test.db")).connect().await.unwrap()
}

async fn current(folder: &Path) -> SqliteConnection {
    let mut connection = connect(folder).await;
    migrate::<Sqlite>(&mut connection, MIGRATIONS).await.unwrap();
    connection
}

#[tokio::test]
async fn every_query_prepares() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = current(folder.path()).await;
    for file in sql::files("postgres") {
        let sql = std::fs::read_to_string(&file).unwrap();
        let columns = sql::columns(&sql);
        let sql = sqlx::AssertSqlSafe(expand(&sql, columns, 2)).into_sql_str();
        let prepared = connection.prepare(sql).await;
        assert!(prepared.is_ok(), "{}: {:?}", file.display(), prepared.err());
    }
}

#[tokio::test]
async fn migrations_run_once_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = connect(folder.path()).await;
    let good = (1, "CREATE TABLE a (id BIGINT); INSERT INTO a (id) VALUES (7)");
    let bad = (2, "CREATE TABLE b (id BIGINT); INSERT INTO missing (id) VALUES (7)");
    migrate::<Sqlite>(&mut connection, &[good]).await.unwrap();
    migrate::<Sqlite>(&mut connection, &[good]).await.unwrap();
    let refused = migrate::<Sqlite>(&mut connection, &[good, bad]).await;
    assert!(matches!(refused, Err(OpenError::Migration { version: 2, .. })));
    let rows: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM a").fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, 1);
    let tables = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'b'";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut connection).await.unwrap();
    assert_eq!(tables, 0, "half of a migration stayed");
}

/// What a database of the first schema holds is there after the second, under keys with the segment.
#[tokio::test]
async fn results_survive_the_migration_to_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = connect(folder.path()).await;
    migrate::<Sqlite>(&mut connection, &MIGRATIONS[..1]).await.unwrap();
    let old = "INSERT INTO replica (job, task, host, owner, attempt, state, report, position, receipt, lease, output, amount, at)
        VALUES (x'01', 7, x'02', x'03', x'04', 'final', x'05', 3, x'06', x'07', x'08', 9, 10);
        INSERT INTO task (job, task, sequence, state, host, fuel, at) VALUES (x'01', 7, 1, 'final', x'02', 11, 10)";
    sqlx::raw_sql(old).execute(&mut connection).await.unwrap();
    migrate::<Sqlite>(&mut connection, &MIGRATIONS[..2]).await.unwrap();
    let kept = "SELECT CAST(r.segment = 0 AND t.segment = 0 AND r.host = x'02' AND r.owner = x'03' AND r.attempt = x'04'
            AND r.state = 'final' AND r.report = x'05' AND r.position = 3 AND r.receipt = x'06' AND r.lease = x'07'
            AND r.output = x'08' AND r.log IS NULL AND r.amount = 9 AND r.final_after IS NULL AND r.at = 10 AS BIGINT)
        FROM replica AS r JOIN task AS t ON t.job = r.job AND t.task = r.task AND t.segment = r.segment";
    let kept: i64 = sqlx::query_scalar(kept).fetch_one(&mut connection).await.unwrap();
    assert_eq!(kept, 1);
    let again = |segment: i64| {
        let insert = "INSERT INTO replica (job, task, segment, host, owner, attempt, state, report, position, receipt, lease, amount, at)
            SELECT job, task, $1, host, owner, attempt, state, report, position, receipt, lease, amount, at FROM replica";
        sqlx::query(insert).bind(segment)
    };
    assert!(again(0).execute(&mut connection).await.is_err(), "one result of a segment");
    assert!(again(1).execute(&mut connection).await.is_ok());
    let indexes = "SELECT COUNT(*) FROM sqlite_schema WHERE tbl_name = 'replica' AND name IN ('replica_by_report', 'replica_undecided')";
    let indexes: i64 = sqlx::query_scalar(indexes).fetch_one(&mut connection).await.unwrap();
    assert_eq!(indexes, 2);
}

/// Results of before stand under numbers, with their receipts as they were.
#[tokio::test]
async fn results_survive_the_migration_to_packs() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = connect(folder.path()).await;
    migrate::<Sqlite>(&mut connection, &MIGRATIONS[..5]).await.unwrap();
    sqlx::raw_sql(before::PACKS).execute(&mut connection).await.unwrap();
    migrate::<Sqlite>(&mut connection, MIGRATIONS).await.unwrap();
    for (sound, of) in before::SOUND {
        let sound: i64 = sqlx::query_scalar(sound).fetch_one(&mut connection).await.unwrap();
        assert_eq!(sound, 1, "{of}");
    }
    let indexes = "SELECT COUNT(*) FROM sqlite_schema WHERE name IN ('replica_undecided', 'task_by_sequence', 'host_by_number')";
    let indexes: i64 = sqlx::query_scalar(indexes).fetch_one(&mut connection).await.unwrap();
    assert_eq!(indexes, 3);
}

/// Rows that would be lost stop the migration, which then changes nothing.
#[tokio::test]
async fn a_row_that_names_what_is_not_there_stops_the_migration_to_packs() {
    for spoil in [
        "DELETE FROM lease_token",
        "DELETE FROM host WHERE id = x'21'",
        "UPDATE task SET job = x'99' WHERE task = 4",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = connect(folder.path()).await;
        migrate::<Sqlite>(&mut connection, &MIGRATIONS[..5]).await.unwrap();
        sqlx::raw_sql(before::PACKS).execute(&mut connection).await.unwrap();
        sqlx::raw_sql(spoil).execute(&mut connection).await.unwrap();
        let refused = migrate::<Sqlite>(&mut connection, MIGRATIONS).await;
        assert!(matches!(refused, Err(OpenError::Migration { version: 6, .. })), "{spoil}");
        let kept = sqlx::query_scalar::<_, Vec<u8>>("SELECT receipt FROM replica");
        assert_eq!(kept.fetch_one(&mut connection).await.unwrap(), [0x77], "{spoil}");
    }
}

/// A store that opens a database of before packs reads what stands there as it does its own.
#[tokio::test]
async fn a_store_goes_on_with_a_database_of_before_packs() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = connect(folder.path()).await;
    migrate::<Sqlite>(&mut connection, &MIGRATIONS[..5]).await.unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let id = |n: u8| hex(&[n; 32]);
    let signed =
        SignedBytes { payload: Blob(vec![1; 9]), signer: Key([2; 32]), signature: [3; 64] };
    let (signed, receipt) = (hex(&signed.to_bytes()), receipt());
    let leaves = vec![Digest([6; 32]), merkle::leaf(&receipt)];
    let old = format!(
        "INSERT INTO job (id, shard, epoch, number, payer, submitter, module, title, envelope, state, tasks, final_tasks, failed_tasks,
            provisional_tasks, largest_input, escrow, held_granted, spent, fuel, submitted, deadline)
        VALUES (x'{job}', 0, 1, 40, x'{job}', x'{job}', x'{job}', 't', x'{signed}', 'running', 9, 0, 0, 0, 1, 1, 1, 1, 1, 1, 9);
        INSERT INTO host (id, shard, owner, expiry, joined, seen, reports, last_report, settled, fuel, voided, outvoted, abandoned)
        VALUES (x'{host}', 0, x'{job}', 9, 1, 1, 1, x'{job}', 0, 0, 0, 0, 0);
        INSERT INTO report (root, host, sequence, epoch, envelope, leaves, leases, receipts, verdicts, log_index, at)
        VALUES (x'{root}', x'{host}', 0, 1, x'{signed}', x'{leaves}', x'{lease}', 2, x'0301', 7, 10);
        INSERT INTO lease_token (digest, envelope) VALUES (x'{lease}', x'{signed}');
        INSERT INTO replica (job, task, segment, host, owner, attempt, state, report, position, receipt, lease, amount, at)
        VALUES (x'{job}', 3, 0, x'{host}', x'{job}', x'{attempt}', 'reported', x'{root}', 1, x'{receipt}', x'{lease}', 9, 10)",
        job = id(4),
        host = id(5),
        root = id(7),
        lease = id(8),
        attempt = hex(&[9; 16]),
        leaves = leaves.iter().map(|leaf| hex(&leaf.0)).collect::<String>(),
        receipt = hex(&receipt),
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(old)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let network = Network::new("test").unwrap();
    let identity = Identity { network, coordinator: CoordinatorId([9; 32]) };
    let store = SqliteStore::open(&folder.path().join("test.db"), &identity).await.unwrap();
    let waiting = store.load().await.unwrap().replicas;
    let [row] = waiting.as_slice() else { panic!("{} results wait", waiting.len()) };
    assert_eq!((&row.receipt, row.attempt, row.at.0), (&receipt, AttemptId([9; 16]), 10));
    assert_eq!(store.replicas(row.job, row.task).await.unwrap(), waiting);
    assert_eq!(store.report(row.report).await.unwrap().unwrap().leaves, leaves);
    let found = store.receipts(row.report, Page::first(9)).await.unwrap();
    assert_eq!((found.len(), found[0].position, &found[0].receipt), (1, 1, &receipt));
    let mut connection = connect(folder.path()).await;
    let spoil =
        "UPDATE receipt_pack SET bytes = substr(bytes, 1, 60) || x'00' || substr(bytes, 62)";
    sqlx::query(spoil).execute(&mut connection).await.unwrap();
    assert!(store.report(row.report).await.is_err(), "a leaf is not that of its receipt");
}

fn receipt() -> Vec<u8> {
    let digest = Digest([8; 32]);
    let receipt = Receipt {
        format: 1,
        lease: LeaseDigest([8; 32]),
        task: TaskIndex(3),
        input: digest,
        output: digest,
        outcome: Outcome::Exited(0),
        fuel: 5,
        peak_memory: 65_536,
        memory_fuel: 9,
        bytes_in: 4,
        bytes_out: 3,
        module: digest,
        metered: digest,
        log: digest,
        segment: None,
        engine: Text("test".into()),
        cpu_time: 5,
        started: Micros(1),
        finished: Micros(2),
        salt: [8; 32],
    };
    receipt.to_bytes()
}

/// Leases of before neighbourhoods were kept load: they are of none, and nothing says that they were relaxed.
#[tokio::test]
async fn leases_survive_the_migration_to_neighbourhoods() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = connect(folder.path()).await;
    migrate::<Sqlite>(&mut connection, &MIGRATIONS[..4]).await.unwrap();
    sqlx::raw_sql(before::PACKS).execute(&mut connection).await.unwrap();
    migrate::<Sqlite>(&mut connection, MIGRATIONS).await.unwrap();
    let leases: Vec<LeaseRow> =
        many::<Sqlite, LeaseRecord, _>(&mut connection, sql!("lease/load"), cells![])
            .await
            .unwrap();
    assert_eq!((leases[0].count, leases[0].near, leases[0].relaxed), (2, None, false));
}

/// What grows is found by an index, whatever there is of it.
#[tokio::test]
async fn no_statement_of_a_commit_or_a_page_scans_what_grows() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = current(folder.path()).await;
    // The rows that are written, under the names that the statements give them.
    let given = [
        "present",
        "used",
        "reported",
        "moved",
        "packed",
        "decided",
        "2 CONSTANT ROWS",
        "needed",
        "charged",
        "first",
        "kept",
        // Few, and no others are in these.
        "job USING INDEX job_to_note",
        "j USING INDEX job_to_note",
    ];
    for name in [
        "replica/insert",
        "replica/move",
        "replica/list",
        "task/upsert",
        "task/get",
        "task/list",
        "task/list_decided",
        "receipt_pack/insert",
        "receipt_pack/list",
        "receipt_pack/list_by_task",
        "report/number",
        "lease_token/keep",
        "host/upsert",
        "task/collect",
        "replica/collect",
        "replica/reports",
        "replica/undecided",
        "replica/list_blobs",
        "replica/list_tasks_with_blobs",
        "receipt_pack/collect",
        "segment/collect",
        "void_run/collect",
        "void_run/last",
        "job_page/collect",
        "blob_use/keep",
        "blob_use/collect",
        "blob/charge",
        "blob/doom",
        "blob/list_idle",
        "blob_doomed/list",
        "report/collect",
        "report/list_lone",
        "job/list_ended",
        "job/list_collecting",
        "job/to_note",
        "lease_token/release",
        "lease_token/collect",
    ] {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("sql").join(name).with_extension("sql");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = format!("EXPLAIN QUERY PLAN {}", expand(&text, sql::columns(&text), 2));
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(text)).fetch_all(&mut connection).await.unwrap();
        let lines: Vec<_> = plan.iter().map(|row| row.3.as_str()).collect();
        let scans =
            |line: &&str| line.strip_prefix("SCAN ").is_some_and(|what| !given.contains(&what));
        assert!(!lines.iter().any(scans), "{name}: {lines:#?}");
    }
}

#[tokio::test]
async fn a_file_without_the_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let journal = sqlx::sqlite::SqliteJournalMode::Delete;
    let mut connection = options(&path).journal_mode(journal).connect().await.unwrap();
    let refused = durable(&mut connection, "test.db").await;
    let Err(OpenError::Durability { setting, found, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((setting, found.as_str()), ("journal_mode", "delete"));
    let normal = sqlx::sqlite::SqliteSynchronous::Normal;
    let mut connection = options(&path).synchronous(normal).connect().await.unwrap();
    let refused = durable(&mut connection, "test.db").await;
    assert!(matches!(refused, Err(OpenError::Durability { setting: "synchronous", .. })));
}
