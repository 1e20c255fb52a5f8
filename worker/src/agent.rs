//! The agent: one task that owns leases, queue and mode. It waits for one event, handles it, and starts what can start.

mod calls;
mod leases;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tallymill_protocol::work::{VoidCause, VoidEntry, WorkReply};
use tallymill_protocol::{AttemptId, Digest, JobId, Manifest, TaskIndex};
use tallymill_sandbox::Void;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::calls::Call;
use self::leases::Held;
use crate::api::{ApiError, Session};
use crate::backoff::Backoff;
use crate::blobs::BlobCache;
use crate::execute::Execute;
use crate::job::{GrantError, Loaded, Loader};
use crate::mode::{Command, Mode, NotNow};
use crate::options::Options;
use crate::outbox::Outbox;
use crate::seal::{Done, entry};
use crate::status::{Status, Trouble};

/// Time in which results gather before they are signed together.
const GATHER: Duration = Duration::from_millis(100);
/// Most receipts in one report here; the protocol allows 8,192.
const MOST_RECEIPTS: usize = 4096;
/// Most inline bytes in one report, so that several fit a call.
const MOST_INLINE: usize = 4 << 20;
/// Time that a shutdown spends on telling the coordinator.
const GOODBYE: Duration = Duration::from_secs(5);

/// What others ask of the agent.
pub(crate) enum Ask {
    Command(Command, oneshot::Sender<Result<(), NotNow>>),
    Shutdown,
}

/// What happened.
pub(crate) enum Event {
    Loaded(AttemptId, Result<Loaded, GrantError>),
    Ran(AttemptId, u64, TaskIndex, Box<Result<Done, Void>>),
    RunEnded(AttemptId, u64, Duration),
    Replied(u64, Result<WorkReply, ApiError>),
}

pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) session: Session,
    pub(crate) execute: Arc<dyn Execute>,
    pub(crate) blobs: Arc<BlobCache>,
    pub(crate) outbox: Outbox,
}

pub(crate) struct Agent {
    options: Options,
    session: Session,
    execute: Arc<dyn Execute>,
    loader: Arc<Loader>,
    blobs: Arc<BlobCache>,
    outbox: Outbox,
    events: mpsc::Sender<Event>,
    status: watch::Sender<Status>,
    now: Status,
    ending: Option<Instant>,
    held: HashMap<AttemptId, Held>,
    queue: VecDeque<AttemptId>,
    manifests: HashMap<JobId, Arc<Manifest>>,
    pending: Vec<Done>,
    seal_at: Option<Instant>,
    voids: Vec<VoidEntry>,
    calls: Vec<Call>,
    in_flight: HashSet<Digest>,
    numbers: u64,
    batch_limit: usize,
    backoff: Backoff,
    retry_at: Instant,
    poll_after: Instant,
    beat_at: Instant,
    round_trip: u64,
    /// Mean wall time of a task on one slot, µs; 0: not known.
    task_time: u64,
}

impl Agent {
    pub(crate) fn new(
        parts: Parts,
        status: watch::Sender<Status>,
    ) -> (Self, mpsc::Receiver<Event>) {
        let Parts { options, session, execute, blobs, outbox } = parts;
        let (events, inbox) = mpsc::channel(256);
        let loader = Arc::new(Loader {
            session: session.clone(),
            blobs: blobs.clone(),
            execute: execute.clone(),
            rules: options.rules.clone(),
            caps: options.caps,
        });
        let start = Instant::now();
        let now = Status::new(options.slots);
        let agent = Self {
            options,
            session,
            execute,
            loader,
            blobs,
            outbox,
            events,
            status,
            now,
            ending: None,
            held: HashMap::new(),
            queue: VecDeque::new(),
            manifests: HashMap::new(),
            pending: Vec::new(),
            seal_at: None,
            voids: Vec::new(),
            calls: Vec::new(),
            in_flight: HashSet::new(),
            numbers: 0,
            batch_limit: 64,
            backoff: Backoff::default(),
            retry_at: start,
            poll_after: start,
            beat_at: start,
            round_trip: 0,
            task_time: 0,
        };
        (agent, inbox)
    }

    /// Runs until finished or shut down.
    pub(crate) async fn run(
        mut self,
        mut asks: mpsc::Receiver<Ask>,
        mut events: mpsc::Receiver<Event>,
    ) {
        loop {
            self.advance().await;
            if self.is_over() {
                break;
            }
            tokio::select! {
                ask = asks.recv() => self.on_ask(ask.unwrap_or(Ask::Shutdown)),
                Some(event) = events.recv() => self.on_event(event).await,
                () = tokio::time::sleep_until(self.wake_at()) => {}
            }
        }
        self.calls.iter().for_each(|call| call.abort.abort());
        self.now.mode = Mode::Finished;
        self.publish();
    }

    /// Starts whatever can start now.
    async fn advance(&mut self) {
        if self.must_seal() {
            self.seal().await;
        }
        self.retire();
        self.start_runs();
        self.start_calls();
        if self.is_drained() {
            self.now.mode = self.now.mode.drained();
        }
        self.publish();
    }

    fn is_drained(&self) -> bool {
        let quiet = self.held.is_empty() && self.pending.is_empty() && self.calls.is_empty();
        quiet && self.voids.is_empty() && self.outbox.is_empty()
    }

