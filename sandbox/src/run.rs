//! One task, from a fresh instance to its result.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::time::{ClockId, clock_gettime};
use tallymill_meter::abi::{self, Cause};
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Limits, Outcome, Trap};
use wasmtime::{Func, Global, Instance, ModuleExport, ResourceLimiter, Store, Val};

use crate::engine::CompiledModule;
use crate::profile::{PAGE, extents};

/// Bytes of a page, as a size of memory.
const PAGE_BYTES: usize = 65_536;
use crate::task::{TaskResult, TaskSpec, Void};
use crate::wasi::{Ending, Guest, Host};
use crate::watch::{Page, Pulse, Shown};

/// What a store holds: the guest's state and its memory.
pub(crate) struct Cell {
    guest: Guest,
    memory: Option<wasmtime::Memory>,
    extents: (usize, usize),
    /// Whether the run is to stop.
    stop: Arc<AtomicBool>,
}

impl Cell {
    pub(crate) const fn guest(&self) -> &Guest {
        &self.guest
    }

    pub(crate) const fn guest_mut(&mut self) -> &mut Guest {
        &mut self.guest
    }
}

/// The meter decides about growth; the engine follows, and would refuse what the meter should not have allowed.
impl ResourceLimiter for Cell {
    fn memory_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.extents.0)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.extents.1)
    }
}

/// An end that the host decided, carried through the engine as an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum HostEnd {
    #[error("exited with code {0}")]
    Exit(u8),
    #[error("output limit reached")]
    OutputExceeded,
    #[error("stopped at a call of the host")]
    Stopped,
}

impl From<Ending> for HostEnd {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Exit(code) => Self::Exit(code),
            Ending::OutputExceeded => Self::OutputExceeded,
        }
    }
}

impl Host for Cell {
    fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }

    fn memory(&self) -> Option<wasmtime::Memory> {
        self.memory
    }

    fn ended(ending: Ending) -> wasmtime::Error {
        HostEnd::from(ending).into()
    }

    fn stopped(&self) -> Option<wasmtime::Error> {
        self.stop.load(Ordering::Relaxed).then(|| HostEnd::Stopped.into())
    }
}

/// CPU time of this thread, µs.
pub(crate) fn thread_cpu_time() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) =
        (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000)
}

/// Runs one task on a fresh instance, on this thread, whose stack must be large: see [`with_stack`].
///
/// # Errors
/// When the run ended for a reason that is not the guest's.
pub fn run_task(
    module: &CompiledModule,
    task: &TaskSpec,
    pulse: &Pulse,
) -> Result<TaskResult, Void> {
    let started = thread_cpu_time();
    let (pages, entries) = extents(&task.job.limits);
    let mut result = if module.info.fits(pages, entries) {
        Run::start(module, task, pulse).finish()?
    } else {
        TaskResult::without_running(Outcome::MemoryExceeded, task.input.len())
    };
    result.cpu_time_us = thread_cpu_time().saturating_sub(started);
    Ok(result)
}

/// Calls `work` on a thread of its own whose stack is large enough for guests.
///
/// # Errors
/// When the thread cannot be started or `work` panics.
pub fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Void> {
    let other = |detail: &str| Void::new(VoidCause::Other, detail);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("guest".into())
            .stack_size(crate::engine::THREAD_STACK);
        let thread = thread
            .spawn_scoped(scope, work)
            .map_err(|error| other(&format!("no thread: {error}")))?;
        thread.join().map_err(|_| other("the thread that ran the guest panicked"))
    })
}

/// An instance and what it is made of.
pub(crate) struct Run<'m> {
    /// Before the store, so that it ends first.
    shown: Option<Shown<'m>>,
    pub(crate) pulse: &'m Pulse,
    pub(crate) module: &'m CompiledModule,
    pub(crate) store: Store<Cell>,
    instance: Option<Instance>,
    pub(crate) limits: Limits,
}

impl<'m> Run<'m> {
    pub(crate) fn start(module: &'m CompiledModule, task: &TaskSpec, pulse: &'m Pulse) -> Self {
        let (pages, entries) = extents(&task.job.limits);
        // The meter's own memory and table have the sizes they need, whatever the limits for the guest's are.
        let extents =
            ((pages as usize).max(1) * PAGE_BYTES, (entries as usize).max(module.hooks()));
        let cell = Cell { guest: Guest::new(task), memory: None, extents, stop: pulse.switch() };
        let mut store = Store::new(module.engine.inner(), cell);
        store.limiter(|cell| cell);
        Self { shown: None, pulse, module, store, instance: None, limits: task.job.limits }
    }

