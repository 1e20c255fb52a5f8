//! Snapshots: the whole state of a task between two steps, as one blob whose Merkle root anybody can compute.
//!
//! A [`Snapshot`] is made of parts. [`Snapshot::encode`] writes the blob, [`decode`] reads one that it refuses unless it
//! is the only encoding of its parts, and [`Snapshot::root`] is the state root that receipts name. The root covers every
//! part, so two hosts with equal roots have equal states, and [`difference`] names the first part in which two snapshots
//! are not equal. `docs/protocol/steps.md` is the specification.

mod blob;
mod files;
mod handles;
mod parts;
mod tree;

pub use blob::{SnapshotError, decode, max_len, root};
pub use files::{Content, Files, MAX_NODES, Node};
pub use handles::{Handle, Handles, MAX_HANDLES, Open};
pub use parts::{
    Counters, Dropped, Facts, Global, Head, MAX_GLOBALS, MAX_SEGMENTS, MAX_TABLES, Pages, Snapshot,
};
pub use tree::{Part, difference};

/// Bytes in a page of linear memory.
pub const PAGE: usize = 65_536;
/// Most pages of linear memory: 4 GiB.
pub const MAX_PAGES: usize = 65_536;
/// Table entries under one leaf.
pub const TABLE_LEAF: usize = 8_192;
