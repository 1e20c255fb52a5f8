//! Whether the worker works: four modes and what moves between them.

use serde::{Deserialize, Serialize};

/// What the worker is doing about work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Asks for work and runs it.
    Working,
    /// Runs nothing; what it held was given back. Finished results are still delivered.
    Paused,
    /// Asks for nothing, runs what it holds, delivers it, then ends.
    Finishing,
    /// Has ended.
    Finished,
}

/// What moves the worker to another mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Give back what is held and stop.
    Pause,
    /// Work again.
    Resume,
    /// Finish what is held, then end.
    Finish,
}

/// A command that comes too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker has finished; start it again to work")]
pub struct NotNow;

impl Mode {
    /// The mode after `command`. Repeating a command changes nothing; pausing or resuming takes back a finish.
    ///
    /// # Errors
    /// When the worker has finished.
    pub const fn after(self, command: Command) -> Result<Self, NotNow> {
        match (self, command) {
            (Self::Finished, _) => Err(NotNow),
            (_, Command::Pause) => Ok(Self::Paused),
            (_, Command::Resume) => Ok(Self::Working),
            (_, Command::Finish) => Ok(Self::Finishing),
        }
    }

    /// The mode once nothing is held and everything is delivered.
    #[must_use]
    pub const fn drained(self) -> Self {
        match self {
            Self::Finishing => Self::Finished,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transition() {
        use Command::{Finish, Pause, Resume};
        use Mode::{Finished, Finishing, Paused, Working};
        for from in [Working, Paused, Finishing] {
            assert_eq!(from.after(Pause), Ok(Paused));
            assert_eq!(from.after(Resume), Ok(Working));
            assert_eq!(from.after(Finish), Ok(Finishing));
        }
        for command in [Pause, Resume, Finish] {
            assert_eq!(Finished.after(command), Err(NotNow));
        }
        assert_eq!(Finishing.drained(), Finished);
        assert_eq!([Working, Paused, Finished].map(Mode::drained), [Working, Paused, Finished]);
    }
}
