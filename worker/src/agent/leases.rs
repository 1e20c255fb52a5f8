//! What is held: leases from their grant to their last task, and the runs of their tasks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tallymill_protocol::work::{Grant, VoidCause};
use tallymill_protocol::{
    AccountId, AttemptId, Lease, LeaseDigest, MAX_LEASE_TASKS, Micros, TaskIndex,
};
use tallymill_sandbox::{TaskSpec, Void};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::calls::PAUSE;
use super::{Agent, Event};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::execute::{Control, Execute, Placement, Prepared};
use crate::files::{now, random};
use crate::job::{GrantError, Loaded, Part};
use crate::mode::Mode;
use crate::seal::{Done, Stamp};
use crate::signer::SignerError;
use crate::status::Source;

/// Most tasks in one run, so that a lease's tasks are spread over the slots.
const MOST_IN_RUN: usize = 1024;
/// Wall time that a run should have at least, µs: beginning one costs some tenths of a millisecond.
const LEAST_RUN: u64 = 20_000;

/// A lease that is held.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) digest: LeaseDigest,
    /// Tasks without a result.
    pub(super) left: u32,
    pub(super) fuel: u64,
    pub(super) done: u32,
    pub(super) stopped: bool,
    /// Whose job it is, once that is known.
    pub(super) submitter: Option<AccountId>,
    module: Option<Prepared>,
    /// Of a long task, the segment that the lease is about.
    part: Option<Part>,
    ready: VecDeque<TaskSpec>,
    runs: HashMap<u64, Run>,
}

struct Run {
    control: Arc<Control>,
    open: HashSet<TaskIndex>,
}

impl Held {
    fn new(lease: Lease, digest: LeaseDigest) -> Self {
        let left = lease.count;
        let (ready, runs) = (VecDeque::new(), HashMap::new());
        let (fuel, done, stopped, submitter, module, part) = (0, 0, false, None, None, None);
        Self { lease, digest, left, fuel, done, stopped, submitter, module, part, ready, runs }
    }

    /// Whether every task has its result.
    pub(super) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Fuel of finished tasks and of those that run.
    pub(super) fn fuel_so_far(&self) -> u64 {
        let running = self.runs.values().filter_map(|run| run.control.progress());
        running.fold(self.fuel, |sum, progress| sum.saturating_add(progress.fuel))
    }
}

impl Agent {
    pub(super) fn running(&self) -> usize {
        self.held.values().map(|held| held.runs.len()).sum()
    }

    /// Tasks that wait for a slot, those not loaded yet among them.
    pub(super) fn unstarted(&self) -> u64 {
        let waiting = |held: &Held| match held.module {
            Some(_) => u64::try_from(held.ready.len()).unwrap_or(u64::MAX),
            None => u64::from(held.left),
        };
        self.held.values().map(waiting).sum()
    }

    pub(super) async fn on_grant(&mut self, grant: Grant, clock: Clock) {
        let digest = Lease::digest_of(grant.lease.payload());
        let lease = match self.session.signer.open(grant.lease.clone(), clock.now()).await {
            Ok(lease) => lease,
            Err(error) => return self.decline(&grant, &error),
        };
        self.healed(Source::Leases);
        let attempt = lease.attempt;
        if self.held.contains_key(&attempt) {
            return;
        }
        let known = self.manifests.get(&lease.job).cloned();
        self.held.insert(attempt, Held::new(lease.clone(), digest));
        if self.now.mode != Mode::Working {
            return self.withdraw(attempt, "the owner paused the worker");
        }
        let (loader, events) = (self.loader.clone(), self.events.clone());
        tokio::spawn(async move {
            let mut backoff = Backoff::default();
            let loaded = loop {
                match loader.load(&lease, &grant, known.clone()).await {
                    Err(GrantError::Later(error)) if clock.now() < lease.expiry => {
                        tracing::info!("lease.load waits: {error}");
                        let draw = random().map_or(0, u32::from_be_bytes);
                        tokio::time::sleep(backoff.next(draw)).await;
                    }
                    done => break done,
                }
            };
            // The agent is gone when the worker has ended.
            let _ = events.send(Event::Loaded(attempt, loaded)).await;
        });
    }

    /// A lease that the signer does not open: its tasks need not wait until it lapses. Nothing but its coordinator is at
    /// fault, and whoever grants such leases would do so again at once.
    fn decline(&mut self, grant: &Grant, why: &SignerError) {
        self.poll_after = Instant::now() + PAUSE;
        let void = Void::new(VoidCause::Withdrawn, format!("the lease was not taken: {why}"));
        if let Ok(lease) = grant.lease.peek() {
            let tasks = (lease.first.0..).take(lease.count.min(MAX_LEASE_TASKS) as usize);
            tasks.for_each(|task| self.void(lease.attempt, TaskIndex(task), &void));
        }
        self.trouble(Source::Leases, format!("a lease was not taken: {why}"));
    }

