//! From finished tasks to a signed report in the outbox.

use std::time::Duration;

use tallymill_protocol::work::{Position, VoidCause};
use tallymill_protocol::{Digest, LeaseDigest, Receipt, Report, TaskIndex};
use tallymill_sandbox::Void;
use tokio::time::Instant;

use super::Agent;
use crate::outbox::Entry;
use crate::seal::{Bytes, Done, entry};
use crate::signer::Chain;
use crate::spool::Unkept;
use crate::status::Source;

/// Time in which results gather before they are signed together.
const GATHER: Duration = Duration::from_millis(150);
/// Most receipts in one report here; the protocol allows 8,192.
const MOST_RECEIPTS: usize = 2000;
/// Most inline bytes in one report, so that several fit a call.
const MOST_INLINE: usize = 4 << 20;

/// A disk that did not take what it should keep.
#[derive(Debug)]
pub(super) struct Full {
    /// The most bytes that it did not take.
    bytes: usize,
    /// When to try again.
    pub(super) try_at: Instant,
}

/// Finished tasks that wait for a signature.
#[derive(Debug, Default)]
pub(super) struct Pending {
    done: Vec<Done>,
    inline: usize,
    due: Option<Instant>,
}

impl Pending {
    pub(super) const fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn names(&self, lease: LeaseDigest) -> bool {
        self.done.iter().any(|done| done.receipt.lease == lease)
    }

    fn push(&mut self, done: Done, now: Instant) {
        self.due.get_or_insert(now + GATHER);
        self.inline += done.inline();
        self.done.push(done);
    }

    fn is_ripe(&self, now: Instant) -> bool {
        let full = self.done.len() >= MOST_RECEIPTS || self.inline >= MOST_INLINE;
        full || self.due.is_some_and(|due| now >= due)
    }

    /// Takes out what goes into one report: one epoch, and no more than it may hold.
    fn take(&mut self, epoch: impl Fn(&Done) -> Option<u64>) -> Vec<Done> {
        let all = std::mem::take(self);
        let first = all.done.first().and_then(&epoch);
        let (mut now, mut inline) = (Vec::with_capacity(all.done.len()), 0);
        for done in all.done {
            let size = done.inline();
            let fits =
                now.is_empty() || (inline + size <= 2 * MOST_INLINE && now.len() < MOST_RECEIPTS);
            if fits && epoch(&done) == first {
                inline += size;
                now.push(done);
            } else {
                // It waited already: the next report follows at once.
                self.push(done, all.due.unwrap_or_else(Instant::now) - GATHER);
            }
        }
        now
    }
}

impl Agent {
    pub(super) fn keep(&mut self, done: Done) {
        self.pending.push(done, Instant::now());
    }

    pub(super) fn must_seal(&self) -> bool {
        // When nothing runs any more, waiting gathers nothing.
        let still = || self.held.values().all(super::Held::is_complete);
        !self.pending.is_empty() && (self.pending.is_ripe(Instant::now()) || still())
    }

    /// Signs what gathered, puts it on disk, and only then moves the chain on.
    pub(super) async fn seal(&mut self) {
        let held = &self.held;
        let epoch = |done: &Done| {
            let mut leases = held.values();
            leases.find(|held| held.digest == done.receipt.lease).map(|held| held.lease.epoch)
        };
        let done = self.pending.take(epoch);
        let (receipts, bytes): (Vec<Receipt>, Vec<Bytes>) =
            done.into_iter().map(|done| (done.receipt, done.bytes)).unzip();
        let named: Vec<_> = receipts.iter().map(|receipt| (receipt.lease, receipt.task)).collect();
        let size = bytes.iter().map(|bytes| bytes.output.len() + bytes.log.len()).sum::<usize>();
        let large: Vec<Digest> = bytes.iter().flat_map(|bytes| &bytes.large).copied().collect();
        let kept = match self.session.signer.report(receipts).await {
            Ok(sealed) => {
                let message = sealed.message.clone();
                self.store(entry(sealed, bytes), message).await.map_err(|why| {
                    // Not the tasks' fault: it counts as if the owner had paused the worker.
                    (VoidCause::Withdrawn, why)
                })
            }
            // It saw something that must not be signed, and will never sign it.
            Err(error) => {
                Err((VoidCause::Other, format!("{} results are not signed: {error}", named.len())))
            }
        };
        if let Err((cause, why)) = kept {
            // What cannot be promised is given back: its tasks go to others.
            self.void_all(&named, &Void::new(cause, why.clone()));
            self.drop_large(&large);
            match cause {
                VoidCause::Withdrawn => self.on_full(&Unkept { why, bytes: size }),
                _ => self.trouble(Source::Results, format!("{why}; they were given back")),
            }
        }
    }

    /// Results that were given back need their large outputs no more.
    pub(super) fn drop_large(&self, large: &[Digest]) {
        let spool = self.outbox.spool();
        for digest in large {
            if let Err(error) = spool.release(digest) {
                tracing::warn!(blob = %digest.short(), "spool.not_removed: {error}");
            }
        }
    }

