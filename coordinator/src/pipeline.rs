//! The engine's thread: commands in, commits out, replies after their commit.
//!
//! One thread owns the engine. It drains the queue, decides, and hands the step to the store; while that batch is made
//! durable it decides the next one. Replies, events and looks at hot state leave when the batch they depend on is
//! committed. When a commit fails everybody who waits is told "unavailable", the engine is dropped, and the thread
//! probes until the database takes writes again and loads a new engine. Dropping all handles ends the thread after what
//! was queued is committed.

mod error;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tallymill_engine::{Command, Config, Engine, JobView, NetworkView, Reply, Step, Token};
use tallymill_ledger::Amount;
use tallymill_protocol::{AttemptId, Digest, HostId, JobId, Manifest, Micros};
use tallymill_storage::{CommitError, Commits, Identity, LoadError, Snapshot};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{Instrument as _, Span};

use crate::clock;
use crate::events::Events;
use crate::metrics::{Abandoned, Metrics};
use crate::pulse::Beats;

pub use error::PipelineError;

/// Commands decided into one batch at most.
const MAX_BATCH: usize = 1_024;
/// First and longest pause between two probes of a store that fails.
const PROBE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// The engine cannot answer now: the queue is full, the store fails, or the process stops. Nothing was done, or it is
/// not known whether it was; asking again is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator cannot write now")]
pub struct Unavailable;

type Caller<T> = oneshot::Sender<Result<T, Unavailable>>;

enum Input {
    Command(Box<Command>, Caller<Reply>),
    Job(JobId, Caller<Option<JobView>>),
    Network(Caller<NetworkView>),
    Needs(HostId, Need, Caller<bool>),
    Uncovered(Caller<Vec<Uncovered>>),
    Seen(Vec<HostId>, Caller<Vec<Option<Micros>>>),
    TooFew(Box<Manifest>, Caller<Option<String>>),
}

enum Look {
    Job(Option<JobView>, Caller<Option<JobView>>),
    Network(NetworkView, Caller<NetworkView>),
    Needs(bool, Caller<bool>),
    Uncovered(Vec<Uncovered>, Caller<Vec<Uncovered>>),
    Seen(Vec<Option<Micros>>, Caller<Vec<Option<Micros>>>),
    TooFew(Option<String>, Caller<Option<String>>),
}

/// A live job whose escrow holds less than what it reserved: job, escrow, reserved.
pub type Uncovered = (JobId, Amount, Amount);

/// What a host reads to run what it leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A manifest.
    Manifest(JobId),
    /// A module, a file or an input table.
    Blob(Digest),
}

/// A way to ask the engine; clones share one queue.
#[derive(Clone)]
pub struct Pipeline {
    queue: mpsc::Sender<Input>,
    ready: Arc<AtomicBool>,
}

impl Pipeline {
    /// Decides `command` and answers after the commit.
    ///
    /// # Errors
    /// [`Unavailable`] when the queue is full or the commit failed.
    pub async fn ask(&self, command: Command) -> Result<Reply, Unavailable> {
        self.send(|caller| Input::Command(Box::new(command), caller)).await
    }

    /// A live job as committed.
    ///
    /// # Errors
    /// As [`Pipeline::ask`].
    pub async fn job(&self, job: JobId) -> Result<Option<JobView>, Unavailable> {
        self.send(|caller| Input::Job(job, caller)).await
    }

    /// The network as committed.
    ///
    /// # Errors
    /// As [`Pipeline::ask`].
    pub async fn network(&self) -> Result<NetworkView, Unavailable> {
        self.send(Input::Network).await
    }

    /// Whether a lease that `host` has in force needs this.
    ///
    /// # Errors
    /// As [`Pipeline::ask`].
    pub async fn needs(&self, host: HostId, need: Need) -> Result<bool, Unavailable> {
        self.send(|caller| Input::Needs(host, need, caller)).await
    }

    /// Live jobs whose escrow does not cover their leases and undecided results, as committed.
    ///
    /// # Errors
    /// As [`Pipeline::ask`].
    pub async fn uncovered(&self) -> Result<Vec<Uncovered>, Unavailable> {
        self.send(Input::Uncovered).await
    }

