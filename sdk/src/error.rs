//! What can go wrong between a client and its coordinator.

use std::path::PathBuf;

use tallymill_protocol::ManifestError;
use tallymill_transport::TransportError;

use crate::model::Problem;

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at this address.
    #[error("failed to reach the coordinator at {url}; is it running?")]
    Unreachable {
        /// The address tried.
        url: String,
        /// What the transport says.
        #[source]
        source: Box<reqwest::Error>,
    },
    /// Its address makes no sense, or nobody can vouch for it.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Who answers there is not to be trusted.
    #[error("failed to reach the coordinator at {url}: {reason}")]
    Tls {
        /// The address tried.
        url: String,
        /// What TLS has against it, and what to do.
        reason: String,
    },
    /// The coordinator says no, and why.
    #[error("the coordinator refused: {0}")]
    Refused(Box<Problem>),
    /// The account cannot pay for the job.
    #[error("not enough credit: {0}")]
    Credit(Box<Problem>),
    /// The coordinator is there but cannot take the call now, after several tries.
    #[error("the coordinator is busy: {0}")]
    Busy(Box<Problem>),
    /// The answer is not what the protocol says.
    #[error("failed to read the coordinator's answer: {0}")]
    Answer(String),
    /// The job breaks a rule before it is even sent.
    #[error("the job is not valid: {0}")]
    Job(#[from] ManifestError),
    /// An input is too long or there are too many.
    #[error("inputs: {0}")]
    Inputs(String),
    /// Downloaded bytes are not what their digest says.
    #[error("the bytes of blob {0} do not match their digest")]
    Corrupt(tallymill_protocol::Digest),
    /// A task is decided, but what it wrote cannot be had, and asking again would not help.
    #[error("failed to read the output of task {task}")]
    Output {
        /// The task.
        task: u32,
        /// Why not.
        #[source]
        source: Box<Error>,
    },
    /// A key file cannot be used.
    #[error("failed to use the key file {path}: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl Error {
    /// The answer `response` gave, as an error: by its status and problem document.
    pub(crate) fn from_problem(problem: Problem) -> Self {
        match problem.status {
            402 => Self::Credit(Box::new(problem)),
            429 | 503 => Self::Busy(Box::new(problem)),
            _ => Self::Refused(Box::new(problem)),
        }
    }
}
