//! Running in the sandbox: child processes that hold no keys, compiled modules kept on disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{AccountId, Digest};
use tallymill_sandbox::{
    Cache, CacheError, ENGINE_NAME, Launcher, PrepareError, Runner, SegmentResult, SegmentSpec,
    TaskSpec, Void, prepare,
};

use crate::execute::{Control, Execute, Finished, Placement, Prepared};
use crate::failed::Failed;
use crate::idle::Idle;

/// Most children that wait for more of the same work.
const MOST_IDLE: usize = 32;
/// Longest wait of such a child.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// Modules kept ready in memory: more than the leases that can be held at once.
const MOST_MODULES: usize = 128;

/// Whom a child serves: guests of two payers never meet in one process.
type Tenant = (AccountId, Digest);

/// Modules that are ready, with when they were last used.
#[derive(Debug, Default)]
struct Ready {
    modules: HashMap<Digest, (u64, tallymill_sandbox::Prepared)>,
    uses: u64,
}

impl Ready {
    fn get(&mut self, module: &Digest) -> Option<tallymill_sandbox::Prepared> {
        let (used, prepared) = self.modules.get_mut(module)?;
        self.uses += 1;
        *used = self.uses;
        Some(prepared.clone())
    }

    fn insert(&mut self, module: Digest, prepared: tallymill_sandbox::Prepared) {
        if self.modules.len() >= MOST_MODULES && !self.modules.contains_key(&module) {
            let oldest = self.modules.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(module, _)| *module) {
                // It comes back quickly from the disk cache.
                self.modules.remove(&oldest);
            }
        }
        self.uses += 1;
        self.modules.insert(module, (self.uses, prepared));
    }
}

/// The real [`Execute`].
#[derive(Debug)]
pub struct Sandboxed {
    launcher: Launcher,
    cache: Cache,
    wall: Duration,
    ready: Mutex<Ready>,
    failed: Mutex<Failed>,
    idle: Mutex<Idle<Tenant, Runner>>,
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
        let idle = Mutex::new(Idle::new(MOST_IDLE, LONGEST_IDLE));
        let (ready, failed) = (Mutex::default(), Mutex::default());
        Ok(Self { launcher, cache, wall, ready, failed, idle })
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Idle<Tenant, Runner>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile(&self, module: Digest, bytes: &[u8]) -> Result<tallymill_sandbox::Prepared, Void> {
        let known = self.failed().why(&module, Instant::now());
        if let Some(why) = known {
            return Err(why);
        }
        prepare(Some(&self.cache), &self.launcher, bytes).map_err(|error| {
            let why = Void::new(VoidCause::Compile, error.to_string());
            if is_the_modules_doing(&error) {
                self.failed().note(module, why.clone(), Instant::now());
            }
            why
        })
    }

    fn runner(&self, tenant: &Tenant) -> Option<Runner> {
        let idle = self.idle().take(tenant);
        idle.or_else(|| {
            let prepared = self.ready().get(&tenant.1)?;
            Some(Runner::new(self.launcher.clone(), prepared, self.wall))
        })
    }

    /// Calls `work` with a child of this payer and module, which then waits for more of the same.
    fn with_runner<T>(
        &self,
        placement: Placement,
        work: impl FnOnce(&mut Runner) -> T,
    ) -> Result<T, Void> {
        let tenant = (placement.payer, placement.module.module);
        let gone = || Void::new(VoidCause::Other, "the module is no longer ready");
        let mut runner = self.runner(&tenant).ok_or_else(gone)?;
        let done = work(&mut runner);
        let gone = self.idle().put(tenant, runner, Instant::now());
        drop(gone);
        Ok(done)
    }
}

/// Whether the next attempt would most likely end in the same way.
const fn is_the_modules_doing(error: &PrepareError) -> bool {
    use PrepareError::{Refused, TooCostly, TooLong};
    matches!(error, Refused(_) | TooLong { .. } | TooCostly { .. })
}

impl Execute for Sandboxed {
    fn ready(&self, module: &Digest) -> Option<Prepared> {
        let prepared = Self::ready(self).get(module)?;
        Some(Prepared { module: *module, metered: prepared.metered })
    }

    fn prepare(&self, module: Digest, bytes: &[u8]) -> Result<Prepared, Void> {
        let known = Self::ready(self).get(&module);
        let prepared = match known {
            Some(prepared) => prepared,
            None => self.compile(module, bytes)?,
        };
        let metered = prepared.metered;
        Self::ready(self).insert(module, prepared);
        Ok(Prepared { module, metered })
    }

    fn run(
        &self,
        placement: Placement,
        tasks: &[TaskSpec],
        control: &Control,
        finished: Finished<'_>,
    ) {
        let ran =
            self.with_runner(placement, |runner| runner.run_batch(tasks, control, &mut *finished));
        if let Err(void) = ran {
            (0..tasks.len()).for_each(|at| finished(at, Err(void.clone())));
        }
    }

    fn run_segment(
        &self,
        placement: Placement,
        segment: &SegmentSpec,
        control: &Control,
    ) -> Result<SegmentResult, Void> {
        self.with_runner(placement, |runner| runner.run_segment(segment, control))?
    }

    fn tidy(&self) {
        let gone = self.idle().expire(Instant::now());
        drop(gone);
    }

    fn ordinary_rate(&self) -> Option<u64> {
        let rate = tallymill_sandbox::ordinary_rate(&self.launcher);
        let rate = rate.inspect_err(|void| tracing::warn!("worker.no_price: {}", void.detail));
        rate.ok()
    }

    fn engine(&self) -> &'static str {
        ENGINE_NAME
    }
}