    /// When each of these hosts was last heard of.
    ///
    /// # Errors
    /// As [`Pipeline::ask`].
    pub async fn seen(&self, hosts: Vec<HostId>) -> Result<Vec<Option<Micros>>, Unavailable> {
        self.send(|caller| Input::Seen(hosts, caller)).await
    }

    /// Why the owners that are online are too few for such a job, when they are.
    ///
    /// # Errors
    /// As [`Pipeline::ask`].
    pub async fn too_few(&self, manifest: &Manifest) -> Result<Option<String>, Unavailable> {
        self.send(|caller| Input::TooFew(Box::new(manifest.clone()), caller)).await
    }

    /// Commands and looks that wait for the engine.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Whether commands are taken and the last commit succeeded.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    async fn send<T>(&self, input: impl FnOnce(Caller<T>) -> Input) -> Result<T, Unavailable> {
        let (caller, answer) = oneshot::channel();
        self.queue.try_send(input(caller)).map_err(|_| Unavailable)?;
        answer.await.map_err(|_| Unavailable)?
    }
}

/// What the thread needs beside its queue.
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Commits>,
    /// Network and coordinator.
    pub identity: Identity,
    /// The engine's policy.
    pub config: Config,
    /// Commands that may wait.
    pub queue: usize,
    /// Batches of events kept.
    pub events: usize,
    /// Where batches, commits and verdicts are counted.
    pub metrics: Arc<Metrics>,
}

/// A running pipeline: how to ask it, its events, and how it ended.
pub struct Running {
    /// How to ask it.
    pub pipeline: Pipeline,
    /// Its events.
    pub events: Arc<Events>,
    /// Epoch of its leases.
    pub epoch: u64,
    /// Its thread's signs of life.
    pub beats: Beats,
    /// Its thread's end.
    pub ended: oneshot::Receiver<Result<(), PipelineError>>,
}

struct InFlight {
    started: Instant,
    commit: JoinHandle<(Box<Step>, Result<(), CommitError>)>,
    callers: HashMap<Token, Caller<Reply>>,
    looks: Vec<Look>,
    /// Ends with it.
    _span: Span,
}

struct Worker {
    parts: Parts,
    engine: Engine,
    events: Arc<Events>,
    ready: Arc<AtomicBool>,
    store_runtime: tokio::runtime::Handle,
    /// Those not answered yet: mostly hosts that wait for work.
    callers: HashMap<Token, Caller<Reply>>,
    waiting_looks: Vec<Input>,
    acknowledged: u64,
    next: u64,
    decided: usize,
    in_flight: Option<InFlight>,
    abandoned: Abandoned,
}

/// Loads the database and starts the thread.
///
/// # Errors
/// When the database cannot be loaded or contradicts itself, or there is no thread to run in.
pub async fn start(parts: Parts) -> Result<Running, PipelineError> {
    let snapshot = parts.store.load().await?;
    let (epoch, sequence) = (snapshot.epoch, snapshot.sequence);
    let mut abandoned = Abandoned::default();
    abandoned.fresh(&snapshot.hosts);
    let engine = Engine::new(parts.identity.clone(), parts.config.clone(), snapshot, clock::now())?;
    let events = Arc::new(Events::new(parts.events, sequence));
    let ready = Arc::new(AtomicBool::new(true));
    let (queue, inputs) = mpsc::channel(parts.queue);
    let (end, ended) = oneshot::channel();
    let worker = Worker {
        parts,
        engine,
        events: Arc::clone(&events),
        ready: Arc::clone(&ready),
        store_runtime: tokio::runtime::Handle::current(),
        callers: HashMap::new(),
        waiting_looks: Vec::new(),
        acknowledged: sequence,
        next: 0,
        decided: 0,
        in_flight: None,
        abandoned,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let beats = Beats::of(&runtime);
    std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        let flag = Lowered(Arc::clone(&worker.ready));
        let result = runtime.block_on(worker.run(inputs));
        drop(flag);
        // Nobody may be left to hear how it ended.
        drop(end.send(result));
    })?;
    Ok(Running { pipeline: Pipeline { queue, ready }, events, epoch, beats, ended })
}

/// A flag that is false once this is dropped, also by a panic.
struct Lowered(Arc<AtomicBool>);

