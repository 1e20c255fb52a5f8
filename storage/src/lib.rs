//! Storage: one trait per aggregate, back ends in memory, on SQLite and on PostgreSQL behind them, and the embedded
//! migrations. The two SQL back ends are one store (`sql/`) over what differs between them.
//!
//! The engine decides in memory and hands over a [`Batch`]; [`Commits::commit`] makes it durable in one transaction that
//! first checks that the shards still belong to this epoch and that no commit is missing. Everything else here reads
//! committed rows for people, auditors and a new start. Queries live in `sql/AGGREGATE/VERB.sql`.
//!
//! What is lost on a crash: nothing that a commit answered for. A commit that failed with
//! [`CommitError::Unavailable`] may or may not have happened; the caller reloads.

mod collect;
mod error;
mod memory;
mod names;
mod packs;
mod place;
mod postgres;
mod records;
mod sql;
mod sqlite;
mod traits;

pub use collect::{CollectError, Collection, Done, Looked, Order};
pub use error::{CommitError, CorruptRow, LoadError, OpenError, ReadError};
pub use memory::MemoryStore;
pub use place::Place;
pub use postgres::{PlaceError, PostgresStore, Server};
pub use sqlite::{DatabaseFile, Facts, SqliteStore};
pub use tallymill_engine::rows::{self, Batch, Identity, Snapshot};
pub use traits::{
    Accounts, Admin, Answer, BalanceTotal, Blobs, Commits, Decided, Durability, Hosts, JobFilter,
    Jobs, Keys, Leaf, Ledger, LedgerAudit, MAX_PAGE, Offence, Page, Reports, Rule, Seat, Sitter,
    Store, Taken, Tasks, TransferFilter,
};

use tallymill_protocol::Micros;

/// Shards of a database; every job, host and account belongs to one.
pub const SHARDS: u8 = 64;

/// How long an answer under an idempotency key is remembered, microseconds.
pub const ONCE_TERM: u64 = 7 * Micros::DAY;

/// The shard of an id: its first byte modulo [`SHARDS`].
#[must_use]
pub const fn shard_of(id: &[u8; 32]) -> u8 {
    id[0] % SHARDS
}
