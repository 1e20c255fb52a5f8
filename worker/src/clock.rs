//! The coordinator's time. Leases are its promises, so whether one is over is a question of its clock: this machine's may
//! be wrong by hours, or be set while a lease is held.

use tallymill_protocol::Micros;
use tokio::time::Instant;

/// What the coordinator said the time was, and when that was heard on a clock that nobody sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    told: Micros,
    heard: Instant,
}

impl Clock {
    /// The time that an answer tells, just heard.
    pub(crate) fn told(told: Micros) -> Self {
        Self { told, heard: Instant::now() }
    }

    /// The coordinator's time now; late by what the answer took on its way.
    pub(crate) fn now(&self) -> Micros {
        self.at(Instant::now())
    }

    fn at(&self, instant: Instant) -> Micros {
        let since = instant.saturating_duration_since(self.heard);
        self.told.plus(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_goes_on_from_what_was_told() {
        let clock = Clock::told(Micros(1_000));
        assert_eq!(clock.at(clock.heard), Micros(1_000));
        assert_eq!(clock.at(clock.heard + Duration::from_millis(2)), Micros(3_000));
        assert!(clock.now() >= Micros(1_000));
    }
}