impl Drop for Lowered {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn finished(
    in_flight: &mut Option<InFlight>,
) -> Option<(Box<Step>, Result<(), CommitError>)> {
    match in_flight {
        Some(flight) => (&mut flight.commit).await.ok(),
        None => std::future::pending().await,
    }
}

async fn until(moment: Option<Micros>) {
    match moment {
        Some(moment) => {
            tokio::time::sleep(Duration::from_micros(moment.since(clock::now()))).await;
        }
        None => std::future::pending().await,
    }
}

impl Worker {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<(), PipelineError> {
        let (mut buffer, mut open) = (Vec::new(), true);
        while open || self.in_flight.is_some() || self.decided > 0 {
            let room = MAX_BATCH.saturating_sub(self.decided);
            let timeout = self.engine.poll_timeout().filter(|_| room > 0);
            tokio::select! {
                done = finished(&mut self.in_flight) => match self.settle(done) {
                    Ok(()) => {}
                    Err(error) => self.recover(&mut inputs, error).await?,
                },
                count = inputs.recv_many(&mut buffer, room), if open && room > 0 => {
                    open = count > 0;
                    buffer.drain(..).for_each(|input| self.accept(input));
                }
                () = until(timeout) => {
                    self.engine.handle_timeout(clock::now());
                    self.decided += 1;
                }
            }
            self.hand_over();
        }
        Ok(())
    }

    fn accept(&mut self, input: Input) {
        self.decided += 1;
        match input {
            Input::Command(command, caller) => {
                let token = Token(self.next);
                self.next += 1;
                self.callers.insert(token, caller);
                self.engine.handle(token, *command, clock::now());
            }
            look => self.waiting_looks.push(look),
        }
    }

    fn look(&self, input: Input) -> Option<Look> {
        match input {
            Input::Command(..) => None,
            Input::Job(job, caller) => Some(Look::Job(self.engine.job(job), caller)),
            Input::Network(caller) => Some(Look::Network(self.engine.network(), caller)),
            Input::Uncovered(caller) => Some(Look::Uncovered(self.engine.uncovered(), caller)),
            Input::Seen(hosts, caller) => {
                let seen = hosts.into_iter().map(|host| self.engine.seen(host)).collect();
                Some(Look::Seen(seen, caller))
            }
            Input::TooFew(manifest, caller) => {
                Some(Look::TooFew(self.engine.too_few(&manifest), caller))
            }
            Input::Needs(host, need, caller) => {
                let needs = match need {
                    Need::Manifest(job) => self.engine.needs_job(host, job),
                    Need::Blob(digest) => self.engine.needs_blob(host, digest),
                };
                Some(Look::Needs(needs, caller))
            }
        }
    }

    /// Hands what was decided to the store, unless the batch before it is still on its way.
    fn hand_over(&mut self) {
        if self.in_flight.is_some() || self.decided == 0 {
            return;
        }
        self.parts.metrics.batch(self.decided);
        let span = tracing::info_span!(parent: None, "batch", commands = self.decided);
        self.decided = 0;
        let now = clock::now();
        self.engine.dispatch(now);
        let step = Box::new(self.engine.take(now));
        let looks = std::mem::take(&mut self.waiting_looks);
        let looks = looks.into_iter().filter_map(|input| self.look(input)).collect();
        let answered = step.replies.iter().map(|(token, _)| *token);
        let callers = answered.filter_map(|token| self.callers.remove_entry(&token)).collect();
        let store = Arc::clone(&self.parts.store);
        let within = span.clone();
        let commit = self.store_runtime.spawn(async move {
            if step.batch.is_empty() {
                return (step, Ok(()));
            }
            let sequence = step.batch.sequence;
            let span = tracing::info_span!(parent: &within, "commit", sequence);
            let result = store.commit(&step.batch).instrument(span).await;
            (step, result)
        });
        let started = Instant::now();
        self.in_flight = Some(InFlight { started, commit, callers, looks, _span: span });
    }

