//! What submitters owe this machine: processor time that their jobs used and did not pay for.
//!
//! Fuel is counted alike everywhere and cannot know what this machine's caches and pipelines make of a program. So the worker
//! compares: what a job pays for its processor time, at its own tariff, with what ordinary work pays for it here at the base tariff. What
//! it pays less than the owner's least is its submitter's debt. A submitter whose debt has reached the owner's patience is not worked
//! for until half of that is forgiven; a tariff high enough leaves no debt, whatever the program does.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tallymill_protocol::{AccountId, Receipt, Tariff};
use tallymill_sandbox::Patience;

/// Time in which as much as the owner's patience is forgiven.
const FORGIVEN_IN: Duration = Duration::from_secs(3600);
/// Most submitters remembered; of more, those who owe least are forgotten.
const MOST_DEBTORS: usize = 1024;
/// Fuel that a tariff's price is for.
const TARIFF_FUEL: u128 = 1_000_000_000;

/// The owner's terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Fuel that ordinary work uses in a microsecond here; 0: not known, so nothing is asked.
    pub(crate) ordinary: u64,
    /// Least share of the ordinary price that a job pays, percent; 0: nothing is asked.
    pub(crate) least: u32,
    /// Processor time that a submitter may owe.
    pub(crate) patience: Duration,
    /// Who owns this machine and owes it nothing.
    pub(crate) owner: AccountId,
}

#[derive(Debug, Clone, Copy)]
struct Debt {
    us: u64,
    at: Instant,
    /// Whether its patience ran out and not half of it is forgiven yet.
    refused: bool,
}

/// Everybody's debts since the worker started.
#[derive(Debug)]
pub(crate) struct Debts {
    terms: Terms,
    debts: HashMap<AccountId, Debt>,
}

impl Debts {
    pub(crate) fn new(terms: Terms) -> Self {
        Self { terms, debts: HashMap::new() }
    }

    /// How long a run of `tasks` tasks of this submitter may go on without paying; `None`: as long as it likes.
    pub(crate) fn patience(
        &self,
        submitter: AccountId,
        tariff: &Tariff,
        tasks: usize,
        now: Instant,
    ) -> Option<Patience> {
        if self.terms.asks_nothing(submitter) {
            return None;
        }
        let bases = self.terms.paid_us(tariff, 0).saturating_mul(tasks.try_into().unwrap_or(1));
        let left = self.terms.patience_us().saturating_sub(self.owed(submitter, now));
        let base = Tariff::default().fuel;
        let least = u128::from(self.terms.ordinary) * u128::from(self.terms.least);
        let fuel = least * u128::from(base) / (100 * u128::from(tariff.fuel.max(1)));
        Some(Patience {
            beyond_us: left.saturating_add(bases),
            fuel_per_us: u64::try_from(fuel).unwrap_or(u64::MAX).max(1),
        })
    }

    /// Books what a result used and pays.
    pub(crate) fn book(
        &mut self,
        submitter: AccountId,
        tariff: &Tariff,
        receipt: &Receipt,
        now: Instant,
    ) {
        if self.terms.asks_nothing(submitter) {
            return;
        }
        let paid = self.terms.paid_us(tariff, receipt.fuel);
        let owed = self.owed(submitter, now);
        let us = owed.saturating_add(receipt.cpu_time).saturating_sub(paid);
        self.set(submitter, us, now);
    }

    /// A run was ended because it paid too little: its submitter's patience is used up.
    pub(crate) fn exhaust(&mut self, submitter: AccountId, now: Instant) {
        self.set(submitter, self.terms.patience_us(), now);
    }

    /// Why nothing of this submitter's is run now.
    pub(crate) fn refusal(&mut self, submitter: AccountId, now: Instant) -> Option<String> {
        self.settle(submitter, now);
        let refused = self.debts.get(&submitter).is_some_and(|debt| debt.refused);
        refused.then(|| {
            format!(
                "its submitter's jobs paid less than {} % of the ordinary price of processor time; they can offer a higher tariff later",
                self.terms.least
            )
        })
    }

