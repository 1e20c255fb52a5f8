//! Talking to the coordinator: one call that waits for work, and one beside it that delivers meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tallymill_protocol::cbor::List;
use tallymill_protocol::work::{
    MAX_REQUEST, Progress, ReportAnswer, ReportUpload, Verdict, VoidEntry, WorkReply, WorkRequest,
};
use tallymill_protocol::{AttemptId, Digest, Message as _};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Agent, Event, Heard};
use crate::api::{ApiError, Session};
use crate::clock::Clock;
use crate::files::random;
use crate::mode::Mode;
use crate::status::Source;

/// Shortest time between two calls that wait for work and bring none.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// Most leases held at once.
const MOST_HELD: usize = 64;

/// Most leases named in a call.
const MOST_OWED: usize = 4096;

/// A large output and where it lies.
type Large = (Digest, std::path::PathBuf);

/// A call on its way.
pub(super) struct Call {
    number: u64,
    polls: bool,
    /// Whether another call was made while this one waited, which ends it.
    hushed: bool,
    roots: Vec<Digest>,
    voids: Vec<VoidEntry>,
    pub(super) abort: AbortHandle,
    began: Instant,
}

impl Agent {
    fn is_low(&self) -> bool {
        let unstarted = self.unstarted();
        let slots = u64::from(self.options.slots);
        let buffer = u64::try_from(self.options.buffer.as_micros()).unwrap_or(u64::MAX);
        let left = unstarted.saturating_mul(self.task_time) / slots.max(1);
        self.held.len() < MOST_HELD
            && (unstarted < slots || (self.task_time > 0 && left < buffer / 2))
    }

    fn wants_work(&self) -> bool {
        self.now.mode == Mode::Working && self.ending.is_none() && self.is_low()
    }

    pub(super) fn start_calls(&mut self) {
        let now = Instant::now();
        if now < self.retry_at {
            return;
        }
        let polls = self.calls.iter().any(|call| call.polls);
        if !polls && now >= self.poll_after && self.wants_work() && self.can_keep() {
            self.start_call(true);
        }
        let delivers = self.calls.iter().any(|call| !call.polls);
        let unsent =
            self.outbox.entries().any(|entry| !self.in_flight.contains(&entry.report.root));
        let beat = now >= self.beat_at && !self.held.is_empty();
        let hush = std::mem::take(&mut self.hush) && polls;
        if !delivers && (unsent || beat || hush || !self.voids.is_empty()) {
            self.start_call(false);
        } else {
            self.hush = hush;
        }
    }

    fn start_call(&mut self, polls: bool) {
        let (reports, uploads) = self.unsent_reports();
        let roots: Vec<Digest> = reports.iter().map(|(root, _)| *root).collect();
        self.in_flight.extend(&roots);
        let rest = self.voids.split_off(self.voids.len().min(4096));
        let voids = std::mem::replace(&mut self.voids, rest);
        let reports = reports.into_iter().map(|(_, upload)| upload).collect();
        let request = self.request(polls, reports, &voids);
        self.beat_at = Instant::now() + self.options.heartbeat;
        self.numbers += 1;
        let (number, session, events) = (self.numbers, self.session.clone(), self.events.clone());
        let task = tokio::spawn(async move {
            let reply = deliver(&session, uploads, request).await;
            let reply = reply.map(|reply| {
                let clock = Clock::told(reply.now);
                (reply, clock)
            });
            // The agent is gone when the worker has ended.
            let _ = events.send(Event::Replied(number, reply)).await;
        });
        let (abort, began) = (task.abort_handle(), Instant::now());
        self.calls.iter_mut().for_each(|call| call.hushed = true);
        self.calls.push(Call { number, polls, hushed: false, roots, voids, abort, began });
    }

