//! The agent: one task that owns leases, queue and mode. It waits for one event, handles it, and starts what can start.

mod calls;
mod leases;
mod payers;
mod sealing;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tallymill_protocol::work::{VoidEntry, WorkReply};
use tallymill_protocol::{AttemptId, Digest, JobId, Manifest, Report, TaskIndex};
use tallymill_sandbox::Void;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::calls::Call;
use self::leases::Held;
use self::sealing::{Full, Pending};
use crate::api::{ApiError, Session};
use crate::backoff::Backoff;
use crate::blobs::BlobCache;
use crate::clock::Clock;
use crate::debts::{Debts, Terms};
use crate::execute::Execute;
use crate::job::{GrantError, Loaded, Loader, Owner};
use crate::mode::{Command, Mode, NotNow};
use crate::options::Options;
use crate::outbox::Outbox;
use crate::seal::Done;
use crate::status::{Source, Status, Trouble};

/// Time that a shutdown spends on telling the coordinator.
const GOODBYE: Duration = Duration::from_secs(5);
/// How often what idles is looked at.
const TIDY: Duration = Duration::from_secs(10);
/// Most events handled before the agent looks at what follows from them.
const MOST_EVENTS: usize = 1024;

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
    Replied(u64, Result<Heard, ApiError>),
}

/// An answer, and the time that it tells.
pub(crate) type Heard = (WorkReply, Clock);

pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) session: Session,
    pub(crate) execute: Arc<dyn Execute>,
    pub(crate) blobs: Arc<BlobCache>,
    pub(crate) outbox: Outbox,
    pub(crate) owner: Owner,
    /// Fuel that ordinary work uses in a microsecond here; 0: not known.
    pub(crate) ordinary: u64,
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
    pending: Pending,
    /// The last report in the outbox, while the chain's file does not know of it.
    unconfirmed: Option<Report>,
    troubled: Option<Source>,
    /// Results could not be kept: no work is asked for until the disk takes as much.
    full: Option<Full>,
    voids: Vec<VoidEntry>,
    debts: Debts,
    calls: Vec<Call>,
    /// Whether the call that waits for work should end: the coordinator ends it when another one comes.
    hush: bool,
    /// Number of the last call before a report was last settled: what was asked before says nothing about the chain.
    settled_at: u64,
    in_flight: HashSet<Digest>,
    numbers: u64,
    batch_limit: usize,
    backoff: Backoff,
    retry_at: Instant,
    poll_after: Instant,
    beat_at: Instant,
    tidy_at: Instant,
    round_trip: u64,
    /// Mean wall time of a task on one slot, µs; 0: not known.
    task_time: u64,
}

impl Agent {
    pub(crate) fn new(
        parts: Parts,
        now: Status,
        status: watch::Sender<Status>,
    ) -> (Self, mpsc::Receiver<Event>) {
        let Parts { options, session, execute, blobs, outbox, owner, ordinary } = parts;
        let debts = Debts::new(Terms {
            ordinary,
            least: options.least_pay,
            patience: options.patience,
            owner: owner.account,
        });
        let (events, inbox) = mpsc::channel(MOST_EVENTS);
        let loader = Arc::new(Loader {
            session: session.clone(),
            blobs: blobs.clone(),
            execute: execute.clone(),
            rules: options.rules.clone(),
            caps: options.caps,
            owner,
        });
        let start = Instant::now();
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
            pending: Pending::default(),
            unconfirmed: None,
            troubled: None,
            full: None,
            voids: Vec::new(),
            debts,
            calls: Vec::new(),
            hush: false,
            settled_at: 0,
            in_flight: HashSet::new(),
            numbers: 0,
            batch_limit: 64,
            backoff: Backoff::default(),
            retry_at: start,
            poll_after: start,
            beat_at: start,
            tidy_at: start,
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
        let mut happened = Vec::new();
        loop {
            self.advance().await;
            if self.is_over() {
                break;
            }
            tokio::select! {
                ask = asks.recv() => self.on_ask(ask.unwrap_or(Ask::Shutdown)),
                _ = events.recv_many(&mut happened, MOST_EVENTS) => {
                    for event in happened.drain(..) {
                        self.on_event(event).await;
                    }
                }
                () = tokio::time::sleep_until(self.wake_at()) => {}
            }
        }
        self.calls.iter().for_each(|call| call.abort.abort());
        self.now.mode = Mode::Finished;
        self.publish();
    }

    /// Starts whatever can start now.
    async fn advance(&mut self) {
        // First of all no slot waits: the rest can take as long as a disk does.
        self.start_runs();
        while self.must_seal() {
            self.seal().await;
        }
        if let Some(unkept) = self.outbox.spool().take_failure() {
            self.on_full(&unkept);
        }
        self.retire();
        self.tidy();
        self.start_calls();
        if self.is_drained() {
            self.now.mode = self.now.mode.drained();
        }
        self.publish();
    }

    fn tidy(&mut self) {
        let now = Instant::now();
        if now >= self.tidy_at {
            self.tidy_at = now + TIDY;
            let execute = self.execute.clone();
            drop(tokio::task::spawn_blocking(move || execute.tidy()));
        }
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
            self.pending.due(),
            self.ending,
            Some(self.retry_at),
            Some(self.poll_after),
            self.full.as_ref().map(|full| full.try_at),
            Some(self.beat_at),
            Some(self.tidy_at),
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
        // A call that waits for work may already carry some: it is ended by the coordinator, never cut off here.
        self.hush = mode != Mode::Working;
        if mode == Mode::Paused {
            self.withdraw_all("the owner paused the worker");
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

    fn trouble(&mut self, source: Source, what: String) {
        tracing::warn!("worker.trouble: {what}");
        self.troubled = Some(source);
        self.now.trouble = Some(Trouble { what });
    }

    fn healed(&mut self, source: Source) {
        if self.troubled == Some(source) {
            self.troubled = None;
            self.now.trouble = None;
        }
    }

    fn publish(&mut self) {
        self.now.busy = u32::try_from(self.running()).unwrap_or(u32::MAX);
        self.now.queued = self.held.values().map(|held| u64::from(held.left)).sum();
        self.now.undelivered = u64::try_from(self.outbox.len()).unwrap_or(u64::MAX);
        let now = &self.now;
        self.status.send_if_modified(|shown| {
            let changed = shown != now;
            if changed {
                shown.clone_from(now);
            }
            changed
        });
    }
}
