//! How a long task is divided into steps and segments.

use crate::cbor::record;

/// Least fuel of a segment: one slice of the meter, below which a snapshot would cost more than the work it keeps.
pub const MIN_SEGMENT: u64 = 1 << 22;

/// Fuel that every call of `step` costs beside what it does, so that a host is paid for going in and out.
pub const STEP_FUEL: u64 = 50_000;

record! {
    /// What a job of the `step` interface says about its steps.
    #[derive(Copy, Hash)]
    pub struct Steps("steps", 32) {
        /// What every call of `step` is told: about the fuel it should use.
        0 => budget: u64,
        /// Fuel after which a segment ends, at the next boundary between two steps.
        1 => segment: u64,
    }
}

impl Steps {
    /// The most segments a task can have: each but the last uses at least [`Steps::segment`] of the task's fuel.
    #[must_use]
    pub const fn most_segments(&self, fuel: u64) -> u64 {
        match fuel.checked_div(self.segment) {
            Some(full) => full.saturating_add(1),
            None => u64::MAX,
        }
    }
}
