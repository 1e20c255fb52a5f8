//! PostgreSQL: a server, reached by an address that never shows its password.
//!
//! Every session sets `synchronous_commit`, and opening reads it back together with `fsync`: a commit that was answered
//! for survives the loss of power, or the database is refused. A commit locks the rows of its shards until it ends, so a
//! takeover waits for it, and a commit that waited for a takeover finds the shards gone. Sessions have limits of their
//! own: a transaction whose owner has vanished ends by itself and holds up nobody.
//!
//! Rows are written by UNNEST of one array per column: one statement for any number of rows, and one round trip.

mod place;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, Postgres};
use sqlx::{Arguments as _, AssertSqlSafe};
use tallymill_engine::rows::Identity;

use crate::records::Record;
use crate::sql::value::{Cells, Value};
use crate::sql::{Backend, Opened, Pending, ROWS, SqlSeat, SqlStore, Told, sql, statements};
use crate::{OpenError, Seat};

pub use place::{PlaceError, Server};

/// Most rows in one statement. An array costs as much per row at any length; this bounds memory.
const MOST_ROWS: usize = 4_096;

/// Prepared statements kept per connection: all that there are.
const STATEMENTS: usize = 256;

/// How long a read waits for its turn. While a server is away each one waits so long, and then its caller is told.
const TURN: Duration = Duration::from_secs(3);

/// Longest wait for an answer of the server, which should say before that what keeps it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The advisory lock of whoever prepares a database: "tallymil" in ASCII.
const ALONE: i64 = 0x7461_6c6c_796d_696c;

