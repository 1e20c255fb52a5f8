//! The parent's side of running: one child per payer and module, tasks in batches, and a new child whenever one dies.
//!
//! Nothing the child says is believed beyond what it can honestly say: frames are bounded by the running task's limits, answers come
//! in the order of the tasks, and no figure may exceed the manifest's limits. Whatever breaks this ends the child.

mod claims;
mod worth;

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Digest, Outcome, TaskIndex};

use claims::{ended, longest, nonsense, plausible};
use worth::Worth;

use crate::child::RUN;
use crate::confine::RUN_MEMORY;
use crate::control::{Control, Progress};
use crate::cputime::CpuTime;
use crate::launch::{Broken, Launcher, Link};
use crate::prepare::Prepared;
use crate::segment::{SegmentResult, SegmentSpec};
use crate::task::{JobSpec, TaskResult, TaskSpec, Void};
use crate::wire::{self, News, OVERHEAD};

/// Time a child may take to load its module.
const START_WALL: Duration = Duration::from_secs(30);
/// Most tasks sent ahead of their results.
const AHEAD_TASKS: usize = 512;
/// Most bytes of input sent ahead of their results, unless one task alone has more.
const AHEAD_BYTES: usize = 4 << 20;
/// Age at which a child is replaced, unless a single task may take longer.
const OLDEST: Duration = Duration::from_secs(3600);
/// Threads of a child that use processor time: one that listens, one that runs guests.
const BUSY_THREADS: u64 = 2;
/// Times a child is started again before the batch is given up, when it dies before it is ready.
const STARTS: u32 = 3;

/// Runs tasks of one payer with one module, in a child process. Dropping it ends the child.
#[derive(Debug)]
pub struct Runner {
    launcher: Launcher,
    prepared: Prepared,
    wall: Duration,
    oldest: Duration,
    link: Option<Link>,
    job: Option<Arc<JobSpec>>,
    next_number: u32,
    granted: u64,
}

/// A task of the batch that has no result yet.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    position: usize,
    number: u32,
}

/// A batch while it runs.
struct Batch<'b> {
    tasks: &'b [TaskSpec],
    /// Of its only task, the segment that is to be run.
    segment: Option<&'b SegmentSpec>,
    /// What became of the segment besides the task's result: state root and steps.
    ended: Option<(Digest, u64)>,
    control: &'b Control,
    on_result: &'b mut dyn FnMut(usize, Result<TaskResult, Void>),
    /// Positions not sent to the child that runs now.
    unsent: VecDeque<usize>,
    /// Tasks sent, in the order of their results.
    sent: VecDeque<Waiting>,
    sent_bytes: usize,
    /// When the first of the sent tasks began, as far as it can be known here.
    began: Instant,
    stopped: Stopped,
    /// Fuel that the first of the sent tasks has used, if the child has said that it runs it.
    fuel: Option<u64>,
    /// Whether tasks are sent one by one, because a child died and it is not known over which.
    careful: bool,
    time: CpuTime,
    worth: Worth,
}

/// What was wished to stop: it counts for a new child too.
#[derive(Debug, Default)]
struct Stopped {
    all: bool,
    tasks: Vec<TaskIndex>,
}

impl Runner {
    /// A runner whose tasks may take `wall` of wall-clock time each. The child starts with the first batch.
    #[must_use]
    pub fn new(launcher: Launcher, prepared: Prepared, wall: Duration) -> Self {
        let oldest = OLDEST.max(wall);
        Self { launcher, prepared, wall, oldest, link: None, job: None, next_number: 0, granted: 0 }
    }

    /// Replaces children that are this old, between two tasks; without this after an hour, or the time of one task if that is more.
    #[must_use]
    pub const fn with_oldest(mut self, age: Duration) -> Self {
        self.oldest = age;
        self
    }

    /// Processor time of a child, seconds: what its threads can use before it is replaced at the latest, and a minute.
    fn cpu_seconds(&self) -> u64 {
        BUSY_THREADS
            .saturating_mul(self.oldest.saturating_add(self.wall).as_secs())
            .saturating_add(60)
    }

    /// The module it runs.
    #[must_use]
    pub const fn module(&self) -> &Prepared {
        &self.prepared
    }

    /// The process id of the child, while there is one.
    #[must_use]
    pub fn child_id(&self) -> Option<u32> {
        self.link.as_ref().map(Link::id)
    }