    fn unsent_reports(&self) -> (Vec<(Digest, ReportUpload)>, Vec<Large>) {
        let (mut reports, mut uploads, mut size) = (Vec::new(), Vec::new(), 0);
        for entry in self.outbox.entries() {
            if self.in_flight.contains(&entry.report.root) {
                continue;
            }
            let upload = &entry.upload;
            size += upload.outputs.0.iter().map(|bytes| bytes.0.len() + 5).sum::<usize>();
            size += upload.logs.0.iter().map(|bytes| bytes.0.len() + 5).sum::<usize>();
            size += upload.receipts.0.iter().map(|bytes| bytes.0.len() + 5).sum::<usize>();
            size += 5000 * (1 + upload.leases.0.len());
            let full = reports.len() >= self.batch_limit || size > MAX_REQUEST / 2;
            if full && !reports.is_empty() {
                break;
            }
            reports.push((entry.report.root, upload.clone()));
            uploads.extend(entry.large.iter().map(|digest| (*digest, self.outbox.blob(digest))));
        }
        uploads.sort_unstable();
        uploads.dedup();
        (reports, uploads)
    }

    fn request(
        &mut self,
        polls: bool,
        reports: Vec<ReportUpload>,
        voids: &[VoidEntry],
    ) -> WorkRequest {
        let accept = self.accept();
        let progress = self.held.values().take(1024).map(|held| Progress {
            attempt: held.lease.attempt,
            tasks: held.done,
            fuel: held.fuel_so_far(),
        });
        let micros = u64::try_from(self.options.buffer.as_micros()).unwrap_or(u64::MAX).max(1);
        let wait = u32::try_from(self.options.wait.as_millis()).unwrap_or(50_000);
        WorkRequest {
            slots: self.options.slots,
            reports: List(reports),
            progress: List(progress.collect()),
            buffer: if polls { micros } else { 0 },
            wait: if polls { wait } else { 0 },
            modules: List(self.blobs.recent()),
            min_tariff: self.options.rules.min_tariff,
            features: List::default(),
            round_trip: self.round_trip,
            accept,
            voids: List(voids.to_vec()),
            held: if polls { self.owed(voids) } else { None },
        }
    }

    /// Every lease of which it owes something, its answers to come among them; no word where they are too many to name. What
    /// an answer granted that never came is not there, and goes to others.
    fn owed(&self, voids: &[VoidEntry]) -> Option<List<AttemptId, MOST_OWED>> {
        let leases = self.outbox.entries().flat_map(|entry| &entry.upload.leases.0);
        let reported = leases.filter_map(|lease| Some(lease.peek().ok()?.attempt));
        let sent = self.calls.iter().flat_map(|call| &call.voids);
        let voided = self.voids.iter().chain(sent).chain(voids).map(|void| void.attempt);
        let owed: BTreeSet<AttemptId> =
            self.held.keys().copied().chain(reported).chain(voided).collect();
        (owed.len() <= MOST_OWED).then(|| List(owed.into_iter().collect()))
    }

    fn take_back(&mut self, call: Call) {
        self.in_flight.retain(|root| !call.roots.contains(root));
        self.voids.extend(call.voids);
    }

    pub(super) async fn on_reply(&mut self, number: u64, reply: Result<Heard, ApiError>) {
        let Some(at) = self.calls.iter().position(|call| call.number == number) else { return };
        let call = self.calls.swap_remove(at);
        // What follows may remove the report from which a restart would learn the chain.
        self.confirm().await;
        match reply {
            Ok(heard) => self.on_answer(call, heard).await,
            Err(error) => self.on_failure(call, &error),
        }
    }

