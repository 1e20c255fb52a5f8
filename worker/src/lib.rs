//! The volunteer: joins a coordinator, runs leased tasks, reports signed results.
//!
//! [`join`] makes the keys and tells the coordinator about this machine. [`Worker::start`] begins to work and gives a
//! [`Handle`]; `docs/worker.md` tells an owner what all of it means.
//!
//! Who owns what: the *agent* (one task) owns leases, queue and mode; the *signer* (one thread) owns the host key and
//! the chain of reports and never sees a guest's bytes; the *outbox* owns reports until the coordinator has given a final
//! answer; the *blob cache* owns downloaded bytes. Only the outbox and the chain must survive a crash: leases that were
//! running are given up by not mentioning them any more, and their tasks go to others.

mod agent;
mod api;
mod backoff;
mod blobs;
mod clock;
mod debts;
mod execute;
mod failed;
mod files;
mod idle;
mod job;
mod join;
mod keys;
mod local;
mod mode;
mod options;
mod outbox;
mod sandboxed;
mod seal;
mod signer;
mod spool;
mod status;
mod worker;

pub use api::{Api, ApiError};
pub use blobs::{BlobCache, BlobError};
pub use execute::{Control, Execute, Finished, Placement, Prepared};
pub use files::FileError;
pub use job::{GrantError, MAX_MODULE};
pub use join::{JoinError, Joined, Membership, join};
pub use keys::{KeyError, load_or_create};
pub use local::{LocalError, ask_local};
pub use mode::{Command, Mode, NotNow};
pub use options::{Caps, Options, OptionsError, Rules, Strangers};
pub use outbox::{Entry, Outbox, OutboxError};
pub use sandboxed::Sandboxed;
pub use signer::{Chain, Signer, SignerError};
pub use status::{Status, Trouble};
pub use worker::{Error, Handle, Worker};
