//! A machine that has joined the fake coordinator, and what runs its tasks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Digest, Outcome};
use tallymill_sandbox::{SegmentResult, SegmentSpec, TaskResult, TaskSpec, Void};
use tallymill_worker::{
    Control, Execute, Finished, Handle, Options, Placement, Prepared, Status, Worker, join,
};

use crate::fake::{Fake, Inner};

/// Echoes its input; can block until it is steered.
#[derive(Default)]
pub struct Echo {
    pub block: AtomicBool,
    pub large: AtomicBool,
    /// Claims more fuel than any lease allows.
    pub greedy: AtomicBool,
    /// Processor time that it claims of each task, µs.
    pub slow: AtomicU64,
}

impl Echo {
    /// What it says when it is to say much.
    pub const LARGE: [u8; 70_000] = [7; 70_000];
}

impl Execute for Echo {
    fn ready(&self, _: &Digest) -> Option<Prepared> {
        None
    }

    fn tidy(&self) {}

    fn prepare(&self, module: Digest, bytes: &[u8]) -> Result<Prepared, Void> {
        Ok(Prepared { module, metered: Digest::of(&[bytes, b"metered"].concat()) })
    }

    fn run(&self, _: Placement, tasks: &[TaskSpec], control: &Control, finished: Finished<'_>) {
        for (at, task) in tasks.iter().enumerate() {
            let mut outcome = Outcome::Exited(0);
            while self.block.load(SeqCst) {
                let wish = format!("{control:?}");
                if wish.contains("withdraw: true") {
                    break;
                }
                if wish.contains("stop_all: true") {
                    outcome = Outcome::Stopped;
                    break;
                }
                std::thread::yield_now();
            }
            if format!("{control:?}").contains("withdraw: true") {
                finished(at, Err(Void::new(VoidCause::Withdrawn, "withdrawn")));
                continue;
            }
            let output =
                if self.large.load(SeqCst) { Self::LARGE.to_vec() } else { task.input.to_vec() };
            let mut result = result(task, output, outcome);
            result.cpu_time_us = self.slow.load(SeqCst).max(1);
            if self.greedy.load(SeqCst) {
                result.fuel = u64::MAX;
            }
            finished(at, Ok(result));
        }
    }

    /// Echoes its snapshot and its input, and has more to do.
    fn run_segment(
        &self,
        _: Placement,
        segment: &SegmentSpec,
        _: &Control,
    ) -> Result<SegmentResult, Void> {
        let from = segment.from.as_deref().unwrap_or(b"");
        let output = [from, &segment.task.input].concat();
        let plain = result(&segment.task, output, Outcome::Paused);
        let result = TaskResult { bytes_in: segment.bytes_in(), ..plain };
        Ok(SegmentResult { result, after: Digest::of(b"after"), steps: 3 })
    }

    fn ordinary_rate(&self) -> Option<u64> {
        Some(100_000)
    }

    fn engine(&self) -> &'static str {
        "echo 1"
    }
}

fn result(task: &TaskSpec, output: Vec<u8>, outcome: Outcome) -> TaskResult {
    TaskResult {
        outcome,
        bytes_out: output.len() as u64,
        output,
        log: Vec::new(),
        fuel: 10,
        peak_memory: 65_536,
        memory_fuel: 10,
        bytes_in: task.input.len() as u64,
        cpu_time_us: 1,
    }
}

pub struct World {
    pub fake: Fake,
    pub url: String,
    pub visible: String,
    pub options: Options,
    pub execute: Arc<Echo>,
    handle: Option<Handle>,
    dir: tempfile::TempDir,
}

impl World {
    pub async fn joined() -> Self {
        let (fake, url) = Fake::start().await;
        let dir = tempfile::tempdir().unwrap();
        let joined = join(&url, dir.path(), None).await.unwrap();
        let mut options = Options::new(&url, dir.path());
        options.slots = 2;
        options.wait = Duration::from_millis(200);
        options.heartbeat = Duration::from_millis(100);
        let execute = Arc::new(Echo::default());
        Self { fake, url, visible: joined.visible, options, execute, handle: None, dir }
    }

    pub fn state(&self) -> &Path {
        self.dir.path()
    }

    pub async fn start(&mut self) {
        self.start_on(self.execute.clone()).await;
    }

    /// Starts the worker with something else to run its tasks.
    pub async fn start_on(&mut self, execute: Arc<impl Execute>) {
        // One that has finished holds the state directory until its handle is gone.
        drop(self.handle.take());
        self.handle = Some(Worker::start(self.options.clone(), execute).await.unwrap());
    }

    pub fn handle(&self) -> &Handle {
        self.handle.as_ref().unwrap()
    }

    pub async fn until(&mut self, pleases: impl FnMut(&Status) -> bool) -> Status {
        let handle = self.handle.as_mut().unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(30), handle.until(pleases)).await;
        waited.unwrap_or_else(|_| panic!("never: {:?}", self.handle.as_ref().unwrap().status()))
    }

    /// Waits until the coordinator has seen what pleases.
    pub async fn until_fake(&self, mut pleases: impl FnMut(&Inner) -> bool) {
        let seen = async {
            while !pleases(&self.fake.lock()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap();
    }

    pub async fn finish(&mut self) {
        self.handle().finish().await.unwrap();
        self.until(|status| status.mode == tallymill_worker::Mode::Finished).await;
    }

    /// Ends the worker without a word to the coordinator, which is down.
    pub async fn kill(&mut self) {
        self.handle.take().unwrap().shutdown().await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that failed must not leave a run that blocks for ever.
        self.execute.block.store(false, SeqCst);
    }
}
