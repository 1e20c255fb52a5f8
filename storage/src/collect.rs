//! Taking away what nobody needs any more, in small steps beside the commits of the engine.
//!
//! Each step is a transaction of its own under the same fence as a commit, and is known to have happened only by what is left: a
//! process that ends between two of them, or within one, begins again with [`Collection`]'s lists and comes to the same end.

use tallymill_engine::rows::{BlobRow, JobRow};
use tallymill_engine::{Kept, Retention};
use tallymill_protocol::{Digest, JobId, Micros, TaskIndex};

use crate::{Answer, CommitError, CorruptRow, Page, ReadError};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Notes what one of the jobs of before needs, from after this task on.
    Note {
        /// Where the step before ended.
        after: Option<(JobId, TaskIndex)>,
    },
    /// Takes away results of a job, if its rule lets them go.
    Job {
        /// The job.
        job: JobId,
        /// The rule.
        rule: Retention,
        /// The time.
        now: Micros,
    },
    /// Empties reports, by number, of which no receipt is kept.
    Reports(Vec<u64>),
    /// Takes blobs out of the list of those that are held, as far as no job needs them and none was uploaded after this time.
    Doom {
        /// Which.
        digests: Vec<Digest>,
        /// The last upload of those that go.
        before: Micros,
    },
    /// The bytes of these are gone.
    Bury(Vec<Digest>),
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// What a job needs is noted up to this task.
    Noted(JobId, TaskIndex),
    /// Results stay.
    Kept(Kept),
    /// So many rows have gone or changed, and more may have to.
    Rows(u64),
    /// These blobs are no longer held; their bytes are to be removed.
    Doomed(Vec<BlobRow>),
    /// Nothing is left to do.
    Nothing,
}

/// Why a step was not done: nothing of it is stored, or it is unknown whether it is.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The database does not take it.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A row makes no sense; what stands on it stays.
    #[error(transparent)]
    Corrupt(#[from] CorruptRow),
}

impl From<ReadError> for CollectError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(source) => CommitError::Unavailable(source).into(),
            ReadError::Corrupt(row) => row.into(),
        }
    }
}

/// A row of a list that was looked at, and whether it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked<K> {
    /// Its key.
    pub key: K,
    /// Whether it may go.
    pub goes: bool,
}

/// What may go, and taking it away.
pub trait Collection: Send + Sync {
    /// Does one step, over at most `portion` rows of a kind.
    fn collect<'a>(&'a self, order: &'a Order, portion: u32) -> Answer<'a, Done, CollectError>;

    /// Jobs whose results are going, by number.
    fn collecting(&self, page: Page<u64>) -> Answer<'_, Vec<JobRow>>;

    /// Jobs that ended by this time and have their results, in the order of their ends; a page follows end and number of a job.
    fn ended(&self, before: Micros, page: Page<(Micros, u64)>) -> Answer<'_, Vec<JobRow>>;

    /// Reports that were accepted by this time, by number, and whether no receipt of them is kept.
    fn lone_reports(&self, before: Micros, page: Page<u64>) -> Answer<'_, Vec<Looked<u64>>>;

    /// Blobs by digest, and whether no job needs them and none of their uploads was after this time.
    fn idle_blobs(&self, before: Micros, page: Page<Digest>) -> Answer<'_, Vec<Looked<Digest>>>;

    /// Blobs whose bytes are still to be removed, by digest.
    fn doomed(&self, page: Page<Digest>) -> Answer<'_, Vec<Digest>>;
}
