//! What only the inside of the SQLite back end can show: every query prepares, migrations are all or nothing.

use std::path::Path;

use sqlx::{ConnectOptions, Executor, SqlSafeStr, Sqlite, SqliteConnection};
use tallymill_engine::rows::LeaseRow;

use super::{durable, expand, options};
use crate::OpenError;
use crate::records::LeaseRecord;
use crate::sql::value::cells;
use crate::sql::{self, MIGRATIONS, before, many, migrate, sql};

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
    let given = ["present", "used", "reported", "moved", "packed", "decided", "2 CONSTANT ROWS"];
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
