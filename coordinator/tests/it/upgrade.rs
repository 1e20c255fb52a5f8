//! Databases that earlier programs wrote: this one opens each, tells what is in it as it was, and goes on.
//!
//! `before/NNNN.sql` holds the rows of a database of schema NNNN, made by the last program that had that schema or an
//! early one. They are never made anew: that this program reads what another one wrote is what they are for.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};
use tallymill_protocol::{Digest, Keypair, Manifest, Nonce, Receipt};
use tallymill_storage::Place;

use crate::world::{Person, World, receipt};

/// The first schema of which there is a database.
const FIRST: i64 = 6;
/// Says that the database of a new schema is to be made.
const MAKE: &str = "TALLYMILL_MAKE_BEFORE";
/// What the tasks of its job said.
const OUTPUTS: [&str; 2] = ["first", "second"];

fn key() -> Keypair {
    Keypair::from_secret(&[7; 32])
}

fn file(version: i64) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/before");
    here.join(format!("{version:04}.sql"))
}

/// Every migration with its number, as their files have them.
fn migrations() -> Vec<(i64, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        (name[..4].parse().unwrap(), std::fs::read_to_string(&path).unwrap())
    };
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(read).collect();
    all.sort();
    all
}

/// What makes a database of this schema with these rows, as SQLite reads it.
fn script(version: i64) -> String {
    let versions = (1..=version).map(|at| format!("INSERT INTO schema_version VALUES ({at});"));
    let schema = migrations().into_iter().filter(|(at, _)| *at <= version).map(|(_, text)| text);
    let table = "CREATE TABLE schema_version (version BIGINT NOT NULL PRIMARY KEY);".to_owned();
    let rows = std::fs::read_to_string(file(version)).unwrap();
    let parts = schema.chain([table]).chain(versions).chain([rows]);
    parts.collect::<Vec<_>>().join("\n")
}

/// Does one task after the other of a job of `payer`.
async fn done(world: &World, payer: &Person, host: u8, outputs: &[&str]) -> String {
    let count = u32::try_from(outputs.len()).unwrap();
    let manifest = world.manifest(payer, count).await;
    let manifest = Manifest { nonce: Nonce([host; 16]), ..manifest };
    let job = world.submitted(payer, &manifest).await;
    let mut host = world.host(host, payer).await;
    for output in outputs {
        let token = world.lease(&host).await;
        let lease = token.peek().unwrap();
        let input = format!("{}\n", lease.first.0);
        let (input, bytes_in) = (Digest::of(input.as_bytes()), input.len() as u64);
        let told = receipt(&lease, output.as_bytes());
        let receipts = [Receipt { input, bytes_in, ..told }];
        let upload = host.upload(&token, &receipts, output.as_bytes());
        let report = upload.report.peek().unwrap();
        assert_eq!(world.report(&host, upload).await.verdicts.0, [0]);
        (host.sequence, host.previous) = (host.sequence + 1, report.digest());
    }
    job
}

/// A database with a finished job and one of which a task is leased.
async fn make() -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.db");
    let world = World::over(key(), &Place::File(path.clone())).await;
    let payer = world.person(2, 100).await;
    done(&world, &payer, 3, &OUTPUTS).await;
    let leased = Manifest { nonce: Nonce([9; 16]), ..world.manifest(&payer, 1).await };
    world.submitted(&payer, &leased).await;
    let host = world.host(4, &payer).await;
    world.lease(&host).await;
    world.handle.shutdown().await.unwrap();
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    dump(&mut connection).await
}

/// Every row as a statement that both databases read, but for how they write bytes.
async fn dump(connection: &mut SqliteConnection) -> String {
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'schema_version'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut *connection).await.unwrap();
    let mut text = String::new();
    for table in tables {
        let columns = "SELECT name, type FROM pragma_table_info($1)";
        let columns: Vec<(String, String)> =
            sqlx::query_as(columns).bind(&table).fetch_all(&mut *connection).await.unwrap();
        let cell = |(name, kind): &(String, String)| match kind.as_str() {
            "BOOLEAN" => format!("iif({name} IS NULL, 'NULL', iif({name}, 'TRUE', 'FALSE'))"),
            _ => format!("quote({name})"),
        };
        let cells: Vec<_> = columns.iter().map(cell).collect();
        let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let (names, cells) = (names.join(", "), cells.join(" || ', ' || "));
        let rows = format!(
            "SELECT 'INSERT INTO {table} ({names}) VALUES (' || {cells} || ');' FROM {table}"
        );
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut *connection).await.unwrap();
        text.extend(rows.into_iter().map(|row| row + "\n"));
    }
    text
}

/// Who adds a migration leaves the database of the schema before it here, and adds one of its own.
#[tokio::test]
async fn every_schema_has_a_database_that_was_made_by_its_own_program() {
    let newest = migrations().last().unwrap().0;
    if std::env::var_os(MAKE).is_some() && !file(newest).exists() {
        std::fs::write(file(newest), make().await).unwrap();
    }
    for version in FIRST..=newest {
        let how = format!("{MAKE}=1 cargo test -p tallymill-coordinator upgrade");
        assert!(file(version).exists(), "no database of schema {version}; make it with: {how}");
    }
}

async fn json(world: &World, who: &Person, path: &str) -> Value {
    let answer = world.get(who, path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

/// Fails unless everything is as it was, the books hold, and new work is done and paid.
async fn goes_on(place: &Place) {
    let world = World::over(key(), place).await;
    let payer = world.person(2, 0).await;
    let operator = world.person(1, 0).await;
    let jobs = json(&world, &payer, "/api/v1/jobs").await;
    let jobs = jobs["items"].as_array().unwrap();
    let finished: Vec<_> = jobs.iter().filter(|job| job["state"] == "finished").collect();
    let [job] = finished.as_slice() else { panic!("{jobs:?}") };
    let job = job["id"].as_str().unwrap();
    for (task, output) in OUTPUTS.iter().enumerate() {
        let path = format!("/api/v1/jobs/{job}/tasks/{task}/output");
        assert_eq!(world.get(&payer, &path).await.text().await.unwrap(), *output);
        let evidence = json(&world, &payer, &format!("/api/v1/jobs/{job}/receipts/{task}")).await;
        let evidence = evidence.to_string();
        let evidence = tallymill_audit::Evidence::from_json(evidence.as_bytes()).unwrap();
        tallymill_audit::check_signatures(&evidence, Some(key().public())).unwrap();
    }
    let results = json(&world, &payer, &format!("/api/v1/jobs/{job}/results")).await;
    assert_eq!(results["items"].as_array().map(Vec::len), Some(OUTPUTS.len()), "{results}");
    done(&world, &payer, 5, &["third"]).await;
    let books = json(&world, &operator, "/api/v1/admin/audit").await;
    assert_eq!(books["offences"], Value::Array(Vec::new()), "{books}");
    assert!(books["transfers"].as_str().unwrap().parse::<u64>().unwrap() > 5, "{books}");
}

#[tokio::test]
async fn a_database_of_every_schema_is_opened_told_and_gone_on_with() {
    for version in FIRST..=migrations().last().unwrap().0 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("before.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(script(version))).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        goes_on(&Place::File(path)).await;
    }
}

#[tokio::test]
async fn so_is_one_on_a_server() {
    for version in FIRST..=migrations().last().unwrap().0 {
        let address = tallymill_postgres::shared().database().unwrap();
        let script = script(version).replace("BLOB", "BYTEA").replace("X'", "'\\x");
        let mut connection = sqlx::PgConnection::connect(&address).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        goes_on(&address.parse().unwrap()).await;
    }
}