    /// Runs a batch and hands over every task's result as it comes: in order, but for tasks stopped before they began. It blocks: call it from a thread of its own.
    ///
    /// Every task gets exactly one answer. When the child dies, the task it ran is void and the others go to a new child.
    pub fn run_batch(
        &mut self,
        tasks: &[TaskSpec],
        control: &Control,
        on_result: &mut dyn FnMut(usize, Result<TaskResult, Void>),
    ) {
        self.run_all(Batch::new(tasks, control, on_result));
    }

    /// Runs one segment of a task. It blocks.
    ///
    /// # Errors
    /// When the snapshot is refused, or the run ended for a reason that is not the guest's.
    pub fn run_segment(
        &mut self,
        spec: &SegmentSpec,
        control: &Control,
    ) -> Result<SegmentResult, Void> {
        let mut answer = Err(Void::new(VoidCause::Other, "no answer"));
        let mut on_result = |_, result| answer = result;
        let tasks = std::slice::from_ref(&spec.task);
        let mut batch = Batch::new(tasks, control, &mut on_result);
        batch.segment = Some(spec);
        let ended = self.run_all(batch);
        let mut result = answer?;
        // What never reached a child was stopped before it began, with nothing read.
        let (after, steps) = ended.unwrap_or((Digest::ZERO, 0));
        result.bytes_in = spec.bytes_in();
        Ok(SegmentResult { result, after, steps })
    }

    fn run_all(&mut self, mut batch: Batch<'_>) -> Option<(Digest, u64)> {
        batch.refuse_oversized();
        if self.link.as_ref().is_some_and(|link| link.age() >= self.oldest) {
            self.link = None;
        }
        let mut starts = 0;
        while !batch.is_done() {
            match self.ready() {
                Ok(()) => starts = 0,
                Err(void) if starts + 1 < STARTS && void.cause == VoidCause::ChildDied => {
                    starts += 1;
                    continue;
                }
                Err(void) => {
                    batch.give_up(&void);
                    return None;
                }
            }
            let broken = self.drive(&mut batch);
            if let Err(void) = broken {
                self.link = None;
                batch.after_death(void);
            }
        }
        batch.ended
    }

    /// Runs one task.
    ///
    /// # Errors
    /// When the run ended for a reason that is not the guest's.
    pub fn run_one(&mut self, task: &TaskSpec, control: &Control) -> Result<TaskResult, Void> {
        let mut answer = Err(Void::new(VoidCause::Other, "no answer"));
        self.run_batch(std::slice::from_ref(task), control, &mut |_, result| answer = result);
        answer
    }

    /// Starts a child if there is none, and waits until it has loaded the module.
    fn ready(&mut self) -> Result<(), Void> {
        if self.link.is_some() {
            return Ok(());
        }
        let cpu_seconds = self.cpu_seconds().to_string();
        let arguments = [RUN, self.launcher.confinement(), &cpu_seconds];
        let start = self.launcher.start(&arguments, Some(self.prepared.artefact()));
        let mut link = start
            .map_err(|error| Void::new(VoidCause::Other, format!("no child process: {error}")))?;
        wire::put_load(&self.prepared.info, link.outgoing());
        let until = Instant::now() + START_WALL;
        let died = |broken| match broken {
            Broken::Died(how) | Broken::Nonsense(how) => {
                Void::new(VoidCause::ChildDied, format!("at its start: {how}"))
            }
        };
        loop {
            let news =
                link.frame(OVERHEAD).and_then(|frame| Ok(frame.map(News::parse).transpose()?));
            match news.map_err(died)? {
                Some(News::Ready) => break,
                Some(News::Failed(why)) => return Err(Void::new(VoidCause::Compile, why)),
                Some(News::Unconfined(gaps)) => {
                    let detail = format!("this machine cannot confine the run: {gaps}");
                    return Err(Void::new(VoidCause::Other, detail));
                }
                Some(_) => {
                    return Err(died(Broken::Nonsense("an answer before any question".into())));
                }
                None if Instant::now() >= until => {
                    return Err(Void::new(
                        VoidCause::WallClock,
                        "the module took too long to load",
                    ));
                }
                None => link.turn(until, None).map_err(died)?,
            }
        }
        self.link = Some(link);
        (self.job, self.granted) = (None, 0);
        Ok(())
    }

