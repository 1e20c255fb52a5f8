//! Holding submitters to what their jobs pay: see [`crate::debts`].

use std::time::Instant;

use tallymill_protocol::cbor::List;
use tallymill_protocol::work::Accept;
use tallymill_protocol::{AccountId, AttemptId, Receipt, Tariff};

use super::{Agent, Held};

/// Most submitters that a coordinator is told not to lease for.
const MOST_REFUSED: usize = 64;

impl Agent {
    /// Books what a result used and pays; its submitter's jobs end here when that was too little for too long.
    pub(super) fn book(&mut self, submitter: AccountId, tariff: &Tariff, receipt: &Receipt) {
        let now = Instant::now();
        self.debts.book(submitter, tariff, receipt, now);
        if let Some(why) = self.debts.refusal(submitter, now) {
            self.turn_away(submitter, &why);
        }
    }

    /// A run was ended because it paid too little.
    pub(super) fn lose_patience(&mut self, submitter: AccountId) {
        let now = Instant::now();
        self.debts.exhaust(submitter, now);
        if let Some(why) = self.debts.refusal(submitter, now) {
            self.turn_away(submitter, &why);
        }
    }

    fn turn_away(&mut self, submitter: AccountId, why: &str) {
        tracing::warn!(%submitter, "payer.refused: {why}");
        let of = |held: &Held| held.submitter == Some(submitter);
        let attempts: Vec<AttemptId> =
            self.held.iter().filter(|(_, held)| of(held)).map(|(id, _)| *id).collect();
        attempts.into_iter().for_each(|attempt| self.withdraw(attempt, why));
    }

    /// The owner's rules, and whom nothing is asked of because of what they owe.
    pub(super) fn accept(&mut self) -> Accept {
        let mut accept = self.options.rules.accept();
        let refused = self.debts.refused(Instant::now());
        self.now.refused_payers = refused.iter().map(ToString::to_string).collect();
        let known = std::mem::take(&mut accept.refused_submitters.0);
        let mut all = known.clone();
        all.extend(refused.into_iter().filter(|submitter| !known.contains(submitter)));
        all.truncate(MOST_REFUSED);
        accept.refused_submitters = List(all);
        accept
    }
}