    pub(super) fn on_loaded(&mut self, attempt: AttemptId, loaded: Result<Loaded, GrantError>) {
        let Some(held) = self.held.get_mut(&attempt) else { return };
        if held.is_complete() {
            return;
        }
        match loaded {
            Ok(Loaded { module, tasks, manifest, part }) => {
                (held.module, held.part) = (Some(module), part);
                held.submitter = Some(manifest.submitter);
                held.ready = tasks.into();
                if self.manifests.len() >= 64 {
                    self.manifests.clear();
                }
                self.manifests.insert(held.lease.job, manifest.clone());
                self.queue.push_back(attempt);
                let refusal = self.debts.refusal(manifest.submitter, std::time::Instant::now());
                if let Some(why) = refusal {
                    self.withdraw(attempt, &why);
                }
            }
            Err(GrantError::Void(void)) => self.give_up(attempt, &void),
            Err(error) => {
                self.give_up(attempt, &Void::new(VoidCause::Unavailable, error.to_string()));
            }
        }
    }

    /// Makes all tasks void that no run has begun.
    fn give_up(&mut self, attempt: AttemptId, void: &Void) {
        let Some(held) = self.held.get_mut(&attempt) else { return };
        let tasks: Vec<TaskIndex> = match held.module {
            Some(_) => held.ready.drain(..).map(|task| task.index).collect(),
            None => (held.lease.first.0..)
                .take(held.left.try_into().unwrap_or(0))
                .map(TaskIndex)
                .collect(),
        };
        held.left -= u32::try_from(tasks.len()).unwrap_or(held.left).min(held.left);
        tasks.into_iter().for_each(|task| self.void(attempt, task, void));
    }

    pub(super) fn withdraw(&mut self, attempt: AttemptId, why: &str) {
        self.give_up(attempt, &Void::new(VoidCause::Withdrawn, why));
        if let Some(held) = self.held.get(&attempt) {
            held.runs.values().for_each(|run| run.control.withdraw());
        }
    }

    pub(super) fn withdraw_all(&mut self, why: &str) {
        let attempts: Vec<_> = self.held.keys().copied().collect();
        attempts.into_iter().for_each(|attempt| self.withdraw(attempt, why));
    }

    /// The coordinator wants no more of this: what runs ends at its next slice, the rest is dropped unsaid.
    pub(super) fn on_stop(&mut self, attempt: AttemptId) {
        let Some(held) = self.held.get_mut(&attempt) else { return };
        held.stopped = true;
        let unbegun = match held.module {
            Some(_) => u32::try_from(held.ready.drain(..).count()).unwrap_or(u32::MAX),
            None => held.left,
        };
        held.left = held.left.saturating_sub(unbegun);
        held.runs.values().for_each(|run| run.control.stop_all());
    }

    pub(super) fn start_runs(&mut self) {
        let slots = usize::try_from(self.options.slots).unwrap_or(1);
        while self.running() < slots && self.now.mode != Mode::Paused {
            let Some(attempt) = self.queue.front().copied() else { return };
            let Some(held) = self.held.get_mut(&attempt).filter(|held| !held.ready.is_empty())
            else {
                self.queue.pop_front();
                continue;
            };
            // Tasks of a microsecond are not worth a run each.
            let least = usize::try_from(LEAST_RUN / self.task_time.max(1)).unwrap_or(1);
            let least = if self.task_time == 0 { 1 } else { least.clamp(1, MOST_IN_RUN) };
            let share = held.ready.len().div_ceil(2 * slots).clamp(least, MOST_IN_RUN);
            let share = share.min(held.ready.len());
            let tasks: Vec<TaskSpec> = held.ready.drain(..share).collect();
            if let Err(error) = self.start_run(attempt, tasks) {
                return self.trouble(Source::Runs, format!("no run could be started: {error}"));
            }
            self.healed(Source::Runs);
        }
    }

