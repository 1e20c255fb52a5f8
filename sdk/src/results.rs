//! Results as a stream: as they are decided, or in the order of the tasks.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::http::backoff;
use crate::model::{ResultView, ResultsPage};
use crate::{Error, JobHandle};

/// Pause before asking again a coordinator that did not wait for something new: grows from the first to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Longest that one call waits for a result.
const WAIT: Duration = Duration::from_secs(20);
/// Least time between two calls that bring a few results each.
const APART: Duration = Duration::from_millis(20);
/// Most results of one call.
const PAGE: usize = 1_000;
/// Most bytes of small outputs that wait for earlier tasks; beyond that, they are downloaded when their turn comes.
const WAITING: usize = 4 << 20;

/// The order in which results are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As they are decided.
    #[default]
    Decided,
    /// Task 0 first.
    Task,
}

/// A decided task with its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskResult {
    /// The task.
    pub task: u32,
    /// What it wrote; absent when it failed without a result.
    pub output: Option<Vec<u8>>,
    /// Why it failed; absent when it did not.
    pub failure: Option<String>,
    /// Fuel it used.
    pub fuel: Option<u64>,
}

/// The stream of a job's results. Ends when every task is decided or the job was stopped.
#[derive(Debug)]
pub struct Results {
    job: JobHandle,
    order: Order,
    tries: u32,
    /// Tries in a row that were lost.
    lost: u32,
    after: u64,
    /// When the last call began, if it brought less than it could.
    asked: Option<Instant>,
    /// Decided; what they wrote is still to be read.
    known: VecDeque<ResultView>,
    /// Decided before earlier tasks were, when those go first.
    held: BTreeMap<u32, ResultView>,
    /// Bytes of small outputs in `held`.
    waiting: usize,
    next_task: u32,
    over: bool,
    pause: Duration,
}

impl Results {
    pub(crate) fn new(job: JobHandle) -> Self {
        Self {
            job,
            order: Order::Decided,
            tries: 1,
            lost: 0,
            after: 0,
            asked: None,
            known: VecDeque::new(),
            held: BTreeMap::new(),
            waiting: 0,
            next_task: 0,
            over: false,
            pause: PAUSE.0,
        }
    }

    /// Hands results out in this order; in task order, the output of a later result is read when its turn comes.
    #[must_use]
    pub const fn ordered(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Takes so many lost connections in a row, with growing pauses, for an error; one unless told.
    #[must_use]
    pub const fn tries(mut self, tries: u32) -> Self {
        self.tries = tries;
        self
    }

    /// The next result; `None` when there will be no more.
    ///
    /// When it was dropped before it was ready, and after an error, the next call goes on at the same place. Only a result
    /// whose output cannot be had is passed over: [`Error::Output`] tells its task, once.
    ///
    /// # Errors
    /// When the coordinator cannot be asked, or an output is not there or does not match its digest.
    pub async fn next(&mut self) -> Result<Option<TaskResult>, Error> {
        loop {
            let next = self.step().await;
            let again =
                matches!(next, Err(Error::Unreachable { .. })) && self.lost + 1 < self.tries;
            if !again {
                self.lost = 0;
                return next;
            }
            self.lost += 1;
            tokio::time::sleep(backoff(self.lost)).await;
        }
    }

    async fn step(&mut self) -> Result<Option<TaskResult>, Error> {
        loop {
            if let Some(view) = self.head() {
                let task = view.task;
                let result = self.result(view).await;
                if let Err(error @ (Error::Unreachable { .. } | Error::Busy(_))) = result {
                    return Err(error);
                }
                self.pass(task);
                let lost = |source| Error::Output { task, source: Box::new(source) };
                return result.map(Some).map_err(lost);
            }
            if self.over {
                return Ok(None);
            }
            self.fetch().await?;
        }
    }

    /// The result whose turn it is.
    fn head(&self) -> Option<&ResultView> {
        let first = || self.held.values().next().filter(|_| self.over);
        self.known.front().or_else(|| self.held.get(&self.next_task)).or_else(first)
    }

    /// Goes on to the result after the head, which is of this task.
    fn pass(&mut self, task: u32) {
        if self.known.pop_front().is_some() {
            return;
        }
        self.waiting -= self.held.remove(&task).as_ref().map_or(0, small);
        if task == self.next_task {
            self.next_task += 1;
        }
    }

    async fn fetch(&mut self) -> Result<(), Error> {
        if let Some(asked) = self.asked {
            tokio::time::sleep_until(asked + APART).await;
        }
        self.asked = None;
        let (job, after, wait) = (self.job.id(), self.after, WAIT.as_millis());
        let path = format!("/api/v1/jobs/{job}/results?after={after}&limit={PAGE}&wait={wait}");
        let asked = Instant::now();
        let page: ResultsPage = self.job.client.http.get(&path).await?;
        self.lost = 0;
        let Some(last) = page.items.iter().map(|view| view.sequence).max() else {
            // The state was read before the page: results decided in between are on it.
            self.over = page.is_over();
            return self.wait(asked).await;
        };
        self.pause = PAUSE.0;
        // What is decided one by one comes together.
        self.asked = (page.items.len() < PAGE).then_some(asked);
        self.after = self.after.max(last);
        match self.order {
            Order::Decided => self.known = page.items.into(),
            Order::Task => page.items.into_iter().for_each(|view| self.hold(view)),
        }
        Ok(())
    }

    /// Pauses, unless the coordinator did already.
    async fn wait(&mut self, asked: Instant) -> Result<(), Error> {
        if !self.over && asked.elapsed() < WAIT / 2 {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSE.1);
        }
        Ok(())
    }

    fn hold(&mut self, mut view: ResultView) {
        if self.waiting + small(&view) > WAITING {
            view.output_inline = None;
        }
        self.waiting += small(&view);
        let before = self.held.insert(view.task, view);
        self.waiting -= before.as_ref().map_or(0, small);
    }

    async fn result(&self, view: &ResultView) -> Result<TaskResult, Error> {
        let output = self.output(view).await?;
        let fuel = view.fuel.as_ref().and_then(|fuel| fuel.parse().ok());
        Ok(TaskResult { task: view.task, output, failure: view.cause.clone(), fuel })
    }

    async fn output(&self, view: &ResultView) -> Result<Option<Vec<u8>>, Error> {
        let Some(digest) = &view.output else { return Ok(None) };
        let digest = digest.parse().map_err(|e| Error::Answer(format!("output digest: {e}")))?;
        let Some(inline) = &view.output_inline else {
            let path = format!("/api/v1/jobs/{}/tasks/{}/output", self.job.id(), view.task);
            return self.job.client.download(&path, digest).await.map(Some);
        };
        let bytes = data_encoding::BASE64
            .decode(inline.as_bytes())
            .map_err(|e| Error::Answer(e.to_string()))?;
        if tallymill_protocol::Digest::of(&bytes) == digest {
            Ok(Some(bytes))
        } else {
            Err(Error::Corrupt(digest))
        }
    }
}

/// Bytes of the output that came with a result.
fn small(view: &ResultView) -> usize {
    view.output_inline.as_ref().map_or(0, String::len)
}
