//! Rows that say what is needed: results that somebody keeps, and the jobs that need a blob.

use tallymill_protocol::{AccountId, Digest, JobId, Micros};

/// In whose name the results of a job are kept. A job has one hold of each kind at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldKind {
    /// Its payer or its submitter asked for it.
    Payer,
    /// An operator did.
    Operator,
}

/// A hold: while a job has one, nothing of its results is collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRow {
    /// The job.
    pub job: JobId,
    /// In whose name.
    pub kind: HoldKind,
    /// Who asked.
    pub account: AccountId,
    /// Why, for people.
    pub reason: String,
    /// When.
    pub at: Micros,
}

/// A blob that a job needs: its module, a file, its inputs, or what a host reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UseRow {
    /// The blob.
    pub digest: Digest,
    /// The job.
    pub job: JobId,
}

/// A result that stands: from now on its bytes count for who pays for it, where they counted for the owner of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChargeRow {
    /// The blob.
    pub digest: Digest,
    /// For whom it counted.
    pub from: AccountId,
    /// For whom it counts.
    pub to: AccountId,
}