    async fn on_answer(&mut self, call: Call, (reply, clock): Heard) {
        self.backoff.reset();
        self.batch_limit = 64;
        self.healed(Source::Calls);
        if !call.polls {
            self.round_trip = u64::try_from(call.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        } else if reply.grants.0.is_empty() {
            if !call.hushed {
                self.poll_after = call.began + PAUSE;
            }
            self.now.reasons = reply.reasons.0.into_iter().map(|reason| reason.0).collect();
        }
        self.in_flight.retain(|root| !call.roots.contains(root));
        reply.answers.0.iter().for_each(|answer| self.on_verdicts(answer));
        let next = reply.answers.0.iter().find_map(|answer| answer.next);
        if let Some(next) = next.filter(|_| call.number > self.settled_at) {
            self.sign_again(next).await;
        }
        if call.roots.iter().any(|root| self.outbox.entries().any(|e| e.report.root == *root)) {
            // A report without its answer is sent again, but not at once for ever.
            self.retry_at = Instant::now() + PAUSE;
        }
        reply.stop.0.iter().for_each(|attempt| self.on_stop(*attempt));
        for grant in reply.grants.0 {
            self.on_grant(grant, clock).await;
        }
    }

    fn on_verdicts(&mut self, answer: &ReportAnswer) {
        let count = self.outbox.entries().find(|entry| entry.report.root == answer.root);
        let Some(count) = count.map(|entry| entry.upload.receipts.0.len()) else { return };
        if self.is_unconfirmed(answer.root) {
            // It is all that a restart would know the chain from: it stays and is sent again.
            return;
        }
        if answer.next.is_some() {
            // It was not looked at: it is sent again, in its place.
            return tracing::warn!(report = %answer.root.short(), "report.out_of_order: {}", answer.reason.0);
        }
        let verdicts: Option<Vec<Verdict>> =
            answer.verdicts.0.iter().map(|code| Verdict::from_code(*code)).collect();
        let Some(verdicts) = verdicts.filter(|verdicts| verdicts.len() == count) else {
            let what = "the coordinator's answer to a report is not understood";
            return self.trouble(Source::Calls, what.into());
        };
        for verdict in &verdicts {
            match verdict {
                Verdict::Settled | Verdict::Taken => self.now.credited += 1,
                Verdict::Superseded => self.now.superseded += 1,
                Verdict::Refused => self.now.refused += 1,
            }
        }
        if verdicts.contains(&Verdict::Refused) {
            tracing::error!(report = %answer.root.short(), "report.refused: {}", answer.reason.0);
            self.now.last_refusal = Some(answer.reason.0.clone());
        }
        self.settled_at = self.numbers;
        match self.outbox.settle(answer.root) {
            Ok(_) => self.healed(Source::Outbox),
            Err(error) => self.trouble(Source::Outbox, error.to_string()),
        }
    }

    fn on_failure(&mut self, mut call: Call, error: &ApiError) {
        let blamed = error.blames_content();
        if blamed {
            self.narrow(&call, error);
            // Voids are a courtesy: a lease that is not mentioned any more goes to others anyway.
            call.voids.clear();
        }
        self.take_back(call);
        self.trouble(Source::Calls, error.to_string());
        let wait = self.backoff.next(random().map_or(0, u32::from_be_bytes));
        let asked = match error {
            ApiError::Refused { retry_after: Some(after), .. } => *after,
            _ => Duration::ZERO,
        };
        // An outage must not turn one machine's clock: no wait is longer than an hour.
        self.retry_at = Instant::now() + wait.max(asked).min(Duration::from_secs(3600));
    }

    /// Finds the report that the coordinator cannot read, by sending fewer at a time, and sets it aside.
    fn narrow(&mut self, call: &Call, error: &ApiError) {
        match call.roots[..] {
            [] => {}
            [root] if self.is_unconfirmed(root) => {}
            [root] => {
                tracing::error!(report = %root.short(), "report.unreadable: {error}");
                self.now.refused += 1;
                self.now.last_refusal = Some(error.to_string());
                self.settled_at = self.numbers;
                if let Err(error) = self.outbox.reject(root) {
                    self.trouble(Source::Outbox, error.to_string());
                }
            }
            _ => self.batch_limit = (call.roots.len() / 2).max(1),
        }
    }
}

async fn deliver(
    session: &Session,
    uploads: Vec<Large>,
    request: WorkRequest,
) -> Result<WorkReply, ApiError> {
    for (digest, path) in uploads {
        match tokio::fs::read(&path).await {
            Ok(bytes) => session.upload(&digest, bytes.into()).await?,
            // The coordinator will refuse the receipt, with a reason, if it does not have the blob.
            Err(error) => tracing::error!(blob = %digest, "outbox.blob cannot be read: {error}"),
        }
    }
    session.exchange("/api/v1/work", Bytes::from(request.to_bytes())).await
}