/// What each session sets. The server ends a statement, a wait for a lock and an idle transaction before this program
/// gives up on them, so that its answer is heard.
const SETTINGS: [(&str, &str); 9] = [
    ("synchronous_commit", "on"),
    ("statement_timeout", "50s"),
    ("lock_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "30s"),
    ("client_connection_check_interval", "5s"),
    // Rows are found by an index, however many there are by now: tables grow faster than statistics about them, and a plan
    // that joins a table as a whole is made for the small one and kept. No statement runs for long enough to be compiled.
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // Pages come in the order of an index and end at their limit: a plan that gathers all that follows, to sort it, reads a
    // million rows for each page of a million tasks.
    ("enable_bitmapscan", "off"),
    ("jit", "off"),
];

/// What the session of commits sets besides.
const WRITER: [(&str, &str); 1] = [("enable_seqscan", "off")];

/// What the sessions of those set who take over from each other. A process that stands still in the middle of a commit holds
/// its shards until the server ends its session.
const SHARED: [(&str, &str); 1] = [("idle_in_transaction_session_timeout", "2s")];

/// What a database must say about itself: setting and value.
const DEMANDS: [(&str, &str); 3] =
    [("synchronous_commit", "on"), ("fsync", "on"), ("server_encoding", "UTF8")];

/// A store in a PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

impl SqlStore<Postgres> {
    /// Opens a database, brings its schema up to date and takes its shards in a new epoch.
    ///
    /// A handle that was opened earlier on the same database can read, but not commit any more.
    ///
    /// # Errors
    /// When the server cannot be reached, or the database is another coordinator's or network's, was written by a newer
    /// program, or would not keep what it commits.
    pub async fn connect(server: &Server, identity: &Identity) -> Result<Self, OpenError> {
        Self::take(opened(server, PATIENCE), identity).await
    }
}

/// The seat of a database, for coordinators that take over from each other.
///
/// # Errors
/// As [`PostgresStore::connect`].
pub(crate) async fn seat(
    server: &Server,
    identity: &Identity,
) -> Result<impl Seat + use<>, OpenError> {
    let server = server.clone();
    SqlSeat::<Postgres>::open(identity, move || shared(&server)).await
}

/// The sessions of a store on a database that is shared.
fn shared(server: &Server) -> Opened<Postgres> {
    let opened = opened(server, PATIENCE);
    Opened { writer: opened.writer.options(SHARED), ..opened }
}

/// The sessions of a store.
fn opened(server: &Server, patience: Duration) -> Opened<Postgres> {
    let readers = session(server).options([("default_transaction_read_only", "on")]);
    // A commit touches a few rows of each table; what loads or examines all of them says so by `patient`.
    let writer = session(server).options(WRITER);
    Opened { place: server.to_string(), writer, readers, turn: TURN, patience }
}

/// How a session begins.
fn session(server: &Server) -> PgConnectOptions {
    server.options().options(SETTINGS).statement_cache_capacity(STATEMENTS)
}

/// Text as PostgreSQL takes it: it has no NUL, which becomes the mark of a character that cannot be shown.
fn text(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

/// The parameters as PostgreSQL takes them.
fn arguments(cells: Cells) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for value in cells.values {
        let added = match value {
            Value::Int(number) => arguments.add(number),
            Value::Truth(truth) => arguments.add(truth),
            Value::Text(string) => arguments.add(string.as_deref().map(text)),
            Value::Bytes(bytes) => arguments.add(bytes),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// One array per column.
fn arrays(values: &[Value], columns: usize) -> Result<PgArguments, sqlx::Error> {
    /// Every `columns`th value, from the first on; of a column all are of one kind.
    macro_rules! column {
        ($values:expr, $kind:ident, $value:ident => $as:expr) => {{
            let column = $values.iter().step_by(columns).map(|value| match value {
                Value::$kind($value) => $as,
                _ => None,
            });
            column.collect::<Vec<_>>()
        }};
    }
    let mut arguments = PgArguments::default();
    for first in 0..columns {
        let values = &values[first..];
        let added = match &values[0] {
            Value::Int(_) => arguments.add(column!(values, Int, it => *it)),
            Value::Truth(_) => arguments.add(column!(values, Truth, it => *it)),
            Value::Text(_) => arguments.add(column!(values, Text, it => it.as_deref().map(text))),
            Value::Bytes(_) => arguments.add(column!(values, Bytes, it => it.as_deref())),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// The statement with the rows of `columns` arrays.
fn expand(sql: &str, columns: usize) -> String {
    let arrays: Vec<String> = (1..=columns).map(|number| format!("${number}")).collect();
    // tidy: a part of a statement; the statements that it becomes part of are in files.
    sql.replace(ROWS, &format!("SELECT * FROM UNNEST({})", arrays.join(", ")))
}

impl Backend for Postgres {
    const KIND: &'static str = "postgres";
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    const SNAPSHOT: &'static str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    const HELD: &'static str = sql!("shard/held.postgres");

    statements!(arguments);

    fn durable<'a>(connection: &'a mut PgConnection, place: &'a str) -> Pending<'a, (), OpenError> {
        Box::pin(durable(connection, place))
    }

    /// One text defines the tables of both back ends, but for the name of one type. A domain of the other name would do, if
    /// there were no table of that name too.
    fn define<'a>(connection: &'a mut PgConnection, sql: &'static str) -> Pending<'a, ()> {
        Box::pin(async move {
            let sql = AssertSqlSafe(sql.replace("BLOB", "BYTEA"));
            sqlx::raw_sql(sql).execute(connection).await.map(drop)
        })
    }

    fn alone(connection: &mut PgConnection) -> Pending<'_, ()> {
        Box::pin(async move {
            let lock = sqlx::query(sql!("lock/alone.postgres")).bind(ALONE);
            lock.execute(connection).await.map(drop)
        })
    }

    fn patient(connection: &mut PgConnection) -> Pending<'_, ()> {
        Box::pin(async move {
            sqlx::query(sql!("setting/patient.postgres")).execute(connection).await.map(drop)
        })
    }

    fn portion(left: usize) -> usize {
        left.min(MOST_ROWS)
    }

    fn bulk<'a>(
        connection: &'a mut PgConnection,
        sql: &'static str,
        cells: Cells,
        rows: usize,
    ) -> Pending<'a, u64> {
        Box::pin(async move {
            let columns = cells.values.len() / rows;
            let arrays = arrays(&cells.values, columns)?;
            // Only names of parameters are added to a statement from a file; no data enters its text.
            let sql = AssertSqlSafe(expand(sql, columns));
            let done = sqlx::query_with(sql, arrays).execute(connection).await?;
            Ok(done.rows_affected())
        })
    }

    fn told(error: &sqlx::Error) -> Told {
        let Some(error) = error.as_database_error() else { return Told::Unknown };
        let code = error.code().unwrap_or_default();
        match code.as_ref() {
            "53100" => Told::Full,
            "22003" => Told::Range,
            "40001" | "40P01" => Told::Undone,
            // A row twice in one statement, and whatever breaks a rule of a table.
            code if code == "21000" || code.starts_with("23") => {
                Told::Conflict(error.table().map(str::to_owned), error.message().to_owned())
            }
            _ => Told::Unknown,
        }
    }
}

async fn durable(connection: &mut PgConnection, place: &str) -> Result<(), OpenError> {
    let refused = |source| OpenError::Database { path: place.to_owned(), source };
    for (setting, expected) in DEMANDS {
        let found: String = sqlx::query_scalar(sql!("setting/get.postgres"))
            .bind(setting)
            .fetch_one(&mut *connection)
            .await
            .map_err(refused)?;
        if found != expected {
            let path = place.to_owned();
            return Err(OpenError::Durability { path, setting, found, expected });
        }
    }
    Ok(())
}
