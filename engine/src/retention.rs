//! What is kept of jobs that are over, and until when: decided here for the chore that collects and for people who ask.
//!
//! Money, the log, keys and the operators' journal are never collected, nor is the row of a job with its totals.

use tallymill_protocol::Micros;

use crate::rows::{JobRow, JobState};

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// From a job's end until its results may be collected, µs; `None` for ever.
    pub results: Option<u64>,
    /// From the last upload of a blob that no job names until it may be collected, µs.
    pub uploads: u64,
}

impl Default for Retention {
    /// Results for ever, blobs that nobody names for a week.
    fn default() -> Self {
        Self { results: None, uploads: 7 * Micros::DAY }
    }
}

/// Why results of a job stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is not over.
    Live,
    /// Pay of some tasks is held back: they may be examined again.
    Provisional,
    /// Results wait for others: nobody has decided about them.
    Undecided,
    /// Somebody keeps them.
    Held,
    /// Their time has not come.
    Until(Micros),
    /// This coordinator keeps all results.
    Forever,
}

impl Retention {
    /// Why the results of a job stay, `undecided` of which wait for others; `None` when they may go. What has begun goes on.
    #[must_use]
    pub fn keeps(&self, job: &JobRow, undecided: u64, now: Micros) -> Option<Kept> {
        if job.collecting.is_some() {
            return None;
        }
        let ended = match (job.state, job.finished) {
            (JobState::Running | JobState::Stopping, _) | (_, None) => return Some(Kept::Live),
            (_, Some(ended)) => ended,
        };
        if job.provisional_tasks > 0 {
            return Some(Kept::Provisional);
        }
        if undecided > 0 {
            return Some(Kept::Undecided);
        }
        if job.held {
            return Some(Kept::Held);
        }
        let Some(until) = self.results.map(|term| ended.plus(term)) else {
            return Some(Kept::Forever);
        };
        (now < until).then_some(Kept::Until(until))
    }

    /// The end of jobs whose results may go now; `None` when all stay for ever.
    #[must_use]
    pub fn ended_before(&self, now: Micros) -> Option<Micros> {
        self.results.map(|term| Micros(now.0.saturating_sub(term)))
    }

    /// The last upload of blobs that may go now unless a job names them.
    #[must_use]
    pub const fn uploaded_before(&self, now: Micros) -> Micros {
        Micros(now.0.saturating_sub(self.uploads))
    }
}

#[cfg(test)]
mod tests {
    use tallymill_ledger::Amount;
    use tallymill_protocol::cbor::Blob;
    use tallymill_protocol::{AccountId, Digest, JobId, Key, SignedBytes};

    use super::*;

    const DAYS: Retention = Retention { results: Some(100), uploads: 10 };

    fn over() -> JobRow {
        let envelope =
            SignedBytes { payload: Blob(Vec::new()), signer: Key([0; 32]), signature: [0; 64] };
        JobRow {
            id: JobId([0; 32]),
            shard: 0,
            epoch: 1,
            number: 1,
            payer: AccountId([1; 32]),
            submitter: AccountId([1; 32]),
            module: Digest::ZERO,
            title: String::new(),
            envelope,
            state: JobState::Finished,
            tasks: 1,
            final_tasks: 1,
            failed_tasks: 0,
            provisional_tasks: 0,
            largest_input: 0,
            escrow: Amount::ZERO,
            held_granted: Amount::ZERO,
            spent: Amount::ZERO,
            fuel: 0,
            submitted: Micros(1),
            finished: Some(Micros(1_000)),
            deadline: Micros(9_999),
            held: false,
            collecting: None,
        }
    }

    #[test]
    fn results_go_when_their_time_has_come_and_not_before() {
        let due = Micros(1_100);
        assert_eq!(DAYS.keeps(&over(), 0, Micros(1_099)), Some(Kept::Until(due)));
        assert_eq!(DAYS.keeps(&over(), 0, due), None);
        assert_eq!(DAYS.ended_before(due), Some(Micros(1_000)));
        assert_eq!(DAYS.uploaded_before(due), Micros(1_090));
        let forever = Retention::default();
        assert_eq!(forever.keeps(&over(), 0, Micros(u64::MAX)), Some(Kept::Forever));
        assert_eq!(forever.ended_before(due), None);
    }

    #[test]
    fn nothing_live_provisional_undecided_or_held_goes() {
        let late = Micros(u64::MAX);
        let stays = |change: fn(&mut JobRow), undecided, why| {
            let mut job = over();
            change(&mut job);
            assert_eq!(DAYS.keeps(&job, undecided, late), Some(why));
        };
        stays(|job| job.state = JobState::Running, 0, Kept::Live);
        stays(|job| job.state = JobState::Stopping, 0, Kept::Live);
        stays(|job| job.finished = None, 0, Kept::Live);
        stays(|job| job.provisional_tasks = 1, 0, Kept::Provisional);
        stays(|_| {}, 1, Kept::Undecided);
        stays(|job| job.held = true, 0, Kept::Held);
        for state in [JobState::Cancelled, JobState::Expired, JobState::Suspended] {
            assert_eq!(DAYS.keeps(&JobRow { state, ..over() }, 0, late), None);
        }
    }

    #[test]
    fn what_has_begun_goes_on_also_when_the_rule_has_changed() {
        let begun = JobRow { collecting: Some(Micros(5)), held: true, ..over() };
        assert_eq!(Retention::default().keeps(&begun, 0, Micros(6)), None);
    }
}
