//! The lease: a signed token that lets one host run a range of tasks until it expires.

use crate::cbor::{Message, record};
use crate::id::{
    AccountId, AttemptId, CoordinatorId, Digest, HostId, JobId, LeaseDigest, Micros, Network,
    Nonce, TaskIndex,
};
use crate::job::{Limits, Tariff, Versions};

/// Most tasks in one lease.
pub const MAX_LEASE_TASKS: u32 = 8192;

record! {
    /// The right to run a range of tasks, with everything needed to judge a report under it.
    pub struct Lease("lease", 4096) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The network.
        1 => network: Network,
        /// Who grants.
        2 => coordinator: CoordinatorId,
        /// Epoch of the job's shard.
        3 => epoch: u64,
        /// The job.
        4 => job: JobId,
        /// First task.
        5 => first: TaskIndex,
        /// Number of tasks, 1 to [`MAX_LEASE_TASKS`].
        6 => count: u32,
        /// The grant.
        7 => attempt: AttemptId,
        /// Who may run it.
        8 => host: HostId,
        /// Who is paid.
        9 => owner: AccountId,
        /// Who pays.
        10 => payer: AccountId,
        /// What is paid.
        11 => tariff: Tariff,
        /// What one task may use.
        12 => limits: Limits,
        /// Meter, cost table and profile.
        13 => versions: Versions,
        /// Makes the token unguessable.
        14 => nonce: Nonce,
        /// When it was granted.
        15 => issued: Micros,
        /// When its tasks go to others.
        16 => expiry: Micros,
        /// The module as submitted.
        17 => module: Digest,
    }
}

impl Lease {
    /// The digest of a token's payload, which receipts name.
    #[must_use]
    pub fn digest_of(payload: &[u8]) -> LeaseDigest {
        LeaseDigest(Digest::of(payload).0)
    }

    /// The digest of this lease's payload.
    #[must_use]
    pub fn digest(&self) -> LeaseDigest {
        Self::digest_of(&self.to_bytes())
    }

    /// Whether `task` is one of its tasks.
    #[must_use]
    pub const fn covers(&self, task: TaskIndex) -> bool {
        task.0 >= self.first.0 && task.0 - self.first.0 < self.count
    }
}
