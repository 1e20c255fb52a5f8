//! The host functions for engines other than ours.

use super::table::OFFERED;
use super::{Ending, Guest, Halt, Memory};
use crate::task::TaskSpec;

/// The host's side of one task, for an engine that finds out at run time what a function wants: it calls a function of
/// [`profile`](crate::profile)`().imports` by its position there. Our own engine does not go this way.
pub struct Session(Guest);

impl Session {
    /// The state at the start of a task.
    #[must_use]
    pub fn new(task: &TaskSpec) -> Self {
        Self(Guest::new(task))
    }

    /// Calls the function at position `function` of the profile's imports. `memory` is the guest's, empty if it exports none;
    /// arguments are zero-extended to 64 bits. What comes back is the error code for the guest.
    ///
    /// # Errors
    /// When the call ends the guest.
    pub fn call(
        &mut self,
        function: usize,
        memory: &mut [u8],
        arguments: &[u64],
    ) -> Result<u32, Ending> {
        let Some(function) = OFFERED.get(function) else {
            return Ok(super::Errno::NotOffered.code());
        };
        match (function.call)(&mut self.0, &mut Memory(memory), arguments) {
            Ok(()) => Ok(0),
            Err(Halt::Errno(errno)) => Ok(errno.code()),
            Err(Halt::End(ending)) => Err(ending),
        }
    }

    /// Standard output and standard error.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, Vec<u8>) {
        (self.0.output, self.0.log)
    }
}