    fn is_over(&self) -> bool {
        let give_up = |until| self.is_drained() || Instant::now() >= until;
        self.now.mode == Mode::Finished || self.ending.is_some_and(give_up)
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let timers = [
            self.seal_at,
            self.ending,
            Some(self.retry_at),
            Some(self.poll_after),
            Some(self.beat_at),
        ];
        let next = timers.into_iter().flatten().filter(|at| *at > now).min();
        next.unwrap_or(now + self.options.heartbeat)
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Command(command, answer) => {
                let after = self.now.mode.after(command);
                if let Ok(mode) = after {
                    self.enter(mode);
                }
                self.publish();
                // Who asked may have gone away; the command holds all the same.
                let _ = answer.send(after.map(drop));
            }
            Ask::Shutdown => {
                self.ending.get_or_insert(Instant::now() + GOODBYE);
                self.enter(Mode::Paused);
            }
        }
    }

    fn enter(&mut self, mode: Mode) {
        tracing::info!(from = ?self.now.mode, to = ?mode, "worker.mode changed");
        self.now.mode = mode;
        if mode != Mode::Working {
            self.abort_poll();
        }
        if mode == Mode::Paused {
            self.withdraw_all();
        }
        // The owner acted: do not sit out a wait from before.
        self.retry_at = Instant::now();
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Loaded(attempt, loaded) => self.on_loaded(attempt, loaded),
            Event::Ran(attempt, run, task, ran) => self.on_ran(attempt, run, task, *ran),
            Event::RunEnded(attempt, run, mean) => self.on_run_ended(attempt, run, mean),
            Event::Replied(number, reply) => self.on_reply(number, reply).await,
        }
    }

    fn void(&mut self, attempt: AttemptId, task: TaskIndex, void: &Void) {
        tracing::warn!(task = task.0, cause = void.cause.phrase(), "run.void: {}", void.detail);
        self.now.voids += 1;
        let mut detail = void.detail.clone();
        while detail.len() > 200 {
            detail.pop();
        }
        let detail = tallymill_protocol::cbor::Text(detail);
        self.voids.push(VoidEntry { attempt, task, cause: void.cause as u8, detail });
    }

    fn keep(&mut self, done: Done) {
        self.seal_at.get_or_insert(Instant::now() + GATHER);
        self.pending.push(done);
    }

    fn must_seal(&self) -> bool {
        let inline: usize = self.pending.iter().map(Done::inline).sum();
        let full = self.pending.len() >= MOST_RECEIPTS || inline >= MOST_INLINE;
        let due = self.seal_at.is_some_and(|at| Instant::now() >= at);
        !self.pending.is_empty() && (full || due || self.held.values().any(Held::is_complete))
    }

    /// Signs what gathered, puts it on disk, and only then moves the chain on.
    async fn seal(&mut self) {
        let epoch_of = |done: &Done, held: &HashMap<AttemptId, Held>| {
            held.values()
                .find(|held| held.digest == done.receipt.lease)
                .map(|held| held.lease.epoch)
        };
        let Some(first) = self.pending.first().map(|done| epoch_of(done, &self.held)) else {
            return;
        };
        let (mut now, mut later, mut inline) = (Vec::new(), Vec::new(), 0);
        for done in std::mem::take(&mut self.pending) {
            inline += done.inline();
            let fits = now.is_empty() || (inline <= 2 * MOST_INLINE && now.len() < MOST_RECEIPTS);
            if fits && epoch_of(&done, &self.held) == first {
                now.push(done);
            } else {
                later.push(done);
            }
        }
        let receipts = now.iter().map(|done| done.receipt.clone()).collect();
        let sealed = match self.session.signer.report(receipts).await {
            Ok(sealed) => sealed,
            Err(error) => {
                // The signer saw something that must not be signed; it will never sign it.
                tracing::error!("{} receipts are not signed and dropped: {error}", now.len());
                self.pending = later;
                return;
            }
        };
        let message = sealed.message.clone();
        let entry = entry(sealed, now);
        if let Err(error) = self.store(entry, message).await {
            self.trouble(error);
        }
        self.pending.extend(later);
        self.seal_at = (!self.pending.is_empty()).then(|| Instant::now() + GATHER);
    }

    async fn store(
        &mut self,
        entry: crate::outbox::Entry,
        message: tallymill_protocol::Report,
    ) -> Result<(), String> {
        let voided: Vec<_> =
            entry.upload.receipts.0.iter().filter_map(|bytes| peek(&bytes.0)).collect();
        if let Err(error) = self.outbox.append(entry) {
            // Without a place on disk the work cannot be promised: its tasks go to others.
            let void = Void::new(VoidCause::Other, error.to_string());
            for (lease, task) in voided {
                let attempt = self.held.values().find(|held| held.digest == lease);
                if let Some(attempt) = attempt.map(|held| held.lease.attempt) {
                    self.void(attempt, task, &void);
                }
            }
            return Err(format!("{error}; unsaved results were given back"));
        }
        self.session.signer.confirm(message).await.map_err(|error| error.to_string())
    }

    fn trouble(&mut self, what: String) {
        tracing::warn!("worker.trouble: {what}");
        self.now.trouble = Some(Trouble { what });
    }

    fn publish(&mut self) {
        self.now.busy = u32::try_from(self.running()).unwrap_or(u32::MAX);
        self.now.queued = self.held.values().map(|held| u64::from(held.left)).sum();
        self.now.undelivered = u64::try_from(self.outbox.len()).unwrap_or(u64::MAX);
        let now = &self.now;
        self.status.send_if_modified(|shown| {
            let changed = shown != now;
            shown.clone_from(now);
            changed
        });
    }
}

fn peek(receipt: &[u8]) -> Option<(tallymill_protocol::LeaseDigest, TaskIndex)> {
    use tallymill_protocol::{Message as _, Receipt};
    Receipt::from_bytes(receipt).ok().map(|receipt| (receipt.lease, receipt.task))
}
