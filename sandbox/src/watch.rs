//! Looking into a run from outside: progress and stopping, both at slices.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Is asked once per slice of 2²² fuel while a guest runs.
pub trait Watch: Send + Sync {
    /// The run has used `fuel`; answers whether it may go on. A run that may not ends as [`Stopped`](tallymill_protocol::Outcome::Stopped).
    fn may_continue(&self, fuel: u64) -> bool;
}

/// A run's pulse: the fuel it has used, and a switch that stops it.
#[derive(Debug, Default)]
pub struct Pulse {
    fuel: AtomicU64,
    stop: AtomicBool,
}

impl Pulse {
    /// Fuel used at the last slice.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.fuel.load(Ordering::Relaxed)
    }

    /// Ends the run at its next slice.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Watch for Pulse {
    fn may_continue(&self, fuel: u64) -> bool {
        self.fuel.store(fuel, Ordering::Relaxed);
        !self.stop.load(Ordering::Relaxed)
    }
}
