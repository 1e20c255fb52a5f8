//! What differs between SQL back ends, as one trait.

use std::pin::Pin;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection, Database};

use super::value::Cells;
use crate::records::Record;
use crate::{CommitError, OpenError};

/// What a statement answers later.
pub type Pending<'a, T, E = sqlx::Error> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// How to connect to a back end.
pub(crate) type Options<B> = <<B as Database>::Connection as Connection>::Options;

/// What an error of the database says about the statement that failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// No space is left.
    Full,
    /// A row is there already or breaks a rule, of this table where the database names it.
    Conflict(Option<String>, String),
    /// A number does not fit into its column.
    Range,
    /// The transaction is undone for the sake of another one; the same again may go well.
    Undone,
    /// Anything else: whether a commit happened is unknown.
    Unknown,
}

/// A place that was opened: how people call it, and how it is written and read.
pub(crate) struct Opened<B: Backend> {
    /// Its name in messages, without secrets.
    pub(crate) place: String,
    /// How the one writer connects.
    pub(crate) writer: Options<B>,
    /// How readers connect.
    pub(crate) readers: Options<B>,
    /// Longest wait of a read for its turn: for one of the readers, or for a server that does not listen now.
    pub(crate) turn: Duration,
    /// Longest wait for a connection, a commit or a read; what reads everything may take [`LONGER`] times as long.
    pub(crate) patience: Duration,
}

/// A kind of SQL database.
pub trait Backend: Database {
    /// Its name.
    const KIND: &'static str;
    /// Begins a transaction that will write.
    const BEGIN: &'static str;
    /// Begins a transaction whose reads all see one state.
    const SNAPSHOT: &'static str;
    /// Counts the shards that an owner holds in an epoch, and keeps others from taking them until the transaction ends.
    const HELD: &'static str;
    /// Refuses a database whose commits would not survive the loss of power, or that does not hold every text.
    fn durable<'a>(
        connection: &'a mut Self::Connection,
        place: &'a str,
    ) -> Pending<'a, (), OpenError>;

    /// Keeps out, until the transaction ends, whoever else prepares the same database.
    fn alone(connection: &mut Self::Connection) -> Pending<'_, ()>;

    /// Lets the statements of this transaction take [`LONGER`] times as long.
    fn patient(connection: &mut Self::Connection) -> Pending<'_, ()>;

    /// Executes a text of several statements that define tables.
    fn define<'a>(connection: &'a mut Self::Connection, sql: &'static str) -> Pending<'a, ()>;

    /// Executes a statement.
    fn execute<'a>(
        connection: &'a mut Self::Connection,
        sql: &'static str,
        cells: Cells,
    ) -> Pending<'a, u64>;

    /// The rows of a query.
    fn rows<'a>(
        connection: &'a mut Self::Connection,
        sql: &'static str,
        cells: Cells,
    ) -> Pending<'a, Vec<Self::Row>>;

    /// How many of `left` rows the next bulk statement takes.
    fn portion(left: usize) -> usize;

    /// Executes a statement with `{rows}` for that many rows; answers how many rows of the table changed.
    fn bulk<'a>(
        connection: &'a mut Self::Connection,
        sql: &'static str,
        cells: Cells,
        rows: usize,
    ) -> Pending<'a, u64>;

    /// A record of a row.
    fn record<R: Record>(row: &Self::Row) -> Result<R, sqlx::Error>;

    /// What an error says.
    fn told(error: &sqlx::Error) -> Told;
}

/// How many times longer than a commit whatever reads everything may take.
pub(crate) const LONGER: u32 = 10;

/// Connects, if that takes no longer than `patience`.
pub(super) async fn connect<B: Backend>(
    options: &Options<B>,
    patience: Duration,
) -> Result<B::Connection, sqlx::Error> {
    tokio::time::timeout(patience, options.connect()).await.unwrap_or_else(|_| Err(late()))
}

/// The error of an answer that did not come in time.
pub(super) fn late() -> sqlx::Error {
    let what = "the database did not answer in time";
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what))
}

/// The commit error that an error of the database stands for.
pub(super) fn failed<B: Backend>(error: sqlx::Error) -> CommitError {
    failed_in::<B>("", error)
}

/// The same where the statement wrote this table.
pub(super) fn failed_in<B: Backend>(table: &'static str, error: sqlx::Error) -> CommitError {
    match B::told(&error) {
        Told::Full => CommitError::Full,
        Told::Conflict(named, detail) => {
            CommitError::Conflict { table: named.unwrap_or_else(|| table.to_owned()), detail }
        }
        Told::Range => CommitError::Range { table },
        Told::Undone | Told::Unknown => CommitError::Unavailable(error),
    }
}

/// Writes the functions of [`Backend`] that are the same but for sqlx's types.
macro_rules! statements {
    ($arguments:path) => {
        fn execute<'a>(
            connection: &'a mut Self::Connection,
            sql: &'static str,
            cells: Cells,
        ) -> Pending<'a, u64> {
            Box::pin(async move {
                let query = sqlx::query_with(sql, $arguments(cells)?);
                query.execute(connection).await.map(|done| done.rows_affected())
            })
        }

        fn rows<'a>(
            connection: &'a mut Self::Connection,
            sql: &'static str,
            cells: Cells,
        ) -> Pending<'a, Vec<Self::Row>> {
            Box::pin(async move {
                sqlx::query_with(sql, $arguments(cells)?).fetch_all(connection).await
            })
        }

        fn record<R: Record>(row: &Self::Row) -> Result<R, sqlx::Error> {
            R::from_row(row)
        }
    };
}
pub(crate) use statements;
