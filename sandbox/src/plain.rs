//! Runs a module as its author wrote it, with the same host functions and settings: what metering is measured against.
//!
//! Nothing counts or stops such a run but what the engine offers, so this is for programs of one's own.

use tallymill_protocol::work::VoidCause;
use wasmtime::{Instance, InstanceAllocationStrategy, InstancePre, Linker, Module, Store};

use crate::engine::{EngineError, config, pool};
use crate::task::{TaskSpec, Void};
use crate::wasi::{self, Ending, Guest, Host};

/// What a run may use where the engine counts: more than any run uses.
const FUEL: u64 = 1 << 62;

/// What the engine itself does to keep a guest bounded and deterministic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Nothing: the fastest that the engine can be.
    Nothing,
    /// Its fuel, its epochs and its canonical NaNs.
    Engine,
}

/// What a store holds.
struct Cell {
    guest: Guest,
    memory: Option<wasmtime::Memory>,
}

/// The end that a guest asked for or that its output's limit forced.
#[derive(Debug, thiserror::Error)]
#[error("ended by {0:?}")]
struct Ended(Ending);

impl Host for Cell {
    fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }

    fn memory(&self) -> Option<wasmtime::Memory> {
        self.memory
    }

    fn ended(ending: Ending) -> wasmtime::Error {
        Ended(ending).into()
    }
}

/// A module that was not metered, ready to run any number of times.
pub struct PlainModule {
    engine: wasmtime::Engine,
    pre: InstancePre<Cell>,
    guard: Guard,
}

impl PlainModule {
    /// Compiles a module as it is.
    ///
    /// # Errors
    /// When the engine does not start here or refuses the module.
    pub fn compile(module: &[u8], guard: Guard) -> Result<Self, EngineError> {
        let setup = |error: wasmtime::Error| EngineError::Setup(format!("{error:#}"));
        let compile = |error: wasmtime::Error| EngineError::Compile(format!("{error:#}"));
        let guarded = guard == Guard::Engine;
        let mut config = config();
        config.consume_fuel(guarded).epoch_interruption(guarded);
        config.cranelift_nan_canonicalization(guarded);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(1)));
        let engine = wasmtime::Engine::new(&config).map_err(setup)?;
        let mut linker = Linker::new(&engine);
        wasi::link(&mut linker).map_err(setup)?;
        let module = Module::new(&engine, module).map_err(compile)?;
        let pre = linker.instantiate_pre(&module).map_err(compile)?;
        Ok(Self { engine, pre, guard })
    }

    /// Runs a task on a fresh instance, on this thread, and gives its standard output. The task's limits are not looked at, but
    /// for those of the host functions.
    ///
    /// # Errors
    /// When it did not end by itself with code 0.
    pub fn run(&self, task: &TaskSpec) -> Result<Vec<u8>, Void> {
        self.run_counted(task).map(|(output, _)| output)
    }

    /// As [`PlainModule::run`], with the engine's own count of fuel, instantiation left out; 0 where it does not count.
    ///
    /// # Errors
    /// As [`PlainModule::run`].
    pub fn run_counted(&self, task: &TaskSpec) -> Result<(Vec<u8>, u64), Void> {
        self.counted(task, |store| self.drive(store))
    }

    /// Runs a long task from its start to its end, in steps of this budget. Gives its standard output, the engine's count of
    /// fuel as [`PlainModule::run_counted`] does, and the number of steps.
    ///
    /// # Errors
    /// As [`PlainModule::run`].
    pub fn run_steps_counted(
        &self,
        task: &TaskSpec,
        budget: u64,
    ) -> Result<(Vec<u8>, u64, u64), Void> {
        let mut steps = 0;
        let (output, fuel) =
            self.counted(task, |store| self.drive_steps(store, budget, &mut steps))?;
        Ok((output, fuel, steps))
    }

    fn counted(
        &self,
        task: &TaskSpec,
        drive: impl FnOnce(&mut Store<Cell>) -> wasmtime::Result<()>,
    ) -> Result<(Vec<u8>, u64), Void> {
        let cell = Cell { guest: Guest::new(task), memory: None };
        let mut store = Store::new(&self.engine, cell);
        match drive(&mut store) {
            Ok(()) => {}
            Err(error) if is_success(&error) => {}
            Err(error) => return Err(Void::new(VoidCause::Other, format!("{error:#}"))),
        }
        let left = store.get_fuel().unwrap_or(FUEL);
        Ok((store.into_data().guest.output, FUEL - left))
    }

    fn drive(&self, store: &mut Store<Cell>) -> wasmtime::Result<()> {
        let instance = self.instantiate(store)?;
        instance.get_typed_func::<(), ()>(&mut *store, "_start")?.call(store, ())
    }

    fn drive_steps(
        &self,
        store: &mut Store<Cell>,
        budget: u64,
        steps: &mut u64,
    ) -> wasmtime::Result<()> {
        let instance = self.instantiate(store)?;
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
            initialize.call(&mut *store, ())?;
        }
        instance.get_typed_func::<(), ()>(&mut *store, "init")?.call(&mut *store, ())?;
        let step = instance.get_typed_func::<i64, i32>(&mut *store, "step")?;
        loop {
            *steps += 1;
            if step.call(&mut *store, budget.cast_signed())? != 0 {
                return Ok(());
            }
        }
    }

    fn instantiate(&self, store: &mut Store<Cell>) -> wasmtime::Result<Instance> {
        if self.guard == Guard::Engine {
            store.set_fuel(FUEL)?;
            store.set_epoch_deadline(1);
        }
        let instance = self.pre.instantiate(&mut *store)?;
        if self.guard == Guard::Engine {
            store.set_fuel(FUEL)?;
        }
        store.data_mut().memory = instance.get_memory(&mut *store, "memory");
        Ok(instance)
    }
}

fn is_success(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<Ended>().is_some_and(|Ended(ending)| *ending == Ending::Exit(0))
}