    fn start_run(&mut self, attempt: AttemptId, tasks: Vec<TaskSpec>) -> std::io::Result<()> {
        let Some(held) = self.held.get_mut(&attempt) else { return Ok(()) };
        let Some(module) = held.module else { return Ok(()) };
        let patience = held.submitter.and_then(|submitter| {
            let now = std::time::Instant::now();
            self.debts.patience(submitter, &held.lease.tariff, tasks.len(), now)
        });
        let control = match Control::new() {
            Ok(control) => Arc::new(control.with_patience(patience)),
            Err(error) => {
                tasks.into_iter().rev().for_each(|task| held.ready.push_front(task));
                return Err(error);
            }
        };
        self.numbers += 1;
        let number = self.numbers;
        let open = tasks.iter().map(|task| task.index).collect();
        held.runs.insert(number, Run { control: control.clone(), open });
        let stamp = Stamp {
            lease: held.lease.clone(),
            digest: held.digest,
            module,
            engine: self.execute.engine(),
            spool: self.outbox.spool(),
        };
        let (execute, events, part) =
            (self.execute.clone(), self.events.clone(), held.part.clone());
        tokio::spawn(async move {
            let (sender, began, count) = (events.clone(), std::time::Instant::now(), tasks.len());
            let job = RunJob { execute, stamp, tasks, part, control, attempt, number };
            if let Err(error) = tokio::task::spawn_blocking(move || job.run(&sender)).await {
                tracing::error!("run.crashed: {error}");
            }
            let mean = began.elapsed() / u32::try_from(count).unwrap_or(u32::MAX).max(1);
            let _ = events.send(Event::RunEnded(attempt, number, mean)).await;
        });
        Ok(())
    }

    pub(super) fn on_ran(
        &mut self,
        attempt: AttemptId,
        run: u64,
        task: TaskIndex,
        ran: Result<Done, Void>,
    ) {
        let held = self.held.get_mut(&attempt);
        let open = held.and_then(|held| {
            let open = held.runs.get_mut(&run).is_some_and(|run| run.open.remove(&task));
            open.then_some(held)
        });
        let Some(held) = open else {
            // It was given back meanwhile.
            if let Ok(done) = &ran {
                self.drop_large(&done.bytes.large);
            }
            return;
        };
        held.left = held.left.saturating_sub(1);
        match ran {
            Ok(done) => {
                held.done += 1;
                held.fuel = held.fuel.saturating_add(done.receipt.fuel);
                let payer = held.submitter.map(|submitter| (submitter, held.lease.tariff));
                if let Some((submitter, tariff)) = payer {
                    self.book(submitter, &tariff, &done.receipt);
                }
                self.keep(done);
            }
            Err(void) => {
                let run = held.runs.get(&run);
                let late = run.is_some_and(|run| run.control.is_out_of_patience());
                let submitter = held.submitter.filter(|_| late);
                self.void(attempt, task, &void);
                submitter.into_iter().for_each(|submitter| self.lose_patience(submitter));
            }
        }
    }

    pub(super) fn on_run_ended(&mut self, attempt: AttemptId, run: u64, mean: Duration) {
        let mean = u64::try_from(mean.as_micros()).unwrap_or(u64::MAX).max(1);
        self.task_time =
            if self.task_time == 0 { mean } else { (3 * self.task_time).saturating_add(mean) / 4 };
        let Some(ended) = self.held.get_mut(&attempt).and_then(|held| held.runs.remove(&run))
        else {
            return;
        };
        let unanswered = Void::new(VoidCause::Other, "the run ended without an answer");
        for task in ended.open {
            if let Some(held) = self.held.get_mut(&attempt) {
                held.left = held.left.saturating_sub(1);
            }
            self.void(attempt, task, &unanswered);
        }
    }

    /// Lets go of leases that have nothing left to run or to sign.
    pub(super) fn retire(&mut self) {
        let pending = &self.pending;
        let signer = &self.session.signer;
        self.held.retain(|_, held| {
            let over = held.is_complete() && held.runs.is_empty();
            let keep = !over || pending.names(held.digest);
            if !keep {
                signer.close(held.digest);
            }
            keep
        });
    }
}

struct RunJob {
    execute: Arc<dyn Execute>,
    stamp: Stamp,
    tasks: Vec<TaskSpec>,
    part: Option<Part>,
    control: Arc<Control>,
    attempt: AttemptId,
    number: u64,
}

impl RunJob {
    fn run(self, events: &mpsc::Sender<Event>) {
        let mut began: Micros = now();
        let payer = self.stamp.lease.payer;
        let placement = Placement { payer, module: self.stamp.module };
        let tell = |task: &TaskSpec, done| {
            // The agent is gone when the worker has ended.
            let event = Event::Ran(self.attempt, self.number, task.index, Box::new(done));
            let _ = events.blocking_send(event);
        };
        if let Some(part) = &self.part {
            for task in &self.tasks {
                let ended = self.execute.run_segment(placement, &part.of(task), &self.control);
                tell(task, ended.and_then(|ended| self.stamp.paused(task, part, ended, began)));
                began = now();
            }
            return;
        }
        let mut finished = |at: usize, result: Result<_, Void>| {
            let Some(task) = self.tasks.get(at) else { return };
            tell(task, result.and_then(|result| self.stamp.done(task, result, began)));
            began = now();
        };
        self.execute.run(placement, &self.tasks, &self.control, &mut finished);
    }
}