    /// Sends tasks and takes results until the batch is done or the child is of no more use.
    fn drive(&mut self, batch: &mut Batch<'_>) -> Result<(), Void> {
        batch.began = Instant::now();
        while !batch.is_done() {
            self.send(batch)?;
            let Some(link) = &mut self.link else { return Ok(()) };
            let until = batch.worth.next_look(batch.began + self.wall);
            link.turn(until, Some(batch.control.wake())).map_err(ended)?;
            let before = batch.sent.len();
            while batch.take(link)?.is_continue() {}
            if batch.sent.len() < before && link.age() >= self.oldest {
                self.link = None;
                batch.take_back();
                return Ok(());
            }
            batch.heed(link)?;
            let worth = batch.worth.look(link.id(), batch.fuel.unwrap_or(0));
            worth.inspect_err(|void| batch.turn_away(void))?;
            if !batch.sent.is_empty() && batch.began.elapsed() >= self.wall {
                let detail = format!("more than {} ms", self.wall.as_millis());
                return Err(Void::new(VoidCause::WallClock, detail));
            }
        }
        Ok(())
    }

    /// Keeps the child in tasks, a bounded number ahead.
    fn send(&mut self, batch: &mut Batch<'_>) -> Result<(), Void> {
        let Some(link) = &mut self.link else { return Ok(()) };
        batch.drop_unwanted();
        while let Some(position) = batch.unsent.front().copied() {
            let task = &batch.tasks[position];
            let ahead = if batch.careful { 1 } else { AHEAD_TASKS };
            let room =
                batch.sent.len() < ahead && batch.sent_bytes + task.input.len() <= AHEAD_BYTES;
            if !room && !batch.sent.is_empty() {
                return Ok(());
            }
            let needed = batch.segment.map_or_else(|| task.memory(), SegmentSpec::memory);
            if needed > self.granted {
                let failed = |error: io::Error| Void::new(VoidCause::ChildDied, error.to_string());
                link.grant(RUN_MEMORY.saturating_add(needed)).map_err(failed)?;
                self.granted = needed;
            }
            if !self.job.as_ref().is_some_and(|job| Arc::ptr_eq(job, &task.job)) {
                wire::put_job(&task.job, link.outgoing());
                self.job = Some(task.job.clone());
            }
            let number = self.next_number;
            // After four billion tasks numbers start again: only a few hundred are in use at any time.
            self.next_number = number.wrapping_add(1) % u32::MAX;
            match batch.segment {
                None => wire::put_task(number, task.index, &task.input, link.outgoing()),
                Some(segment) => {
                    let part = segment.part(self.prepared.metered);
                    let task = (task.index, &*task.input);
                    wire::put_segment(number, task, &part, link.outgoing());
                }
            }
            batch.unsent.pop_front();
            batch.sent.push_back(Waiting { position, number });
            batch.sent_bytes += task.input.len();
        }
        Ok(())
    }
}

