//! What only the inside of the SQLite back end can show: every query prepares, migrations are all or nothing.

use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Executor, SqlSafeStr, SqliteConnection};

use super::{bulk, migrate, options};
use crate::OpenError;

async fn connect(folder: &Path) -> SqliteConnection {
    options(&folder.join("test.db")).connect().await.unwrap()
}

fn queries(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { queries(&path, found) } else { found.push(path) }
    }
}

#[tokio::test]
async fn every_query_prepares() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = connect(folder.path()).await;
    migrate::run(&mut connection, migrate::MIGRATIONS).await.unwrap();
    let mut files = Vec::new();
    queries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sql"), &mut files);
    assert!(files.len() > 70, "{} queries", files.len());
    for file in files {
        let sql = std::fs::read_to_string(&file).unwrap();
        let columns = columns(&sql);
        let sql = sqlx::AssertSqlSafe(bulk::expand(&sql, columns, 2)).into_sql_str();
        let prepared = connection.prepare(sql).await;
        assert!(prepared.is_ok(), "{}: {:?}", file.display(), prepared.err());
    }
}

/// Columns between the first pair of parentheses, which a bulk insert names before its rows.
fn columns(sql: &str) -> usize {
    let list = sql.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let bulk = sql.contains("{rows}") && !sql.starts_with("DELETE");
    if bulk { list.map_or(1, |(list, _)| list.split(',').count()) } else { 1 }
}

#[tokio::test]
async fn migrations_run_once_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = connect(folder.path()).await;
    let good = (1, "CREATE TABLE a (id BIGINT); INSERT INTO a (id) VALUES (7)");
    let bad = (2, "CREATE TABLE b (id BIGINT); INSERT INTO missing (id) VALUES (7)");
    migrate::run(&mut connection, &[good]).await.unwrap();
    migrate::run(&mut connection, &[good]).await.unwrap();
    let refused = migrate::run(&mut connection, &[good, bad]).await;
    assert!(matches!(refused, Err(OpenError::Migration { version: 2, .. })));
    let rows: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM a").fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, 1);
    let tables = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'b'";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut connection).await.unwrap();
    assert_eq!(tables, 0, "half of a migration stayed");
}

#[tokio::test]
async fn a_file_without_the_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let journal = sqlx::sqlite::SqliteJournalMode::Delete;
    let mut connection = options(&path).journal_mode(journal).connect().await.unwrap();
    let refused = migrate::durable(&mut connection, &path).await;
    let Err(OpenError::Durability { setting, found, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((setting, found.as_str()), ("journal_mode", "delete"));
    let normal = sqlx::sqlite::SqliteSynchronous::Normal;
    let mut connection = options(&path).synchronous(normal).connect().await.unwrap();
    let refused = migrate::durable(&mut connection, &path).await;
    assert!(matches!(refused, Err(OpenError::Durability { setting: "synchronous", .. })));
}
