//! Running in the sandbox: child processes that hold no keys, compiled modules kept on disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tallymill_protocol::Digest;
use tallymill_protocol::work::VoidCause;
use tallymill_sandbox::{
    Cache, CacheError, ENGINE_NAME, Launcher, Runner, TaskSpec, Void, prepare,
};

use crate::execute::{Control, Execute, Finished, Prepared};

/// Idle runners kept per module: as many as ran at once, but never more than this.
const MOST_IDLE: usize = 64;
/// Modules kept ready in memory.
const MOST_MODULES: usize = 16;

/// The real [`Execute`].
#[derive(Debug)]
pub struct Sandboxed {
    launcher: Launcher,
    cache: Cache,
    wall: Duration,
    ready: Mutex<HashMap<Digest, tallymill_sandbox::Prepared>>,
    idle: Mutex<HashMap<Digest, Vec<Runner>>>,
}

impl Sandboxed {
    /// Runs tasks with `launcher`'s children, at most `wall` each, with compiled modules kept in `dir`.
    ///
    /// # Errors
    /// When the cache's directory cannot be used.
    pub fn open(
        launcher: Launcher,
        dir: &Path,
        quota: u64,
        wall: Duration,
    ) -> Result<Self, CacheError> {
        let cache = Cache::open(dir, quota)?;
        Ok(Self { launcher, cache, wall, ready: Mutex::default(), idle: Mutex::default() })
    }

    fn runner(&self, module: Digest) -> Option<Runner> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runner) = idle.get_mut(&module).and_then(Vec::pop) {
            return Some(runner);
        }
        drop(idle);
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let prepared = ready.get(&module)?.clone();
        Some(Runner::new(self.launcher.clone(), prepared, self.wall))
    }

    fn give_back(&self, module: Digest, runner: Runner) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Children of other modules end when this one's come back: one job's processes at a time lie idle.
        idle.retain(|held, _| *held == module);
        let runners = idle.entry(module).or_default();
        if runners.len() < MOST_IDLE {
            runners.push(runner);
        }
    }
}

impl Execute for Sandboxed {
    fn prepare(&self, module: Digest, bytes: &[u8]) -> Result<Prepared, Void> {
        let known = self.ready.lock().unwrap_or_else(PoisonError::into_inner).get(&module).cloned();
        let prepared = match known {
            Some(prepared) => prepared,
            None => prepare(Some(&self.cache), &self.launcher, bytes)
                .map_err(|error| Void::new(VoidCause::Compile, error.to_string()))?,
        };
        let metered = prepared.metered;
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() >= MOST_MODULES && !ready.contains_key(&module) {
            // They come back quickly from the disk cache.
            ready.clear();
        }
        ready.insert(module, prepared);
        Ok(Prepared { module, metered })
    }

    fn run(&self, module: Prepared, tasks: &[TaskSpec], control: &Control, finished: Finished<'_>) {
        let Some(mut runner) = self.runner(module.module) else {
            let void = Void::new(VoidCause::Other, "the module is no longer ready");
            (0..tasks.len()).for_each(|at| finished(at, Err(void.clone())));
            return;
        };
        runner.run_batch(tasks, control, finished);
        self.give_back(module.module, runner);
    }

    fn engine(&self) -> &'static str {
        ENGINE_NAME
    }
}