    /// Whom nothing is asked of for now.
    pub(crate) fn refused(&mut self, now: Instant) -> Vec<AccountId> {
        let all: Vec<AccountId> = self.debts.keys().copied().collect();
        all.into_iter().for_each(|submitter| self.settle(submitter, now));
        let mut refused: Vec<AccountId> =
            self.debts.iter().filter(|(_, debt)| debt.refused).map(|(id, _)| *id).collect();
        refused.sort_unstable();
        refused
    }

    fn owed(&self, submitter: AccountId, now: Instant) -> u64 {
        let Some(debt) = self.debts.get(&submitter) else { return 0 };
        let passed = now.saturating_duration_since(debt.at).as_micros();
        let forgiven = u128::from(self.terms.patience_us()) * passed / FORGIVEN_IN.as_micros();
        debt.us.saturating_sub(u64::try_from(forgiven).unwrap_or(u64::MAX))
    }

    /// Takes forgiveness into account, and forgets who owes nothing.
    fn settle(&mut self, submitter: AccountId, now: Instant) {
        if self.debts.contains_key(&submitter) {
            self.set(submitter, self.owed(submitter, now), now);
        }
    }

    fn set(&mut self, submitter: AccountId, us: u64, now: Instant) {
        let patience = self.terms.patience_us();
        let before = self.debts.get(&submitter).is_some_and(|debt| debt.refused);
        let refused = us >= patience || (before && us > patience / 2);
        if us == 0 && !refused {
            self.debts.remove(&submitter);
            return;
        }
        if self.debts.len() >= MOST_DEBTORS && !self.debts.contains_key(&submitter) {
            let least = self.debts.iter().min_by_key(|(_, debt)| debt.us);
            if let Some(least) = least.map(|(id, _)| *id) {
                self.debts.remove(&least);
            }
        }
        // More than patience is not remembered: what is over is over.
        self.debts.insert(submitter, Debt { us: us.min(patience), at: now, refused });
    }
}

impl Terms {
    fn asks_nothing(&self, submitter: AccountId) -> bool {
        self.ordinary == 0 || self.least == 0 || submitter == self.owner
    }

    fn patience_us(&self) -> u64 {
        u64::try_from(self.patience.as_micros()).unwrap_or(u64::MAX)
    }

