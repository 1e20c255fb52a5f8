//! Whether a batch pays for the processor time that it uses.
//!
//! The parent looks up itself what the child has used, so nothing that runs in the child can hide it; fuel is what the child says, which
//! is bounded by the tasks' limits and compared with other hosts' figures later.

use std::fs;
use std::time::{Duration, Instant};

use tallymill_protocol::work::VoidCause;

use crate::control::Patience;
use crate::task::Void;

/// Between two looks at a child's processor time.
const LOOK: Duration = Duration::from_millis(200);
/// Microseconds of the kernel's unit of processor time, which Linux fixes at a hundredth of a second for all programs.
const TICK_US: u64 = 10_000;
/// Where the two figures, user's and system's, stand behind the name in parentheses.
const USED_AT: usize = 11;

/// What the tasks of one batch have used and paid.
#[derive(Debug)]
pub(super) struct Worth {
    patience: Option<Patience>,
    /// The child that runs, and what it had used when it was first seen.
    child: Option<(u32, u64)>,
    /// What children that are gone have used for this batch, µs.
    before: u64,
    /// Last figure of the child that runs, µs.
    used: u64,
    /// Fuel of the tasks that are done.
    pub(super) paid: u64,
    look_at: Instant,
}

impl Worth {
    pub(super) fn new(patience: Option<Patience>) -> Self {
        Self { patience, child: None, before: 0, used: 0, paid: 0, look_at: Instant::now() }
    }

    /// When it wants to look again; `until` if that is earlier, or nobody asks.
    pub(super) fn next_look(&self, until: Instant) -> Instant {
        if self.patience.is_some() { until.min(self.look_at) } else { until }
    }

    /// Looks if it is time, at a child whose task has used so much fuel.
    ///
    /// # Errors
    /// When the batch has used more than its fuel pays for and patience covers.
    pub(super) fn look(&mut self, child: u32, fuel: u64) -> Result<(), Void> {
        let Some(patience) = self.patience else { return Ok(()) };
        let now = Instant::now();
        if now < self.look_at && self.child.is_some_and(|(known, _)| known == child) {
            return Ok(());
        }
        self.look_at = now + LOOK;
        // A child that is gone is noticed elsewhere.
        let Some(all) = processor_time(child) else { return Ok(()) };
        self.note(child, all);
        let used = self.before.saturating_add(self.used);
        let paid = self.paid.saturating_add(fuel);
        if patience.is_exceeded(used, paid) {
            return Err(Void::new(VoidCause::OwnerLimit, patience.words(used, paid)));
        }
        Ok(())
    }

    fn note(&mut self, child: u32, all: u64) {
        match self.child {
            Some((known, from)) if known == child => self.used = all.saturating_sub(from),
            _ => {
                self.before = self.before.saturating_add(self.used);
                (self.child, self.used) = (Some((child, all)), 0);
            }
        }
    }
}

/// Processor time that all threads of a process have used, µs.
fn processor_time(process: u32) -> Option<u64> {
    parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

fn parse(stat: &str) -> Option<u64> {
    // The name may hold anything, parentheses too.
    let (_, behind) = stat.rsplit_once(')')?;
    let mut figures = behind.split_ascii_whitespace().skip(USED_AT).map(str::parse::<u64>);
    let (user, system) = (figures.next()?.ok()?, figures.next()?.ok()?);
    user.checked_add(system)?.checked_mul(TICK_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { beyond_us: 1_000_000, fuel_per_us: 10 };

    #[test]
    fn processor_time_is_that_of_user_and_system() {
        let stat = "7 (a) b) S 1 2 3 4 -1 5 6 7 8 9 150 25 0 0 20 0 1 0";
        assert_eq!(parse(stat), Some(1_750_000));
        assert_eq!(parse("7 (a"), None);
        assert!(processor_time(std::process::id()).is_some());
        assert_eq!(processor_time(u32::MAX), None);
    }

    #[test]
    fn what_children_used_before_the_batch_does_not_count_and_what_dead_ones_used_does() {
        let mut worth = Worth::new(Some(PATIENCE));
        worth.note(1, 5_000_000);
        worth.note(1, 5_700_000);
        assert_eq!((worth.before, worth.used), (0, 700_000));
        worth.note(2, 100_000);
        worth.note(2, 300_000);
        assert_eq!((worth.before, worth.used), (700_000, 200_000));
    }

    #[test]
    fn patience_ends_where_time_is_more_than_fuel_pays_and_it_covers() {
        assert!(!PATIENCE.is_exceeded(1_000_000, 0));
        assert!(PATIENCE.is_exceeded(1_000_001, 0));
        assert!(!PATIENCE.is_exceeded(3_000_000, 20_000_000));
        assert!(PATIENCE.is_exceeded(3_000_001, 20_000_000));
        assert!(PATIENCE.words(3_000_001, 20_000_000).contains("3.0 s"));
        assert!(!Patience { fuel_per_us: 0, ..PATIENCE }.is_exceeded(u64::MAX, 0));
    }

    #[test]
    fn nobody_asks_without_patience() {
        let mut worth = Worth::new(None);
        let until = Instant::now() + Duration::from_secs(9);
        assert_eq!(worth.next_look(until), until);
        assert!(worth.look(std::process::id(), 0).is_ok() && worth.child.is_none());
        let asked = Worth::new(Some(PATIENCE));
        assert!(asked.next_look(until) < until);
    }
}