    fn finish(mut self) -> Result<TaskResult, Void> {
        let end = match self.drive() {
            Ok(()) => (Outcome::Exited(0), self.flushed()),
            Err(error) => self.judge(&error)?,
        };
        Ok(self.result(end))
    }

    /// What the run has come to.
    pub(crate) fn result(mut self, (outcome, fuel): (Outcome, u64)) -> TaskResult {
        // Nobody may look at the page when its memory goes.
        self.shown = None;
        let peak_memory = self.peak_memory();
        let memory_fuel = self.memory_fuel(peak_memory, fuel);
        let bytes_in = self.store.data().guest.input.len() as u64;
        let guest = self.store.into_data().guest;
        TaskResult {
            outcome,
            bytes_in,
            bytes_out: guest.output.len() as u64,
            output: guest.output,
            log: guest.log,
            fuel,
            peak_memory,
            memory_fuel,
            cpu_time_us: 0,
        }
    }

    /// Everything that may end in an error of guest, engine or host.
    fn drive(&mut self) -> wasmtime::Result<()> {
        let exports = &self.module.exports;
        let entry = exports.entry.as_ref().ok_or_else(|| missing("function \"_start\""))?;
        self.instantiate()?;
        self.call_each(&[exports.initial.as_ref(), Some(entry), Some(&exports.finish)])
    }

    /// Makes the instance; nothing of the guest runs.
    pub(crate) fn instantiate(&mut self) -> wasmtime::Result<()> {
        let instance = self.module.pre.instantiate(&mut self.store)?;
        self.instance = Some(instance);
        self.arm(instance)
    }

    /// Calls functions without parameters and results one after another, each with a whole stack.
    pub(crate) fn call_each(&mut self, exports: &[Option<&ModuleExport>]) -> wasmtime::Result<()> {
        for export in exports.iter().flatten() {
            self.set(&self.module.exports.stack, Val::I32(self.stack_budget()))?;
            let function = self.function(export)?.typed::<(), ()>(&self.store)?;
            function.call(&mut self.store, ())?;
        }
        Ok(())
    }

    /// The manifest's stack, at most what every supported engine can give.
    pub(crate) fn stack_budget(&self) -> i32 {
        i32::try_from(self.limits.stack).unwrap_or(abi::STACK_BUDGET).min(abi::STACK_BUDGET)
    }

    /// Tells the module its limits, and shows it to who looks in.
    fn arm(&mut self, instance: Instance) -> wasmtime::Result<()> {
        let exports = &self.module.exports;
        let (pages, entries) = extents(&self.limits);
        let limit = self.limits.fuel.min(abi::MAX_LIMIT).cast_signed();
        self.set(&exports.limit, Val::I64(limit))?;
        self.set(&exports.pages, Val::I32(pages.cast_signed()))?;
        self.set(&exports.entries, Val::I32(entries.cast_signed()))?;
        self.shown = Some(self.pulse.show(self.page()?, limit));
        if let Some(export) = &exports.memory {
            let memory = instance.get_module_export(&mut self.store, export);
            self.store.data_mut().memory = memory.and_then(wasmtime::Extern::into_memory);
        }
        Ok(())
    }

    fn export(&mut self, export: &ModuleExport) -> Option<wasmtime::Extern> {
        self.instance?.get_module_export(&mut self.store, export)
    }

    #[expect(unsafe_code, reason = "another thread looks at the page while the guest runs")]
    fn page(&mut self) -> wasmtime::Result<Page> {
        let control = self.export(&self.module.exports.control);
        let control = control.and_then(wasmtime::Extern::into_memory);
        let control = control.ok_or_else(|| missing("control memory"))?;
        let base = std::ptr::NonNull::new(control.data_ptr(&self.store));
        // SAFETY: the memory has one page, begins at a page of the machine's, and can neither grow nor be reached by the
        // guest or its host functions. It lives as long as the store, which is dropped after `shown`.
        Ok(unsafe { Page::new(base.ok_or_else(|| missing("page"))?) })
    }

    pub(crate) fn function(&mut self, export: &ModuleExport) -> wasmtime::Result<Func> {
        let found = self.export(export).and_then(wasmtime::Extern::into_func);
        found.ok_or_else(|| missing("function"))
    }

    pub(crate) fn table(&mut self, export: &ModuleExport) -> wasmtime::Result<wasmtime::Table> {
        let found = self.export(export).and_then(wasmtime::Extern::into_table);
        found.ok_or_else(|| missing("table"))
    }

    /// The guest's memory, once there is an instance.
    pub(crate) fn memory(&self) -> Option<wasmtime::Memory> {
        self.store.data().memory
    }

    pub(crate) fn global(&mut self, export: &ModuleExport) -> Option<Global> {
        self.export(export).and_then(wasmtime::Extern::into_global)
    }

