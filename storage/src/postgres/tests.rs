//! What only the inside of the PostgreSQL back end can show: every query prepares, sessions have limits.

use std::net::TcpListener;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Postgres, Row, SqlSafeStr};
use tallymill_engine::rows::{Batch, BlobRow, Identity};
use tallymill_protocol::{AccountId, CoordinatorId, Digest, Micros, Network};

use super::{PATIENCE, PostgresStore, SETTINGS, Server, WRITER, durable, expand, opened, session};
use crate::sql::{self, Backend as _, MIGRATIONS, ROWS, before, migrate};
use crate::{Blobs, CommitError, Commits, OpenError, ReadError};

fn server() -> Server {
    tallymill_postgres::shared().database().unwrap().parse().unwrap()
}

fn identity() -> Identity {
    Identity { network: Network::new("test").unwrap(), coordinator: CoordinatorId([9; 32]) }
}

async fn connect() -> PgConnection {
    session(&server()).connect().await.unwrap()
}

/// The type of each column that a bulk statement names, of the table that its folder names. Ids stand for numbers there, and
/// places become numbers.
async fn types(connection: &mut PgConnection, table: &str, columns: &str) -> Vec<String> {
    let types = "SELECT CASE
            WHEN n.name LIKE '%\\_id' THEN 'bytea'
            WHEN n.name = 'place' THEN 'bigint'
            ELSE format_type(COALESCE(NULLIF(t.typbasetype, 0), a.atttypid), NULL)
        END
        FROM UNNEST(string_to_array($2, ',')) WITH ORDINALITY AS c (name, place)
        CROSS JOIN LATERAL (SELECT trim(c.name, E' \\n') AS name) AS n
        LEFT JOIN pg_attribute AS a ON a.attname = n.name AND a.attrelid = CAST($1 AS regclass)
        LEFT JOIN pg_type AS t ON t.oid = a.atttypid
        ORDER BY c.place";
    sqlx::query_scalar(types).bind(table).bind(columns).fetch_all(connection).await.unwrap()
}

#[tokio::test]
async fn every_query_prepares() {
    let mut connection = connect().await;
    migrate::<Postgres>(&mut connection, MIGRATIONS).await.unwrap();
    for file in sql::files("sqlite") {
        let mut text = std::fs::read_to_string(&file).unwrap();
        if text.contains(ROWS) {
            let table = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let columns = text.split_once('(').unwrap().1.split_once(')').unwrap().0.to_owned();
            let deleted =
                text.split_once(" WHERE ").map(|(_, rest)| rest.split(' ').next().unwrap());
            let columns = if columns.starts_with(ROWS) { deleted.unwrap() } else { &columns };
            let types = types(&mut connection, table, columns).await;
            assert_eq!(types.len(), sql::columns(&text), "{}", file.display());
            let arrays: Vec<_> = types.iter().map(|kind| format!("NULL::{kind}[]")).collect();
            let rows = format!("SELECT * FROM UNNEST({})", arrays.join(", "));
            text = text.replace(ROWS, &rows);
        }
        let prepared = connection.prepare(sqlx::AssertSqlSafe(text).into_sql_str()).await;
        assert!(prepared.is_ok(), "{}: {:?}", file.display(), prepared.err());
    }
}

