//! Results as a stream: as they are decided, or in the order of the tasks.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::{Page, ResultView};
use crate::{Error, JobHandle};

/// Pause before asking again when nothing new was decided: grows from the first to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

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
    after: u64,
    /// Known to be decided; what they wrote is still to be read.
    known: VecDeque<ResultView>,
    held: BTreeMap<u32, TaskResult>,
    ready: VecDeque<TaskResult>,
    next_task: u32,
    over: bool,
    pause: Duration,
}

impl Results {
    pub(crate) fn new(job: JobHandle) -> Self {
        Self {
            job,
            order: Order::Decided,
            after: 0,
            known: VecDeque::new(),
            held: BTreeMap::new(),
            ready: VecDeque::new(),
            next_task: 0,
            over: false,
            pause: PAUSE.0,
        }
    }

    /// Hands results out in this order; in task order, later results wait in memory for earlier ones.
    #[must_use]
    pub const fn ordered(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// The next result; `None` when there will be no more.
    ///
    /// After an error, and when it was dropped before it was ready, the next call goes on at the same place.
    ///
    /// # Errors
    /// When the coordinator cannot be asked, or an output does not match its digest.
    pub async fn next(&mut self) -> Result<Option<TaskResult>, Error> {
        loop {
            if let Some(result) = self.ready.pop_front() {
                return Ok(Some(result));
            }
            if let Some(view) = self.known.front() {
                let result = self.result(view).await?;
                self.known.pop_front();
                self.place(result);
                continue;
            }
            if self.over {
                return Ok(self.held.pop_first().map(|(_, result)| result));
            }
            self.fetch().await?;
        }
    }

    async fn fetch(&mut self) -> Result<(), Error> {
        // Asked before the page: results decided in between are on the page, so nothing is missed when the job is over.
        let over = self.job.progress().await?.is_over();
        let path =
            format!("/api/v1/jobs/{}/results?after={}&limit=1000", self.job.id(), self.after);
        let page: Page<ResultView> = self.job.client.http.get(&path).await?;
        let Some(last) = page.items.iter().map(|view| view.sequence).max() else {
            self.over = over;
            return self.wait().await;
        };
        self.pause = PAUSE.0;
        self.after = self.after.max(last);
        self.known = page.items.into();
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), Error> {
        if !self.over {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSE.1);
        }
        Ok(())
    }

    fn place(&mut self, result: TaskResult) {
        if self.order == Order::Decided {
            self.ready.push_back(result);
            return;
        }
        self.held.insert(result.task, result);
        while let Some(result) = self.held.remove(&self.next_task) {
            self.next_task += 1;
            self.ready.push_back(result);
        }
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
