//! Bulk statements: many rows per statement, because one execution costs as much as a dozen rows.

use sqlx::Transaction;

use super::Backend;
use super::backend::failed_in;
use super::value::Cells;
use crate::CommitError;

/// Bytes of texts and bytes after which a statement takes no further row: a message to a server has a largest size.
const MOST_BYTES: usize = 8 << 20;

/// A statement over rows of one table.
pub(super) struct Bulk {
    /// The table, for errors.
    pub(super) table: &'static str,
    /// The statement, with `{rows}`.
    pub(super) sql: &'static str,
}

/// A bulk statement of `sql/TABLE/VERB.sql`.
macro_rules! bulk {
    ($table:literal, $verb:literal) => {
        crate::sql::bulk::Bulk {
            table: $table,
            sql: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/sql/",
                $table,
                "/",
                $verb,
                ".sql"
            )),
        }
    };
}
pub(super) use bulk;

impl Bulk {
    /// Executes the statement for all rows, in as few portions as the back end allows; answers how many rows changed.
    pub(super) async fn run<B: Backend, R>(
        &self,
        tx: &mut Transaction<'_, B>,
        rows: &[R],
        bind: impl Fn(&R, &mut Cells),
    ) -> Result<u64, CommitError> {
        let (mut rest, mut changed) = (rows, 0);
        while !rest.is_empty() {
            let (cells, taken) = gather(rest, B::portion(rest.len()), &bind);
            if cells.overflow {
                return Err(CommitError::Range { table: self.table });
            }
            rest = &rest[taken..];
            let done = B::bulk(&mut *tx, self.sql, cells, taken).await;
            changed += done.map_err(|error| failed_in::<B>(self.table, error))?;
        }
        Ok(changed)
    }
}

/// The parameters of the first rows, at most `most`, and of how many they are.
fn gather<R>(rows: &[R], most: usize, bind: impl Fn(&R, &mut Cells)) -> (Cells, usize) {
    let (mut cells, mut taken) = (Cells::default(), 0);
    for row in rows.iter().take(most) {
        bind(row, &mut cells);
        taken += 1;
        if cells.length >= MOST_BYTES {
            break;
        }
    }
    (cells, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_takes_as_many_rows_as_allowed_and_no_more_after_many_bytes() {
        let bind = |row: &Vec<u8>, cells: &mut Cells| cells.put(row);
        let (small, large) = (vec![vec![1]; 9], vec![vec![1; MOST_BYTES / 2]; 9]);
        assert_eq!(gather(&small, 4, bind).1, 4);
        assert_eq!(gather(&small, 20, bind).1, 9);
        assert_eq!(gather(&large, 9, bind).1, 2);
        assert_eq!(gather(&[vec![1; MOST_BYTES * 2]], 9, bind).1, 1, "one row is always taken");
    }
}