/// The plan of a statement for any parameters.
async fn plan(connection: &mut PgConnection, statement: &str, parameters: usize) -> String {
    let nulls = match parameters {
        0 => String::new(),
        some => format!("({})", vec!["NULL"; some].join(", ")),
    };
    let setup = format!("SET plan_cache_mode = force_generic_plan; PREPARE asked AS {statement}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(setup)).execute(&mut *connection).await.unwrap();
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN EXECUTE asked {nulls}"));
    let lines = sqlx::raw_sql(explain).fetch_all(&mut *connection).await.unwrap();
    sqlx::raw_sql("DEALLOCATE asked").execute(connection).await.unwrap();
    lines.iter().map(|line| line.get::<String, _>(0) + "\n").collect()
}

#[tokio::test]
async fn what_grows_is_found_by_an_index_before_there_are_statistics() {
    let mut connection = session(&server()).options(WRITER).connect().await.unwrap();
    migrate::<Postgres>(&mut connection, MIGRATIONS).await.unwrap();
    let rows =
        "SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bytea[])";
    let moved = include_str!("../../sql/replica/move.sql").replace(ROWS, rows);
    let ended = include_str!("../../sql/lease/delete.sql");
    let ended = ended.replace(ROWS, "SELECT * FROM UNNEST($1::bytea[])");
    let results = include_str!("../../sql/task/list_decided.sql").to_owned();
    let mut reader = session(&server()).connect().await.unwrap();
    migrate::<Postgres>(&mut reader, MIGRATIONS).await.unwrap();
    for (reads, statement, parameters) in [(false, moved, 5), (false, ended, 1), (true, results, 3)]
    {
        let session = if reads { &mut reader } else { &mut connection };
        let plan = plan(session, &statement, parameters).await;
        let whole = plan.contains("Seq Scan") || plan.contains("Join Filter");
        assert!(plan.contains("Index Scan") && !whole, "{statement}\n{plan}");
    }
    // What examines whole tables joins them as a whole.
    let balances = include_str!("../../sql/audit/balances.sql");
    let mut tx = reader.begin().await.unwrap();
    assert!(!plan(&mut tx, balances, 0).await.contains("Hash "));
    Postgres::patient(&mut tx).await.unwrap();
    let plan = plan(&mut tx, balances, 0).await;
    assert!(plan.contains("Hash ") || plan.contains("Merge "), "{plan}");
}

#[tokio::test]
async fn pages_are_read_in_the_order_of_an_index() {
    let mut reader = session(&server()).connect().await.unwrap();
    migrate::<Postgres>(&mut reader, MIGRATIONS).await.unwrap();
    // More than the server would rather sort than look up one by one.
    let many = "INSERT INTO task (job, task, segment, sequence, state, at) \
                SELECT 1, n, 0, n, 'final', 0 FROM generate_series(1, 20000) AS n";
    sqlx::raw_sql(many).execute(&mut reader).await.unwrap();
    let mut pages = 0;
    for file in sql::files("sqlite") {
        let statement = std::fs::read_to_string(&file).unwrap();
        // What is gathered from several places, and the replicas and void runs of one task, are sorted, and suspensions are
        // passed over; they are few.
        let gathers = ["GROUP BY", "UNION", "segment DESC", "FROM void_run", "FROM suspension"]
            .iter()
            .any(|word| statement.contains(word));
        if !statement.contains("LIMIT $") || gathers {
            continue;
        }
        let parameters = (1..9).filter(|at| statement.contains(&format!("${at}"))).count();
        let plan = plan(&mut reader, &statement, parameters).await;
        let whole = ["Sort", "Seq Scan", "Join Filter"].iter().any(|word| plan.contains(word));
        assert!(plan.contains("Index Cond") && !whole, "{}\n{statement}\n{plan}", file.display());
        pages += 1;
    }
    assert!(pages >= 15, "{pages}");
}

#[test]
fn a_statement_takes_many_rows_in_one_array_per_column() {
    assert_eq!([1, 4_096, 9_999].map(Postgres::portion), [1, 4_096, 4_096]);
    let insert = "INSERT INTO t (a, b) VALUES {rows} ON CONFLICT DO NOTHING";
    let expected = "INSERT INTO t (a, b) SELECT * FROM UNNEST($1, $2) ON CONFLICT DO NOTHING";
    assert_eq!(expand(insert, 2), expected);
}

/// A migration moves everything that there is, which takes longer than a commit and is planned as a whole.
#[tokio::test]
async fn a_migration_may_take_long() {
    let mut connection = session(&server()).options(WRITER).connect().await.unwrap();
    let seen = "CREATE TABLE seen AS SELECT name, setting FROM pg_settings
        WHERE name IN ('statement_timeout', 'enable_hashjoin', 'enable_seqscan')";
    migrate::<Postgres>(&mut connection, &[(1, seen)]).await.unwrap();
    let seen: Vec<(String, String)> =
        sqlx::query_as("SELECT name, setting FROM seen ORDER BY name")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let expected =
        [("enable_hashjoin", "on"), ("enable_seqscan", "on"), ("statement_timeout", "540000")];
    assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn migrations_run_once_and_whole() {
    let mut connection = connect().await;
    let good = (1, "CREATE TABLE a (id BIGINT); INSERT INTO a (id) VALUES (7)");
    let bad = (2, "CREATE TABLE b (id BIGINT); INSERT INTO missing (id) VALUES (7)");
    migrate::<Postgres>(&mut connection, &[good]).await.unwrap();
    migrate::<Postgres>(&mut connection, &[good]).await.unwrap();
    let refused = migrate::<Postgres>(&mut connection, &[good, bad]).await;
    assert!(matches!(refused, Err(OpenError::Migration { version: 2, .. })));
    let rows: (i64, Option<String>) =
        sqlx::query_as("SELECT (SELECT COUNT(*) FROM a), CAST(to_regclass('b') AS TEXT)")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(rows, (1, None), "half of a migration stayed");
}

/// The migrations move on a server what they move in a file.
#[tokio::test]
async fn results_survive_the_migration_to_packs() {
    let bytes = |sql: &str| sqlx::AssertSqlSafe(sql.replace("x'", "'\\x"));
    let mut connection = connect().await;
    migrate::<Postgres>(&mut connection, &MIGRATIONS[..5]).await.unwrap();
    sqlx::raw_sql(bytes(before::PACKS)).execute(&mut connection).await.unwrap();
    migrate::<Postgres>(&mut connection, MIGRATIONS).await.unwrap();
    for (sound, of) in before::SOUND {
        let sound =
            sound.replace("CAST(", "CAST(CAST(").replace(" AS BIGINT)", " AS INT) AS BIGINT)");
        let sound: i64 =
            sqlx::query_scalar(bytes(&sound)).fetch_one(&mut connection).await.unwrap();
        assert_eq!(sound, 1, "{of}");
    }
}

#[tokio::test]
async fn a_session_has_its_settings_whatever_the_database_says() {
    let server = server();
    let mut connection = server.options().connect().await.unwrap();
    let off = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$";
    sqlx::raw_sql(off).execute(&mut connection).await.unwrap();
    let mut connection = session(&server).connect().await.unwrap();
    durable(&mut connection, "here").await.unwrap();
    for (setting, expected) in SETTINGS {
        let found: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(found, expected, "{setting}");
    }
    let mut careless = server.options().connect().await.unwrap();
    let refused = durable(&mut careless, "here").await;
    let Err(OpenError::Durability { setting, found, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((setting, found.as_str()), ("synchronous_commit", "off"));
}

/// A server that takes connections and says nothing is given up, as is one whose answer does not come: nothing here waits
/// for longer than it must.
#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let address = format!("postgres://m@127.0.0.1:{port}/mill?sslmode=disable");
    let opened = opened(&address.parse().unwrap(), Duration::from_millis(10));
    let refused = PostgresStore::take(opened, &identity()).await.err().unwrap();
    assert!(format!("{refused:?}").contains("did not answer in time"), "{refused:?}");
}

#[tokio::test]
async fn a_commit_and_a_read_that_take_too_long_are_given_up() {
    let server = server();
    let mut store = PostgresStore::connect(&server, &identity()).await.unwrap();
    let mut lock = server.options().connect().await.unwrap();
    let mut held = lock.begin().await.unwrap();
    sqlx::query("LOCK TABLE blob IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    store.be_patient_for(Duration::from_millis(50)).await;
    let (digest, account) = (Digest([9; 32]), AccountId([1; 32]));
    let blobs = vec![BlobRow { digest, length: 1, account, at: Micros(0) }];
    let unknown = store.commit(&Batch { sequence: 1, blobs, ..Batch::default() }).await;
    assert!(matches!(unknown, Err(CommitError::Unavailable(sqlx::Error::Io(_)))), "{unknown:?}");
    for _ in 0..6 {
        let unread = store.blob(digest).await;
        assert!(matches!(unread, Err(ReadError::Database(sqlx::Error::Io(_)))), "{unread:?}");
    }
    held.rollback().await.unwrap();
    store.be_patient_for(PATIENCE).await;
    // The session that was given up may still come to its end: what is stored, a load tells.
    let sequence = store.load().await.unwrap().sequence;
    store.commit(&Batch { sequence: sequence + 1, ..Batch::default() }).await.unwrap();
    store.blob(digest).await.unwrap();
}

#[tokio::test]
async fn whoever_shares_a_database_loses_a_session_that_stands_still() {
    let opened = super::shared(&server());
    let mut connection = opened.writer.connect().await.unwrap();
    let shown = "SHOW idle_in_transaction_session_timeout";
    let limit: String = sqlx::query_scalar(shown).fetch_one(&mut connection).await.unwrap();
    assert_eq!(limit, "2s");
}
