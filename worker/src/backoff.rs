//! How long to wait before asking again.

use std::time::Duration;

/// Waits that double from half a second to a minute, each shortened by up to a half at random so that a crowd of
/// workers does not come back in one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

const FIRST_MS: u64 = 500;
const LONGEST_MS: u64 = 60_000;

impl Backoff {
    /// The next wait; `draw` is uniform over all of `u32`.
    pub(crate) fn next(&mut self, draw: u32) -> Duration {
        let full = FIRST_MS.saturating_mul(1 << self.failures.min(16)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        let cut = full / 2 * u64::from(draw) / u64::from(u32::MAX);
        Duration::from_millis(full - cut)
    }

    /// It worked: begin anew.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_jitter_cuts_at_most_half() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(0), Duration::from_millis(500));
        assert_eq!(backoff.next(0), Duration::from_millis(1000));
        assert_eq!(backoff.next(u32::MAX), Duration::from_millis(1000));
        for _ in 0..40 {
            backoff.next(7);
        }
        assert_eq!(backoff.next(0), Duration::from_secs(60));
        assert_eq!(backoff.next(u32::MAX), Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.next(0), Duration::from_millis(500));
    }
}
