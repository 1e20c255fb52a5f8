//! Processor time as a child claims it, held against what can be.
//!
//! The figure is advisory: it comes from the process that ran the guest and nobody can check it later. Two bounds keep it sane. A
//! child runs guests on one thread, so what it claims for all tasks of a batch together cannot exceed the time that has passed. And
//! no machine gets through more than [`FASTEST`] fuel a microsecond, so a task that returned cannot have taken less than its fuel at
//! that speed. A claim outside is moved to the bound and logged.

use std::time::Instant;

use tallymill_protocol::Outcome;

use crate::task::TaskResult;

/// Fuel per microsecond: more than twice what the guest with the best rate pays that was measured by the second cost table, which
/// copies 16 bytes over and over; ordinary guests pay 50,000 to 150,000.
const FASTEST: u64 = 6_000_000;

/// The processor time of one batch.
#[derive(Debug)]
pub(crate) struct CpuTime {
    began: Instant,
    claimed: u64,
}

impl CpuTime {
    /// For a batch that begins now.
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), claimed: 0 }
    }

    /// The processor time that is believed of a task's claim.
    pub(crate) fn settle(&mut self, result: &TaskResult) -> u64 {
        let passed = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.believe(result, passed)
    }

    /// Like [`CpuTime::settle`], when so many microseconds have passed since the batch began.
    fn believe(&mut self, result: &TaskResult, passed: u64) -> u64 {
        // What was not carried out is not always what was not paid: a trap owes its slice, exhaustion the whole limit.
        let least = match result.outcome {
            Outcome::Exited(_) | Outcome::Stopped => result.fuel / FASTEST,
            _ => 0,
        };
        let most = passed.saturating_sub(self.claimed);
        let believed = result.cpu_time_us.max(least).min(most);
        if believed != result.cpu_time_us {
            let (claimed, fuel) = (result.cpu_time_us, result.fuel);
            tracing::warn!(claimed, believed, fuel, "run.cpu time cannot be: moved to its bound");
        }
        self.claimed = self.claimed.saturating_add(believed);
        believed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(outcome: Outcome, fuel: u64, cpu_time_us: u64) -> TaskResult {
        TaskResult { fuel, cpu_time_us, ..TaskResult::without_running(outcome, 0) }
    }

    #[test]
    fn honest_figures_pass() {
        let mut time = CpuTime::start();
        assert_eq!(time.believe(&claim(Outcome::Exited(0), 1_000_000, 500), 1000), 500);
        assert_eq!(time.believe(&claim(Outcome::Exited(0), 1_000_000, 500), 1000), 500);
    }

    #[test]
    fn a_batch_cannot_claim_more_than_has_passed() {
        let mut time = CpuTime::start();
        assert_eq!(time.believe(&claim(Outcome::Exited(0), 0, 700), 1000), 700);
        assert_eq!(time.believe(&claim(Outcome::Exited(0), 0, 700), 1000), 300);
        assert_eq!(time.believe(&claim(Outcome::Exited(0), 0, 700), 1000), 0);
        assert_eq!(time.believe(&claim(Outcome::Exited(0), 0, 700), 1500), 500);
    }

    #[test]
    fn a_task_cannot_be_faster_than_any_machine() {
        let mut time = CpuTime::start();
        let fuel = 1000 * FASTEST;
        assert_eq!(time.believe(&claim(Outcome::Exited(0), fuel, 1), 1 << 40), 1000);
        assert_eq!(time.believe(&claim(Outcome::Stopped, fuel, 1), 1 << 40), 1000);
        assert_eq!(time.believe(&claim(Outcome::FuelExhausted, fuel, 1), 1 << 40), 1);
    }
}
