//! One segment of a long task: from the start or a snapshot to the boundary at which it pauses, or to the task's end.
//!
//! What a step comes to must not depend on where its segment began. So the host tells the module before every step how
//! much fuel the task has used, and thereby the module arms its checks anew each time; and between two steps nothing of
//! the run is left but what a snapshot holds.

use std::sync::Arc;

use tallymill_meter::abi;
use tallymill_protocol::snapshot::{Facts, decode, max_len};
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Digest, Outcome, STEP_FUEL, Steps};
use wasmtime::{Global, TypedFunc, Val};

use crate::engine::CompiledModule;
use crate::profile::extents;
use crate::run::{Run, missing, thread_cpu_time};
use crate::state::{Ports, RestoreError};
use crate::task::{MAX_BYTES, TaskResult, TaskSpec, Void};
use crate::watch::Pulse;
use crate::wire::Part;

/// A segment to run.
#[derive(Debug, Clone)]
pub struct SegmentSpec {
    /// The task.
    pub task: TaskSpec,
    /// How the job divides its tasks.
    pub steps: Steps,
    /// The snapshot it begins from; none at the start of the task.
    pub from: Option<Arc<[u8]>>,
    /// Pauses after so many of its steps, wherever the segment ends; none: at the segment's end.
    pub pause_after: Option<u64>,
}

impl SegmentSpec {
    /// Whether input, files and the longest snapshot stay within [`MAX_BYTES`].
    #[must_use]
    pub fn fits(&self) -> bool {
        let longest = max_len(&self.task.job.limits);
        let from = self.from.as_ref().map_or(0, |from| from.len() as u64);
        self.task.fits() && longest.max(from) <= MAX_BYTES
    }

    /// Writable memory that a process needs at most for running it: what the task needs, and snapshots with their copies
    /// on the way.
    pub(crate) fn memory(&self) -> u64 {
        let from = self.from.as_ref().map_or(0, |from| from.len() as u64);
        let longest = max_len(&self.task.job.limits).saturating_mul(6);
        self.task.memory().saturating_add(longest).saturating_add(from.saturating_mul(4))
    }

    /// What a child is told of it besides the task.
    pub(crate) fn part(&self, metered: Digest) -> Part {
        let Self { steps, from, pause_after, .. } = self.clone();
        Part { metered, steps, from, pause_after }
    }

    /// Bytes that it reads: the input and the snapshot.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.task.input.len() as u64 + self.from.as_ref().map_or(0, |from| from.len() as u64)
    }
}

/// What a segment came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentResult {
    /// Its figures. Where there is more to do the outcome is [`Outcome::Paused`] and the output the snapshot's blob; else
    /// the output is that of the whole task.
    pub result: TaskResult,
    /// State root at its end; zeros when it ended in the middle of a step.
    pub after: Digest,
    /// Steps that were done.
    pub steps: u64,
}

impl SegmentResult {
    /// The result of a segment that was stopped before anything of the guest ran.
    pub(crate) fn without_running(spec: &SegmentSpec) -> Self {
        let mut result = TaskResult::without_running(Outcome::Stopped, 0);
        result.bytes_in = spec.bytes_in();
        Self { result, after: Digest::ZERO, steps: 0 }
    }
}

/// Runs one segment on a fresh instance, on this thread, whose stack must be large: see [`with_stack`](crate::with_stack).
/// `metered` is the digest of the metered module.
///
/// # Errors
/// When the snapshot is none of this module and job, or the run ended for a reason that is not the guest's.
pub fn run_segment(
    module: &CompiledModule,
    metered: Digest,
    spec: &SegmentSpec,
    pulse: &Pulse,
) -> Result<SegmentResult, Void> {
    let started = thread_cpu_time();
    let (pages, entries) = extents(&spec.task.job.limits);
    let mut ended = if module.info.fits(pages, entries) {
        let ports = module.ports.as_ref();
        let ports = ports.ok_or_else(|| other("the module has no steps"))?;
        let run = Run::start(module, &spec.task, pulse);
        Chain { run, ports, metered, spec, steps: 0, done: 0, before: Before::default() }
            .finish()?
    } else {
        let result = TaskResult::without_running(Outcome::MemoryExceeded, 0);
        SegmentResult { result, after: Digest::ZERO, steps: 0 }
    };
    ended.result.bytes_in = spec.bytes_in();
    ended.result.cpu_time_us = thread_cpu_time().saturating_sub(started);
    Ok(ended)
}

fn other(detail: impl Into<String>) -> Void {
    Void::new(VoidCause::Other, detail)
}

/// What the task had used before the segment.
#[derive(Default)]
struct Before {
    fuel: u64,
    memory_fuel: u64,
}

impl Before {
    const fn of(facts: &Facts) -> Self {
        let Facts { fuel, memory_fuel, summed, peak_pages, .. } = *facts;
        let (integral, grown) = (memory_fuel.cast_signed(), summed.cast_signed());
        Self { fuel, memory_fuel: abi::memory_fuel(integral, grown, peak_pages, fuel) }
    }
}

