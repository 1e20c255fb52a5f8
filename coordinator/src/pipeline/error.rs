//! How the engine's thread ends.

use tallymill_storage::{LoadError, ReadError};

/// Why there is no engine, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The database cannot be read.
    #[error("failed to load the database")]
    Load(#[from] LoadError),
    /// What it says contradicts itself.
    #[error("failed to start the engine")]
    Engine(#[from] tallymill_engine::LoadError),
    /// Something acknowledged is no longer there: going on would pay twice.
    #[error("the database ends at commit {found}, but commit {acknowledged} was acknowledged")]
    Lost {
        /// Last commit found.
        found: u64,
        /// Last commit that was answered for.
        acknowledged: u64,
    },
    /// Another process took the database: this one decides nothing any more.
    #[error("another coordinator took the database over (this one served in epoch {epoch})")]
    Fenced {
        /// The epoch of this one.
        epoch: u64,
    },
    /// It panicked: what it decided last was never committed.
    #[error(
        "the engine's thread panicked; start the coordinator again, and report what its log says"
    )]
    Panicked,
    /// No thread or no runtime for it.
    #[error("failed to start the engine's thread")]
    Thread(#[from] std::io::Error),
}

impl PipelineError {
    /// Whether another try may go well.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(
            self,
            Self::Fenced { .. }
                | Self::Load(LoadError::Fenced { .. } | LoadError::Read(ReadError::Database(_)))
        )
    }
}
