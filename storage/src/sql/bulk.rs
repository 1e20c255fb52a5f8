//! Bulk statements: many rows per statement, because one execution costs as much as a dozen rows.

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, SqliteConnection};
use tallymill_ledger::{Amount, LedgerAccountId};
use tallymill_protocol::{
    AccountId, AttemptId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest, Message, Micros,
    SignedBytes, TaskIndex,
};

use super::failed;
use crate::CommitError;

/// Most rows in one statement; 20 columns of them stay far below SQLite's 32,766 parameters.
const MOST_ROWS: usize = 128;

/// Where the tuples of values go.
const ROWS: &str = "{rows}";

/// Parameters of a statement.
#[derive(Default)]
pub(super) struct Cells {
    pub(super) arguments: SqliteArguments,
    overflow: bool,
}

impl Cells {
    fn int(&mut self, number: impl TryInto<i64>) {
        match number.try_into() {
            Ok(number) => self.add(number),
            Err(_) => self.overflow = true,
        }
    }

    fn add<'t, T>(&mut self, value: T)
    where
        T: sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.overflow |= self.arguments.add(value).is_err();
    }
}

/// A value that a column takes.
pub(super) trait Put {
    /// Appends it.
    fn put(&self, cells: &mut Cells);
}

macro_rules! puts {
    ($($type:ty: |$value:ident, $cells:ident| $put:expr;)*) => {$(
        impl Put for $type {
            fn put(&self, $cells: &mut Cells) {
                let $value = self;
                $put;
            }
        }
    )*};
}

macro_rules! put_ids {
    ($($id:ident),*) => { puts! { $($id: |id, cells| cells.add(id.0.as_slice());)* } };
}
put_ids!(AccountId, AttemptId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest);

puts! {
    u64: |number, cells| cells.int(*number);
    u32: |number, cells| cells.int(*number);
    u8: |number, cells| cells.int(*number);
    i64: |number, cells| cells.add(*number);
    bool: |truth, cells| cells.add(*truth);
    Amount: |amount, cells| cells.add(amount.micros());
    Micros: |time, cells| cells.int(time.0);
    TaskIndex: |task, cells| cells.int(task.0);
    LedgerAccountId: |id, cells| cells.add(id.0.as_slice());
    String: |text, cells| cells.add(text.as_str());
    &str: |text, cells| cells.add(*text);
    Vec<u8>: |bytes, cells| cells.add(bytes.as_slice());
    [u8; 32]: |bytes, cells| cells.add(bytes.as_slice());
    [u8; 8]: |bytes, cells| cells.add(bytes.as_slice());
    &[u8]: |bytes, cells| cells.add(*bytes);
    SignedBytes: |signed, cells| cells.add(signed.to_bytes().as_slice());
}

impl<T: Put> Put for Option<T> {
    fn put(&self, cells: &mut Cells) {
        match self {
            Some(value) => value.put(cells),
            None => cells.add(None::<i64>),
        }
    }
}

/// Appends values in the order of the statement's columns.
macro_rules! put {
    ($cells:expr; $($value:expr),* $(,)?) => {{
        $(crate::sqlite::bulk::Put::put(&$value, $cells);)*
    }};
}
pub(super) use put;

/// Parameters of one statement.
macro_rules! cells {
    () => {
        crate::sqlite::bulk::Cells::default()
    };
    ($($value:expr),* $(,)?) => {{
        let mut cells = crate::sqlite::bulk::Cells::default();
        $(crate::sqlite::bulk::Put::put(&$value, &mut cells);)*
        cells
    }};
}
pub(super) use cells;

/// The statement with `rows` tuples of `columns` parameters in place of `{rows}`.
pub(super) fn expand(sql: &str, columns: usize, rows: usize) -> String {
    let tuple = format!("({})", vec!["?"; columns].join(","));
    sql.replace(ROWS, &vec![tuple.as_str(); rows].join(","))
}

/// A statement over rows of one table.
pub(super) struct Bulk {
    /// The table, for errors.
    pub(super) table: &'static str,
    /// The statement, with `{rows}`.
    pub(super) sql: &'static str,
}

impl Bulk {
    /// Executes the statement for all rows, in chunks of powers of two so that few statements are prepared; answers how
    /// many rows changed.
    pub(super) async fn run<R>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[R],
        bind: impl Fn(&R, &mut Cells),
    ) -> Result<u64, CommitError> {
        let (mut rest, mut changed) = (rows, 0);
        while !rest.is_empty() {
            let most = rest.len().min(MOST_ROWS);
            let (chunk, after) = rest.split_at(1 << most.ilog2());
            rest = after;
            let mut cells = Cells::default();
            chunk.iter().for_each(|row| bind(row, &mut cells));
            changed += self.chunk(connection, cells, chunk.len()).await?;
        }
        Ok(changed)
    }

    async fn chunk(
        &self,
        connection: &mut SqliteConnection,
        cells: Cells,
        rows: usize,
    ) -> Result<u64, CommitError> {
        if cells.overflow {
            return Err(CommitError::Range { table: self.table });
        }
        let columns = cells.arguments.len() / rows;
        // Only question marks are added to a statement from a file; no data enters its text.
        let sql = AssertSqlSafe(expand(self.sql, columns, rows));
        let done = sqlx::query_with(sql, cells.arguments).execute(connection).await;
        done.map(|done| done.rows_affected()).map_err(failed)
    }
}