/// A segment while it runs.
struct Chain<'m> {
    run: Run<'m>,
    ports: &'m Ports,
    metered: Digest,
    spec: &'m SegmentSpec,
    /// Steps of the task so far.
    steps: u64,
    /// Steps of this segment so far.
    done: u64,
    before: Before,
}

/// Where the host has its hands during steps, looked up once.
struct Hands {
    step: TypedFunc<i64, i32>,
    check: TypedFunc<(), ()>,
    mark: Global,
    count: Global,
    stack: Global,
}

impl Chain<'_> {
    fn finish(mut self) -> Result<SegmentResult, Void> {
        let ended = match self.begin()? {
            Ok(()) => self.go_on(),
            Err(error) => Err(error),
        };
        match ended {
            Ok(outcome) => self.at_boundary(outcome),
            Err(error) => {
                let end = self.run.judge(&error)?;
                Ok(self.result(end, None, Digest::ZERO))
            }
        }
    }

    /// Makes the instance and brings it to where the segment begins; what ends within is the guest's doing.
    fn begin(&mut self) -> Result<wasmtime::Result<()>, Void> {
        if let Err(error) = self.run.instantiate() {
            return Ok(Err(error));
        }
        let Some(from) = &self.spec.from else { return Ok(self.initialize()) };
        let limits = &self.spec.task.job.limits;
        let unfit = |why: String| other(format!("the snapshot cannot be gone on from: {why}"));
        let snapshot = decode(from, limits).map_err(|error| unfit(error.to_string()))?;
        if snapshot.facts.metered != self.metered {
            return Err(unfit("it is of another module".into()));
        }
        match self.run.restore(self.ports, &snapshot) {
            Ok(()) => {}
            Err(RestoreError::Misfit(what)) => return Err(unfit(what.to_string())),
            Err(RestoreError::Engine(error)) => return Err(unfit(format!("{error:#}"))),
        }
        (self.before, self.steps) = (Before::of(&snapshot.facts), snapshot.facts.steps);
        Ok(Ok(()))
    }

    fn initialize(&mut self) -> wasmtime::Result<()> {
        let exports = &self.run.module.exports;
        self.run.call_each(&[
            exports.initial.as_ref(),
            self.ports.initialize.as_ref(),
            Some(&self.ports.init),
            Some(&exports.finish),
        ])
    }

    fn hands(&mut self) -> wasmtime::Result<Hands> {
        let exports = &self.run.module.exports;
        let (step, check) =
            (self.run.function(&self.ports.step)?, self.run.function(&exports.finish)?);
        let mut global = |export| self.run.global(export).ok_or_else(|| missing("global"));
        Ok(Hands {
            mark: global(&exports.mark)?,
            count: global(&exports.count)?,
            stack: global(&exports.stack)?,
            step: step.typed(&self.run.store)?,
            check: check.typed(&self.run.store)?,
        })
    }

    /// Does steps until the segment or the task ends.
    fn go_on(&mut self) -> wasmtime::Result<Outcome> {
        let hands = self.hands()?;
        let Steps { budget, segment } = self.spec.steps;
        loop {
            let used = self.run.flushed();
            let full = self.done > 0 && used.saturating_sub(self.before.fuel) >= segment;
            let asked = self.spec.pause_after.map(|steps| self.done >= steps);
            if asked.unwrap_or(full) {
                return Ok(Outcome::Paused);
            }
            let stack = self.run.stack_budget();
            let store = &mut self.run.store;
            hands.mark.set(&mut *store, Val::I64(used.cast_signed()))?;
            hands.count.set(&mut *store, Val::I64(STEP_FUEL.cast_signed()))?;
            hands.stack.set(&mut *store, Val::I32(stack))?;
            let over = hands.step.call(&mut *store, budget.cast_signed())?;
            hands.check.call(&mut *store, ())?;
            (self.steps, self.done) = (self.steps.saturating_add(1), self.done + 1);
            if over != 0 {
                return Ok(Outcome::Exited(0));
            }
        }
    }

    /// Ends between two steps.
    fn at_boundary(mut self, outcome: Outcome) -> Result<SegmentResult, Void> {
        let place = (self.metered, self.steps);
        let snapshot = self.run.capture(self.ports, place);
        let snapshot = snapshot.map_err(|error| other(format!("no snapshot: {error:#}")))?;
        let after = snapshot.root();
        let blob = (outcome == Outcome::Paused).then(|| snapshot.encode());
        let fuel = self.run.flushed();
        Ok(self.result((outcome, fuel), blob, after))
    }

    fn result(self, end: (Outcome, u64), blob: Option<Vec<u8>>, after: Digest) -> SegmentResult {
        let Self { run, before, done, .. } = self;
        let mut result = run.result(end);
        result.fuel = result.fuel.saturating_sub(before.fuel);
        result.memory_fuel = result.memory_fuel.saturating_sub(before.memory_fuel);
        if let Some(blob) = blob {
            result.output = blob;
            result.bytes_out = result.output.len() as u64;
        }
        SegmentResult { result, after, steps: done }
    }
}