    /// Lets replies, looks and events go, now that their batch is durable.
    fn settle(&mut self, done: Option<(Box<Step>, Result<(), CommitError>)>) -> Result<(), String> {
        let Some(flight) = self.in_flight.take() else { return Ok(()) };
        let (step, result) = done.ok_or_else(|| "the commit was interrupted".to_owned())?;
        let metrics = &self.parts.metrics;
        if !step.batch.is_empty() {
            metrics.committed(flight.started.elapsed(), result.is_ok());
        }
        result.map_err(|error| {
            // Before the callers are dropped: who hears "unavailable" must not read "ready" after it.
            self.ready.store(false, Ordering::Release);
            error.to_string()
        })?;
        let step = *step;
        if !step.batch.is_empty() {
            self.acknowledged = step.batch.sequence;
            metrics.lapsed(self.abandoned.fresh(&step.batch.hosts));
        }
        self.events.add(self.acknowledged, &step.events);
        let mut callers = flight.callers;
        let mut unheard = Vec::new();
        for (token, reply) in step.replies {
            metrics.replied(&reply);
            // A caller that went away is no reason to stop; what it was granted goes to others at once.
            if let Some(Err(Ok(Reply::Work(answer)))) =
                callers.remove(&token).map(|caller| caller.send(Ok(reply)))
            {
                unheard.extend(answer.grants.into_iter().map(|granted| granted.lease.attempt));
            }
        }
        unheard.into_iter().for_each(|attempt| self.take_back(attempt));
        flight.looks.into_iter().for_each(answer);
        Ok(())
    }

    fn take_back(&mut self, attempt: AttemptId) {
        let token = Token(self.next);
        self.next += 1;
        self.decided += 1;
        self.engine.handle(token, Command::ReturnLease { attempt }, clock::now());
    }

    /// Tells everybody who waits, then probes and loads until there is an engine again.
    async fn recover(
        &mut self,
        inputs: &mut mpsc::Receiver<Input>,
        error: String,
    ) -> Result<(), PipelineError> {
        tracing::error!(commit.error = error, "a commit failed; the engine is loaded anew");
        self.ready.store(false, Ordering::Release);
        // Dropping a caller answers it with `Unavailable`.
        self.callers.clear();
        self.waiting_looks.clear();
        self.decided = 0;
        let mut pause = PROBE.0;
        loop {
            while inputs.try_recv().is_ok() {}
            if let Some(snapshot) = self.reload().await? {
                if snapshot.sequence < self.acknowledged {
                    let (found, acknowledged) = (snapshot.sequence, self.acknowledged);
                    return Err(PipelineError::Lost { found, acknowledged });
                }
                self.acknowledged = snapshot.sequence;
                let (identity, config) = (self.parts.identity.clone(), self.parts.config.clone());
                self.engine = Engine::new(identity, config, snapshot, clock::now())?;
                self.ready.store(true, Ordering::Release);
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PROBE.1);
        }
    }

    /// What the database holds, if it takes writes. In the runtime of commits: a connection that is opened now is theirs,
    /// and the thread's own runtime has no sockets.
    async fn reload(&self) -> Result<Option<Snapshot>, PipelineError> {
        let store = Arc::clone(&self.parts.store);
        let load = self.store_runtime.spawn(async move {
            match store.probe().await {
                Ok(()) => {}
                Err(CommitError::Fenced { epoch }) => return Err(PipelineError::Fenced { epoch }),
                Err(_) => return Ok(None),
            }
            match store.load().await {
                Ok(snapshot) => Ok(Some(snapshot)),
                Err(LoadError::Fenced { epoch }) => Err(PipelineError::Fenced { epoch }),
                Err(LoadError::Read(_)) => Ok(None),
            }
        });
        match load.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(loaded) => loaded,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_ends)) => Ok(None),
        }
    }
}

fn answer(look: Look) {
    // A caller that went away is no reason to stop.
    match look {
        Look::Job(view, caller) => drop(caller.send(Ok(view))),
        Look::Network(view, caller) => drop(caller.send(Ok(view))),
        Look::Needs(needs, caller) => drop(caller.send(Ok(needs))),
        Look::TooFew(why, caller) => drop(caller.send(Ok(why))),
        Look::Uncovered(jobs, caller) => drop(caller.send(Ok(jobs))),
        Look::Seen(seen, caller) => drop(caller.send(Ok(seen))),
    }
}
