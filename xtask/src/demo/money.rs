//! Where the demo's credit went: per job from the transfers, per worker from its owner's balance.

use std::fmt;

use tallymill_sdk::model::AccountView;
use tallymill_sdk::{Client, KeyFile};

use super::checks::Checks;
use super::jobs::Done;
use crate::network::Network;
use crate::recount::Books;
use crate::say::{credits, say};

/// What a job cost, micro-credits, as its transfers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Price {
    name: &'static str,
    held: i128,
    /// What hosts earned.
    pub(super) paid: i128,
    returned: i128,
}

impl Price {
    /// The sums over a job's transfers.
    pub(super) fn of(books: &Books, job: &Done) -> Self {
        let moved = |kind| books.moved(&job.handle.id().0, kind);
        let paid = moved("earn") - moved("void");
        Self { name: job.name, held: moved("hold"), paid, returned: moved("release") }
    }

    /// The parts must make the whole, and the job's page must say the same.
    pub(super) fn check(&self, job: &Done, checks: &mut Checks) {
        let name = self.name;
        let whole = self.held == self.paid + self.returned;
        checks.that(&format!("{name}: held is paid and returned"), whole && self.paid > 0);
        let (escrow, spent) = (i128::from(job.view.escrow), i128::from(job.view.spent));
        let same = (escrow, spent) == (self.held, self.paid);
        checks.that(&format!("{name}: its totals are those of its transfers"), same);
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [held, paid, returned] = [self.held, self.paid, self.returned].map(shown);
        write!(f, "{}: held {held}, paid {paid}, returned {returned} credits", self.name)
    }
}

/// Prints what each worker's owner has, and gives the list.
pub(super) async fn earned(network: &Network) -> anyhow::Result<Vec<i128>> {
    let mut all = Vec::new();
    for volunteer in &network.volunteers {
        let owner = Client::connect(&network.url(), KeyFile::load(&volunteer.key())?).await?;
        let view = owner.balance().await?;
        say(format!(
            "worker {}: {} credits to spend, {} pending",
            volunteer.name,
            credits(view.available),
            credits(view.pending)
        ));
        all.push(held_by(&view));
    }
    Ok(all)
}

/// Everything an account has.
pub(super) fn held_by(view: &AccountView) -> i128 {
    i128::from(view.available) + i128::from(view.pending) + i128::from(view.reserved)
}

/// Workers got what jobs paid, both of them something, and nothing of the grant is elsewhere.
pub(super) fn check(earned: &[i128], left: i128, granted: i128, paid: i128, checks: &mut Checks) {
    let sum: i128 = earned.iter().sum();
    checks.that("every worker earned something", earned.iter().all(|amount| *amount > 0));
    checks.that("the workers got what the jobs paid", sum == paid);
    checks.that("what was granted is with the workers and the account", sum + left == granted);
}

/// An amount beyond 64 bits is printed as such.
fn shown(amount: i128) -> String {
    i64::try_from(amount).map_or_else(|_| format!("{amount} micro-"), credits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(earned: &[i128], left: i128, paid: i128) -> bool {
        let mut checks = Checks::default();
        check(earned, left, 100, paid, &mut checks);
        checks.finish().is_ok()
    }

    #[test]
    fn credit_that_is_nowhere_or_twice_is_noticed() {
        assert!(verdict(&[10, 20], 70, 30));
        assert!(!verdict(&[10, 20], 60, 30), "lost between grant and workers");
        assert!(!verdict(&[10, 21], 69, 30), "paid more than the jobs");
        assert!(!verdict(&[0, 30], 70, 30), "one worker got nothing");
    }

    #[test]
    fn prices_are_shown_in_credits() {
        let price = Price { name: "x", held: 3_000_000, paid: 1, returned: 2_999_999 };
        let text = "x: held 3.000000, paid 0.000001, returned 2.999999 credits";
        assert_eq!(price.to_string(), text);
    }
}