    pub(crate) fn set(&mut self, export: &ModuleExport, value: Val) -> wasmtime::Result<()> {
        self.global(export).ok_or_else(|| missing("global"))?.set(&mut self.store, value)
    }

    pub(crate) fn get_i64(&mut self, export: &ModuleExport) -> i64 {
        let value = self.global(export).map(|global| global.get(&mut self.store));
        value.and_then(|value| value.i64()).unwrap_or(0)
    }

    pub(crate) fn flushed(&mut self) -> u64 {
        let exports = &self.module.exports;
        abi::flushed_fuel(self.get_i64(&exports.mark), self.get_i64(&exports.count))
    }

    /// Memory never shrinks, so the peak is what the run ended with, bytes. A run that ended while its instance was
    /// made had what the module declares.
    fn peak_memory(&mut self) -> u64 {
        let memory = self.module.exports.guest.as_ref().and_then(|export| self.export(export));
        let memory = memory.and_then(wasmtime::Extern::into_memory);
        let declared = self.module.info.memory.map_or(0, |memory| u64::from(memory.min) * PAGE);
        memory.map_or(declared, |memory| memory.data_size(&self.store) as u64)
    }

    fn memory_fuel(&mut self, peak_memory: u64, fuel: u64) -> u64 {
        let exports = &self.module.exports;
        let (integral, grown) = (self.get_i64(&exports.integral), self.get_i64(&exports.grown));
        let pages = u32::try_from(peak_memory / PAGE).unwrap_or(u32::MAX);
        abi::memory_fuel(integral, grown, pages, fuel)
    }

    fn cause(&mut self) -> Option<Cause> {
        let value =
            self.global(&self.module.exports.cause).map(|global| global.get(&mut self.store));
        Cause::from_code(value.map_or(Some(0), |value| value.i32())?)
    }

    /// Outcome and fuel of a run that did not return.
    pub(crate) fn judge(&mut self, error: &wasmtime::Error) -> Result<(Outcome, u64), Void> {
        let limit = self.limits.fuel.min(abi::MAX_LIMIT);
        let flushed = self.flushed();
        if let Some(end) = error.downcast_ref::<HostEnd>() {
            let outcome = match end {
                HostEnd::Exit(code) => Outcome::Exited(*code),
                HostEnd::OutputExceeded => Outcome::OutputExceeded,
                HostEnd::Stopped => Outcome::Stopped,
            };
            return Ok((outcome, flushed.min(limit)));
        }
        let void = |cause, detail: &str| Err(Void::new(cause, detail));
        let cause = self.cause();
        let outcome = match cause {
            Some(Cause::Exhausted) => Outcome::FuelExhausted,
            Some(Cause::StackOverflow) => Outcome::StackExhausted,
            Some(Cause::Unreachable) => Outcome::Trapped(Trap::Unreachable),
            Some(Cause::None) => Outcome::Trapped(engine_trap(error)?),
            Some(Cause::Growth) => {
                return void(
                    VoidCause::GrowthRefused,
                    "the engine refused a growth within the limits",
                );
            }
            Some(Cause::Hook) if self.pulse.is_stopped() => Outcome::Stopped,
            Some(Cause::Hook | Cause::NullHook | Cause::Engine) | None => {
                return void(
                    VoidCause::Other,
                    &format!("the module stopped itself ({cause:?}): {error:#}"),
                );
            }
        };
        Ok((outcome, abi::stopped_fuel(cause.unwrap_or(Cause::None), flushed, limit)))
    }
}

pub(crate) fn missing(what: &'static str) -> wasmtime::Error {
    wasmtime::Error::msg(format!("the metered module lacks a {what}"))
}

/// The trap of the engine; what is not the guest's doing makes the run void.
fn engine_trap(error: &wasmtime::Error) -> Result<Trap, Void> {
    use wasmtime::Trap as Engine;
    let Some(trap) = error.downcast_ref::<Engine>() else {
        return Err(Void::new(VoidCause::Other, format!("{error:#}")));
    };
    Ok(match trap {
        Engine::UnreachableCodeReached => Trap::Unreachable,
        Engine::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        Engine::TableOutOfBounds => Trap::TableOutOfBounds,
        // Engines that tell these apart do it in different ways; some do not tell.
        Engine::IndirectCallToNull | Engine::BadSignature => Trap::BadSignature,
        Engine::IntegerOverflow | Engine::BadConversionToInteger => Trap::IntegerOverflow,
        Engine::IntegerDivisionByZero => Trap::DivisionByZero,
        Engine::StackOverflow => {
            return Err(Void::new(VoidCause::NativeOverflow, "before the meter's limit"));
        }
        other => return Err(Void::new(VoidCause::Other, format!("unexpected trap: {other}"))),
    })
}