impl<'b> Batch<'b> {
    fn new(
        tasks: &'b [TaskSpec],
        control: &'b Control,
        on_result: &'b mut dyn FnMut(usize, Result<TaskResult, Void>),
    ) -> Self {
        Self {
            tasks,
            segment: None,
            ended: None,
            control,
            on_result,
            unsent: (0..tasks.len()).collect(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            began: Instant::now(),
            stopped: Stopped::default(),
            fuel: None,
            careful: false,
            time: CpuTime::start(),
            worth: Worth::new(control.patience()),
        }
    }

    fn is_done(&self) -> bool {
        self.unsent.is_empty() && self.sent.is_empty()
    }

    /// Answers for tasks whose limits or data no frame can carry.
    fn refuse_oversized(&mut self) {
        let tasks = self.tasks;
        let whole = self.segment;
        let fits =
            |position: &usize| whole.map_or_else(|| tasks[*position].fits(), SegmentSpec::fits);
        self.unsent.retain(fits);
        for position in (0..tasks.len()).filter(|position| !fits(position)) {
            self.answer(
                position,
                Err(Void::new(
                    VoidCause::OwnerLimit,
                    "its input, files, output, log or snapshot exceed 1 GiB",
                )),
            );
        }
    }

    fn answer(&mut self, position: usize, result: Result<TaskResult, Void>) {
        self.control.set_progress(None);
        (self.on_result)(position, result);
    }

    /// Takes one frame, if there is one.
    fn take(&mut self, link: &mut Link) -> Result<ControlFlow<()>, Void> {
        let limit = self
            .sent
            .front()
            .map_or(0, |waiting| longest(&self.tasks[waiting.position], self.segment.is_some()));
        let Some(frame) = link.frame(limit).map_err(ended)? else {
            return Ok(ControlFlow::Break(()));
        };
        let news = News::parse(frame).map_err(|error| ended(error.into()))?;
        let Some(first) = self.sent.front().copied() else {
            return Err(nonsense("an answer without a question"));
        };
        let (task, in_segment) = (&self.tasks[first.position], self.segment.is_some());
        let news = match news {
            News::SegmentDone(number, ended) if in_segment => {
                self.ended = Some((ended.after, ended.steps));
                News::Done(number, Ok(ended.result))
            }
            News::Done(_, Ok(_)) if in_segment => {
                return Err(nonsense("a task where a segment was asked for"));
            }
            other => other,
        };
        match news {
            News::Progress(number, fuel) if number == first.number => {
                if self.fuel.is_some_and(|before| fuel <= before) {
                    return Err(nonsense("news of no progress"));
                }
                self.fuel = Some(fuel);
                self.control.set_progress(Some(Progress { index: task.index, fuel }));
            }
            News::Done(number, mut result) if number == first.number => {
                if let Ok(result) = &mut result {
                    plausible(task, self.segment, result).map_err(nonsense)?;
                    result.cpu_time_us = self.time.settle(result);
                    self.worth.paid = self.worth.paid.saturating_add(result.fuel);
                }
                self.sent.pop_front();
                self.sent_bytes -= task.input.len();
                self.began = Instant::now();
                self.fuel = None;
                self.answer(first.position, result);
            }
            _ => return Err(nonsense("an answer out of turn")),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Does what others wish; an error when the batch is withdrawn.
    fn heed(&mut self, link: &mut Link) -> Result<(), Void> {
        let wishes = self.control.take_wishes();
        if wishes.withdraw {
            let withdrawn = Void::new(VoidCause::Withdrawn, "by the machine's owner");
            self.give_up(&withdrawn);
            return Err(withdrawn);
        }
        if wishes.stop_all {
            self.stopped.all = true;
            wire::put_stop_all(link.outgoing());
        }
        let chosen = |waiting: &&Waiting| wishes.stop.contains(&self.tasks[waiting.position].index);
        for waiting in self.sent.iter().filter(chosen) {
            wire::put_stop(waiting.number, link.outgoing());
        }
        self.stopped.tasks.extend(wishes.stop);
        Ok(())
    }

    /// Answers for stopped tasks that no child has seen.
    fn drop_unwanted(&mut self) {
        if !self.stopped.all && self.stopped.tasks.is_empty() {
            return;
        }
        let wanted = |position: &usize| {
            !self.stopped.all && !self.stopped.tasks.contains(&self.tasks[*position].index)
        };
        let (wanted, unwanted): (Vec<_>, Vec<_>) = self.unsent.iter().copied().partition(wanted);
        self.unsent = wanted.into();
        for position in unwanted {
            let result =
                TaskResult::without_running(Outcome::Stopped, self.tasks[position].input.len());
            self.answer(position, Ok(result));
        }
    }

    /// Answers for the task that the child ran when it died, and takes back those behind it.
    ///
    /// Results that the child had not handed over yet are lost with it, so the first task without a result may have been done and a
    /// later one be the cause. Unless the child had spoken of the first, all go to a new child, one by one: then it is certain.
    fn after_death(&mut self, void: Void) {
        if self.fuel.is_some() || self.sent.len() <= 1 {
            if let Some(first) = self.sent.pop_front() {
                self.answer(first.position, Err(void));
            }
        } else {
            self.careful = true;
        }
        self.take_back();
    }

    /// Takes back what was sent and not answered.
    fn take_back(&mut self) {
        while let Some(waiting) = self.sent.pop_back() {
            self.unsent.push_front(waiting.position);
        }
        (self.sent_bytes, self.fuel) = (0, None);
    }

    /// Answers for the task that runs, which pays too little, and gives back those behind it, which had no say in that.
    fn turn_away(&mut self, void: &Void) {
        self.control.lose_patience();
        if let Some(first) = self.sent.pop_front() {
            self.answer(first.position, Err(void.clone()));
        }
        self.give_up(&Void::new(VoidCause::Withdrawn, void.detail.clone()));
    }

    /// Answers all that is left with the same void.
    fn give_up(&mut self, void: &Void) {
        let sent: Vec<_> = self.sent.drain(..).map(|waiting| waiting.position).collect();
        let unsent: Vec<_> = self.unsent.drain(..).collect();
        for position in sent.into_iter().chain(unsent) {
            self.answer(position, Err(void.clone()));
        }
        self.sent_bytes = 0;
    }
}

#[cfg(test)]
mod tests;