    /// Processor time that is paid for by a task of so much fuel, µs.
    fn paid_us(&self, tariff: &Tariff, fuel: u64) -> u64 {
        let scaled = u128::from(fuel) * u128::from(tariff.fuel);
        let micros = (scaled / TARIFF_FUEL).saturating_add(u128::from(tariff.task));
        // Micro-credits of a microsecond at the least price, times 100 × 10⁹.
        let least =
            u128::from(self.ordinary) * u128::from(Tariff::default().fuel) * u128::from(self.least);
        let paid = micros.saturating_mul(100 * TARIFF_FUEL) / least.max(1);
        u64::try_from(paid).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::blank_receipt;

    const OWNER: AccountId = AccountId([1; 32]);
    const OTHER: AccountId = AccountId([2; 32]);
    /// Half of 100,000 fuel pays for a microsecond: at the base tariff 50 micro-credits.
    const TERMS: Terms =
        Terms { ordinary: 100_000, least: 50, patience: Duration::from_secs(10), owner: OWNER };

    fn receipt(fuel: u64, cpu_time: u64) -> Receipt {
        Receipt { fuel, cpu_time, ..blank_receipt() }
    }

    fn tariff(fuel: u64, task: u64) -> Tariff {
        Tariff { fuel, task, ..Tariff::default() }
    }

    #[test]
    fn half_of_the_ordinary_price_leaves_no_debt_and_less_does() {
        let (mut debts, now) = (Debts::new(TERMS), Instant::now());
        let base = Tariff::default();
        debts.book(OTHER, &base, &receipt(50_000_000, 1_000), now);
        assert_eq!(debts.owed(OTHER, now), 0);
        debts.book(OTHER, &base, &receipt(50_000_000, 3_000), now);
        assert_eq!(debts.owed(OTHER, now), 2_000);
        // What is paid above the least pays the debt, but is no credit for later.
        debts.book(OTHER, &base, &receipt(5_000_000_000, 1_000), now);
        debts.book(OTHER, &base, &receipt(0, 7), now);
        assert_eq!(debts.owed(OTHER, now), 7);
    }

    #[test]
    fn higher_tariffs_and_prices_of_a_task_pay_for_more() {
        let (mut debts, now) = (Debts::new(TERMS), Instant::now());
        debts.book(OTHER, &tariff(3_000_000, 0), &receipt(50_000_000, 3_000), now);
        debts.book(OTHER, &tariff(1_000_000, 500), &receipt(0, 10), now);
        assert_eq!(debts.owed(OTHER, now), 0);
        debts.book(OTHER, &tariff(0, 0), &receipt(u64::MAX, 5), now);
        assert_eq!(debts.owed(OTHER, now), 5);
        let asked = |tariff| debts.patience(OTHER, &tariff, 3, now).unwrap();
        assert_eq!(asked(tariff(1_000_000, 0)).fuel_per_us, 50_000);
        assert_eq!(asked(tariff(2_000_000, 500)).fuel_per_us, 25_000);
        assert_eq!(asked(tariff(2_000_000, 500)).beyond_us, 10_000_000 - 5 + 30);
        assert_eq!(asked(tariff(0, 0)).fuel_per_us, 50_000_000_000);
    }

    #[test]
    fn who_owes_too_much_is_refused_until_half_is_forgiven() {
        let (mut debts, now) = (Debts::new(TERMS), Instant::now());
        let base = Tariff::default();
        debts.book(OTHER, &base, &receipt(0, 9_999_999), now);
        assert_eq!(debts.refusal(OTHER, now), None);
        debts.book(OTHER, &base, &receipt(0, 60_000_000), now);
        assert!(debts.refusal(OTHER, now).unwrap().contains("50 %"));
        assert_eq!(debts.refused(now), [OTHER]);
        assert_eq!(debts.patience(OTHER, &base, 1, now).unwrap().beyond_us, 0);
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(debts.refusal(OTHER, after(1_799)).is_some());
        assert_eq!(debts.refusal(OTHER, after(1_801)), None);
        assert_eq!(debts.patience(OTHER, &base, 1, after(1_801)).unwrap().beyond_us, 5_002_777);
        assert!(debts.refused(after(9_000)).is_empty() && debts.debts.is_empty());
    }

    #[test]
    fn a_run_that_was_ended_uses_up_patience() {
        let (mut debts, now) = (Debts::new(TERMS), Instant::now());
        debts.exhaust(OTHER, now);
        assert!(debts.refusal(OTHER, now).is_some());
    }

    #[test]
    fn nothing_is_asked_of_the_owner_or_without_a_price() {
        let (free, unknown) = (Terms { least: 0, ..TERMS }, Terms { ordinary: 0, ..TERMS });
        for (terms, who) in [(TERMS, OWNER), (free, OTHER), (unknown, OTHER)] {
            let (mut debts, now) = (Debts::new(terms), Instant::now());
            let base = Tariff::default();
            debts.book(who, &base, &receipt(0, u64::MAX), now);
            assert_eq!(debts.refusal(who, now), None);
            assert_eq!(debts.patience(who, &base, 1, now), None);
        }
    }

    #[test]
    fn debtors_are_bounded_and_the_smallest_is_forgotten() {
        let (mut debts, now) = (Debts::new(TERMS), Instant::now());
        let id = |n: usize| {
            let mut id = [3; 32];
            id[..8].copy_from_slice(&u64::try_from(n).unwrap().to_be_bytes());
            AccountId(id)
        };
        for n in 0..=MOST_DEBTORS {
            let cpu = 100 + u64::try_from(n).unwrap();
            debts.book(id(n), &Tariff::default(), &receipt(0, cpu), now);
        }
        assert_eq!((debts.debts.len(), debts.owed(id(0), now)), (MOST_DEBTORS, 0));
        assert_eq!(debts.owed(id(1), now), 101);
    }
}
