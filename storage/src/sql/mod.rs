//! What both SQL back ends share: one store over [`Backend`], which says what differs.
//!
//! Statements live in `sql/AGGREGATE/VERB.sql`. One text serves both where it can; `VERB.sqlite.sql` and
//! `VERB.postgres.sql` stand beside each other where it cannot.

mod audit;
mod backend;
#[cfg(test)]
pub(crate) mod before;
mod bulk;
mod collect;
mod evidence;
mod lent;
mod load;
mod migrate;
mod note;
mod read;
mod seat;
mod store;
pub(crate) mod value;
mod write;

pub(crate) use audit::audit;
pub(crate) use backend::{Backend, Opened, Options, Pending, Told, statements};
#[cfg(test)]
pub(crate) use load::many;
pub(crate) use load::plain;
pub(crate) use migrate::{MIGRATIONS, run as migrate};
pub(crate) use read::full;
pub(crate) use seat::SqlSeat;
pub use store::SqlStore;

/// The text of the query in `sql/NAME.sql`.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $name, ".sql"))
    };
}
pub(crate) use sql;

/// Where the rows of a bulk statement go.
pub(crate) const ROWS: &str = "VALUES {rows}";

/// Whose the shards are while a handle is good.
#[derive(Debug, Clone, Copy)]
struct Hold {
    owner: tallymill_protocol::CoordinatorId,
    epoch: u64,
}

/// Every `.sql` file of this crate that a back end may be asked: all but those of the other one.
#[cfg(test)]
pub(crate) fn files(other: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sql")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.retain(|path| !path.to_string_lossy().ends_with(&format!(".{other}.sql")));
    assert!(found.len() > 70, "{} queries", found.len());
    found
}

/// Columns between the first pair of parentheses, which a bulk insert names before its rows; of another bulk statement 1.
#[cfg(test)]
pub(crate) fn columns(sql: &str) -> usize {
    let list = sql.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let bulk = sql.contains(ROWS) && !sql.starts_with("DELETE");
    if bulk { list.map_or(1, |(list, _)| list.split(',').count()) } else { 1 }
}