    /// Results cannot be kept: what is held goes to others, who can, and nothing is asked for until the disk takes some again.
    pub(super) fn on_full(&mut self, unkept: &Unkept) {
        let Unkept { why, bytes } = unkept;
        let bytes = self.full.as_ref().map_or(0, |full| full.bytes).max(*bytes);
        self.full = Some(Full { bytes, try_at: Instant::now() + self.options.heartbeat });
        self.withdraw_all(why);
        self.trouble(Source::Results, format!("{why}; what was leased is given back"));
    }

    /// Whether results can be kept. After a failure it tries now and then, with as much as failed.
    pub(super) fn can_keep(&mut self) -> bool {
        let now = Instant::now();
        let Some(full) = &mut self.full else { return true };
        if now < full.try_at {
            return false;
        }
        full.try_at = now + self.options.heartbeat;
        match self.outbox.probe(full.bytes) {
            Ok(()) => {
                self.full = None;
                self.healed(Source::Results);
            }
            Err(error) => {
                self.trouble(Source::Results, format!("{error}; no work is asked for until then"));
            }
        }
        self.full.is_none()
    }

    fn void_all(&mut self, tasks: &[(LeaseDigest, TaskIndex)], void: &Void) {
        for (lease, task) in tasks {
            let attempt = self.held.values().find(|held| held.digest == *lease);
            if let Some(attempt) = attempt.map(|held| held.lease.attempt) {
                self.void(attempt, *task, void);
            }
        }
    }

    async fn store(&mut self, entry: Entry, message: Report) -> Result<(), String> {
        self.outbox.append(entry).map_err(|error| error.to_string())?;
        if self.full.is_none() {
            // Else the owner reads of it until work is asked for again.
            self.healed(Source::Results);
        }
        self.unconfirmed = Some(message);
        self.confirm().await;
        Ok(())
    }

    /// Signs what waits again, from where the coordinator says that the chain of reports stands: one of them was lost
    /// or never taken, and none after it would be. Receipts and roots stay, so nothing can be paid twice.
    pub(super) async fn sign_again(&mut self, next: Position) {
        let mut waiting = self.outbox.entries().peekable();
        let in_order = waiting.peek().is_none_or(|first| {
            (first.report.sequence, first.report.previous) == (next.sequence, next.previous)
        });
        if in_order || !self.in_flight.is_empty() {
            return;
        }
        let signed = waiting.map(|entry| entry.upload.report.clone()).collect();
        tracing::warn!(sequence = next.sequence, "reports.signed_again: the chain continues here");
        let start = Chain { next: next.sequence, previous: next.previous };
        let renewed = match self.session.signer.sign_again(signed, start).await {
            Ok(reports) => self.outbox.renumber(reports).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        self.unconfirmed = None;
        match renewed {
            Ok(()) => self.healed(Source::Chain),
            Err(error) => self.trouble(Source::Chain, error),
        }
    }

    pub(super) fn is_unconfirmed(&self, root: Digest) -> bool {
        self.unconfirmed.as_ref().is_some_and(|report| report.root == root)
    }

    /// Writes down how far the chain is. While that fails the outbox keeps the last report, from which a restart learns the same.
    pub(super) async fn confirm(&mut self) {
        let Some(report) = self.unconfirmed.clone() else { return };
        match self.session.signer.confirm(report).await {
            Ok(()) => {
                self.unconfirmed = None;
                self.healed(Source::Chain);
            }
            Err(error) => self.trouble(Source::Chain, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::blank_receipt;

    fn done(task: u32, lease: u8, size: usize) -> Done {
        let (lease, task) = (LeaseDigest([lease; 32]), TaskIndex(task));
        let receipt = Receipt { lease, task, ..blank_receipt() };
        let bytes = Bytes { output: vec![0; size], log: Vec::new(), large: Vec::new() };
        Done { receipt, bytes }
    }

    #[test]
    fn results_gather_until_they_are_many_large_or_old() {
        let now = Instant::now();
        let mut pending = Pending::default();
        pending.push(done(0, 1, 1), now);
        assert!(!pending.is_ripe(now) && pending.is_ripe(now + GATHER));
        (1..1999).for_each(|task| pending.push(done(task, 1, 1), now));
        assert!(!pending.is_ripe(now));
        pending.push(done(1999, 1, 1), now);
        assert!(pending.is_ripe(now));
        let mut large = Pending::default();
        large.push(done(0, 1, MOST_INLINE), now);
        assert!(large.is_ripe(now));
    }

    #[test]
    fn report_has_one_epoch_and_a_bounded_size_and_the_rest_follows_at_once() {
        let now = Instant::now();
        let mut pending = Pending::default();
        (0..2500).for_each(|task| pending.push(done(task, 1, 1), now));
        pending.push(done(0, 2, 1), now);
        let epoch = |done: &Done| Some(u64::from(done.receipt.lease.0[0]));
        assert_eq!(pending.take(epoch).len(), MOST_RECEIPTS);
        assert!(pending.is_ripe(now + GATHER));
        assert_eq!(pending.take(epoch).len(), 500);
        let last = pending.take(epoch);
        assert_eq!(last[0].receipt.lease, LeaseDigest([2; 32]));
        assert!(pending.is_empty() && pending.due().is_none());
        let size = MOST_INLINE + 1;
        (0..3).for_each(|task| pending.push(done(task, 1, size), now));
        assert_eq!(pending.take(epoch).len(), 1);
    }
}
