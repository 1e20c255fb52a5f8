//! What a job pays for its processor time, compared with ordinary work on this machine.

use serde_json::{Value, json};
use tallymill_protocol::Tariff;
use tallymill_sandbox::{Launcher, TaskResult, ordinary_rate};

/// Share that workers ask for unless their owners say otherwise, percent.
const ASKED: u64 = 50;
/// Least processor time of all runs together from which a share can be told, µs.
const LEAST_TIME: u64 = 1_000;

/// The share, and the tariff that pays what most workers ask for.
#[derive(Debug, PartialEq, Eq)]
pub struct Share {
    percent: u64,
    /// Micro-credits per 10⁹ fuel, where this job's tariff is too low.
    needed: Option<u64>,
}

/// The share that runs made here would pay; `None` when they are too short to tell, or nothing can be run.
pub fn share(runs: &[TaskResult], tariff: &Tariff) -> Option<Share> {
    let sum = |figure: fn(&TaskResult) -> u64| -> u64 { runs.iter().map(figure).sum() };
    let (fuel, us) = (sum(|run| run.fuel), sum(|run| run.cpu_time_us));
    if us < LEAST_TIME {
        return None;
    }
    let ordinary = ordinary_rate(&Launcher::current_exe().ok()?).ok()?;
    let tasks = u64::try_from(runs.len()).unwrap_or(u64::MAX);
    Some(of((fuel, us, tasks), ordinary, tariff))
}

/// Of so much fuel and processor time of so many tasks, where ordinary work uses `ordinary` fuel a microsecond.
fn of((fuel, us, tasks): (u64, u64, u64), ordinary: u64, tariff: &Tariff) -> Share {
    let base = u128::from(Tariff::default().fuel);
    let fixed = u128::from(tasks) * u128::from(tariff.task) * 1_000_000_000;
    let price = u128::from(us) * u128::from(ordinary) * base;
    let paid = u128::from(fuel) * u128::from(tariff.fuel) + fixed;
    let percent = u64::try_from(paid * 100 / price.max(1)).unwrap_or(u64::MAX);
    let asked = price * u128::from(ASKED) / 100;
    let needed = asked.saturating_sub(fixed).div_ceil(u128::from(fuel).max(1));
    let needed = (percent < ASKED).then(|| u64::try_from(needed).unwrap_or(u64::MAX));
    Share { percent, needed }
}

impl Share {
    pub fn json(&self) -> Value {
        json!({ "percent": self.percent, "tariff_needed": self.needed.map(|n| n.to_string()) })
    }

    /// What its submitter reads.
    pub fn words(&self) -> String {
        let share = format!("pays {} % of the ordinary price of processor time", self.percent);
        match self.needed {
            None => share,
            Some(needed) => format!(
                "{share}: most workers ask for {ASKED} % and give up work that pays less; offer --tariff {needed}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_of_the_ordinary_price_at_the_base_tariff() {
        let base = Tariff::default();
        // 100 fuel a microsecond is ordinary.
        assert_eq!(of((100_000, 1_000, 3), 100, &base), Share { percent: 100, needed: None });
        let dear = of((10_000, 1_000, 3), 100, &base);
        assert_eq!(dear, Share { percent: 10, needed: Some(5_000_000) });
        assert!(dear.words().ends_with("offer --tariff 5000000"));
        let paid = of((10_000, 1_000, 3), 100, &Tariff { fuel: 5_000_000, ..base });
        assert_eq!(paid, Share { percent: 50, needed: None });
        // A microsecond costs a tenth of a micro-credit at this rate.
        let by_task = of((10_000, 1_000, 3), 100, &Tariff { task: 14, ..base });
        assert_eq!(by_task, Share { percent: 52, needed: None });
        assert_eq!(of((0, 1_000, 1), 100, &base).percent, 0);
    }
}
