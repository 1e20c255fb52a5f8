//! Wasmi, an interpreter: the host functions of the sandbox behind its own linker, and the meter's contract written
//! once more.

use std::fmt;

use anyhow::Context as _;
use tallymill_meter::abi::{self, Cause};
use tallymill_meter::{Metered, SLICE, Ty};
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Limits, Outcome, Trap};
use tallymill_sandbox::wasi::{Ending, Session};
use tallymill_sandbox::{TaskResult, TaskSpec, Void, profile};
use wasmi::errors::{ErrorKind, HostError, InstantiationError, TableError};
use wasmi::{
    Caller, Config, Error, Func, FuncType, Global, Instance, Linker, Memory, Module, Ref, Store,
    TrapCode, Val, ValType,
};

use super::{Answer, Engine, Subject};
use crate::draw::Draw;

/// Bytes of a page.
const PAGE: u64 = 65_536;
/// Frames on its stack, which lies on the heap: more than the meter's model ever allows.
const FRAMES: usize = 100_000;
/// Bytes of its stack of values.
const STACK: usize = 64 << 20;

/// Least distance between two looks, so that they do not fill the run.
const NEAREST: u64 = 1000;

/// The interpreter.
pub struct Wasmi {
    engine: wasmi::Engine,
    linker: Linker<Cell>,
    looks: Option<Draw>,
    answer: Option<Answer>,
}

/// What a store holds.
struct Cell {
    session: Session,
    memory: Option<Memory>,
    meter: Option<[Global; 2]>,
    looks: Option<Draw>,
}

/// An end that the host decided.
#[derive(Debug)]
struct HostEnd(Ending);

impl fmt::Display for HostEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended by the host: {:?}", self.0)
    }
}

impl HostError for HostEnd {}

impl Wasmi {
    /// The engine. With `looks`, its hook asks for the next one at a random distance within the slice.
    ///
    /// # Errors
    /// When the linker refuses a function.
    pub fn new(looks: Option<u64>) -> anyhow::Result<Self> {
        let mut config = Config::default();
        config.set_max_recursion_depth(FRAMES).set_max_stack_height(STACK);
        config.wasm_relaxed_simd(false).wasm_tail_call(false);
        config.compilation_mode(wasmi::CompilationMode::LazyTranslation);
        let engine = wasmi::Engine::new(&config);
        let linker = linker(&engine)?;
        Ok(Self { engine, linker, looks: looks.map(Draw::new), answer: None })
    }
}

impl Engine for Wasmi {
    fn name(&self) -> &'static str {
        if self.looks.is_some() { "wasmi, random looks" } else { "wasmi" }
    }

    fn begin(&mut self, subject: &Subject<'_>) -> anyhow::Result<()> {
        let Subject { metered, task, .. } = *subject;
        let looks = self.looks.as_mut().map(|draw| Draw::new(draw.bits()));
        self.answer = Some(run(&self.engine, &self.linker, metered, (task, looks))?);
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<Answer> {
        self.answer.take().context("nothing was begun")
    }
}

const fn value_type(ty: Ty) -> ValType {
    match ty {
        Ty::I32 => ValType::I32,
        Ty::I64 => ValType::I64,
    }
}

/// Every import of the profile, by its position there.
fn linker(engine: &wasmi::Engine) -> anyhow::Result<Linker<Cell>> {
    let mut linker = Linker::new(engine);
    for (at, import) in profile().imports.iter().enumerate() {
        let types = |types: &[Ty]| types.iter().map(|ty| value_type(*ty)).collect::<Vec<_>>();
        let ty = FuncType::new(types(import.params), types(import.results));
        linker.func_new(
            import.module,
            import.name,
            ty,
            move |mut caller, arguments, results| {
                let code = call(&mut caller, at, arguments)?;
                results.iter_mut().for_each(|result| *result = Val::I32(code.cast_signed()));
                Ok(())
            },
        )?;
    }
    Ok(linker)
}

fn call(caller: &mut Caller<'_, Cell>, function: usize, arguments: &[Val]) -> Result<u32, Error> {
    let raw = |value: &Val| match value {
        Val::I32(word) => u64::from(word.cast_unsigned()),
        Val::I64(long) => long.cast_unsigned(),
        _ => 0,
    };
    let arguments: Vec<u64> = arguments.iter().map(raw).collect();
    let answer = match caller.data().memory {
        Some(memory) => {
            let (bytes, cell) = memory.data_and_store_mut(caller);
            cell.session.call(function, bytes, &arguments)
        }
        None => caller.data_mut().session.call(function, &mut [], &arguments),
    };
    answer.map_err(|ending| Error::host(HostEnd(ending)))
}

/// Called once per slice, and at the looks it asks for besides.
fn hook(mut caller: Caller<'_, Cell>, fuel: i64) -> Result<(), Error> {
    let Some([mark, count]) = caller.data().meter else { return Ok(()) };
    let before = mark.get(&caller).i64().unwrap_or(fuel);
    let Some(draw) = &mut caller.data_mut().looks else { return Ok(()) };
    let distance = draw.magnitude(SLICE).max(NEAREST).cast_signed();
    let next = fuel.saturating_add(distance).min(before);
    mark.set(&mut caller, Val::I64(next))?;
    count.set(&mut caller, Val::I64(fuel - next))?;
    Ok(())
}

fn run(
    engine: &wasmi::Engine,
    linker: &Linker<Cell>,
    metered: &Metered,
    (task, looks): (&TaskSpec, Option<Draw>),
) -> anyhow::Result<Answer> {
    let module = Module::new(engine, &metered.bytes)?;
    let limits = task.job.limits;
    let extents = Extents::new(&limits);
    if !metered.info.fits(extents.pages, extents.entries) {
        return Ok(Ok(result(task, (Outcome::MemoryExceeded, 0), (0, 0), Default::default())));
    }
    let cell = Cell { session: Session::new(task), memory: None, meter: None, looks };
    let mut run = Run { store: Store::new(engine, cell), instance: None, limits, extents };
    let end = run.drive(linker, &module);
    let (outcome, fuel) = match end {
        Ok(()) => (Outcome::Exited(0), run.flushed()),
        Err(error) => match run.judge(&error) {
            Ok(judged) => judged,
            Err(void) => return Ok(Err(void)),
        },
    };
    let declared = metered.info.memory.map_or(0, |memory| u64::from(memory.min) * PAGE);
    let memory = run.store.data().memory;
    let peak = memory.map_or(declared, |memory| memory.size(&run.store).saturating_mul(PAGE));
    let memory_fuel = run.memory_fuel(peak, fuel);
    let written = run.store.into_data().session.finish();
    Ok(Ok(result(task, (outcome, fuel), (peak, memory_fuel), written)))
}

fn result(
    task: &TaskSpec,
    (outcome, fuel): (Outcome, u64),
    (peak_memory, memory_fuel): (u64, u64),
    (output, log): (Vec<u8>, Vec<u8>),
) -> TaskResult {
    TaskResult {
        outcome,
        bytes_in: task.input.len() as u64,
        bytes_out: output.len() as u64,
        output,
        log,
        fuel,
        peak_memory,
        memory_fuel,
        cpu_time_us: 0,
    }
}

/// Pages and entries a guest may have.
#[derive(Clone, Copy)]
struct Extents {
    pages: u32,
    entries: u32,
}

impl Extents {
    fn new(limits: &Limits) -> Self {
        let pages = (limits.memory / PAGE).min(PAGE);
        Self {
            pages: u32::try_from(pages).unwrap_or(u32::MAX),
            entries: u32::try_from(limits.table).unwrap_or(u32::MAX),
        }
    }
}

struct Run {
    store: Store<Cell>,
    instance: Option<Instance>,
    limits: Limits,
    extents: Extents,
}

impl Run {
    fn drive(&mut self, linker: &Linker<Cell>, module: &Module) -> Result<(), Error> {
        let instance = linker.instantiate_and_start(&mut self.store, module)?;
        self.instance = Some(instance);
        self.arm(instance)?;
        let stack = i32::try_from(self.limits.stack).unwrap_or(abi::STACK_BUDGET);
        for name in [abi::START, "_start", abi::FINISH] {
            let Some(function) = instance.get_func(&self.store, name) else { continue };
            self.set(abi::STACK, Val::I32(stack.min(abi::STACK_BUDGET)))?;
            function.call(&mut self.store, &[], &mut [])?;
        }
        Ok(())
    }

    fn arm(&mut self, instance: Instance) -> Result<(), Error> {
        let limit = self.limits.fuel.min(abi::MAX_LIMIT).cast_signed();
        self.set(abi::LIMIT, Val::I64(limit))?;
        self.set(abi::PAGES, Val::I32(self.extents.pages.cast_signed()))?;
        self.set(abi::ENTRIES, Val::I32(self.extents.entries.cast_signed()))?;
        let hook = Func::wrap(&mut self.store, hook);
        let table = instance.get_table(&self.store, abi::HOOKS);
        let table = table.ok_or_else(|| missing(abi::HOOKS))?;
        table.set(&mut self.store, 0, Val::FuncRef(Ref::Val(hook)))?;
        let meter = [abi::MARK, abi::COUNT].map(|name| self.global(name));
        let memory = instance.get_memory(&self.store, "memory");
        let cell = self.store.data_mut();
        cell.memory = memory;
        if let [Some(mark), Some(count)] = meter {
            cell.meter = Some([mark, count]);
        }
        Ok(())
    }

    fn global(&self, name: &str) -> Option<Global> {
        self.instance?.get_global(&self.store, name)
    }

    fn set(&mut self, name: &'static str, value: Val) -> Result<(), Error> {
        let global = self.global(name).ok_or_else(|| missing(name))?;
        Ok(global.set(&mut self.store, value)?)
    }

    fn long(&self, name: &str) -> i64 {
        self.global(name).and_then(|global| global.get(&self.store).i64()).unwrap_or(0)
    }

    fn flushed(&self) -> u64 {
        abi::flushed_fuel(self.long(abi::MARK), self.long(abi::COUNT))
    }

    fn memory_fuel(&self, peak_memory: u64, fuel: u64) -> u64 {
        let pages = u32::try_from(peak_memory / PAGE).unwrap_or(u32::MAX);
        abi::memory_fuel(self.long(abi::INTEGRAL), self.long(abi::GROWN), pages, fuel)
    }

    fn cause(&self) -> Option<Cause> {
        let Some(global) = self.global(abi::CAUSE) else { return Some(Cause::None) };
        Cause::from_code(global.get(&self.store).i32()?)
    }

    /// Outcome and fuel of a run that did not return.
    fn judge(&self, error: &Error) -> Result<(Outcome, u64), Void> {
        let (limit, flushed) = (self.limits.fuel.min(abi::MAX_LIMIT), self.flushed());
        if let Some(HostEnd(ending)) = error.downcast_ref::<HostEnd>() {
            let outcome = match ending {
                Ending::Exit(code) => Outcome::Exited(*code),
                Ending::OutputExceeded => Outcome::OutputExceeded,
            };
            return Ok((outcome, flushed.min(limit)));
        }
        let cause = self.cause();
        let outcome = match cause {
            Some(Cause::Exhausted) => Outcome::FuelExhausted,
            Some(Cause::StackOverflow) => Outcome::StackExhausted,
            Some(Cause::Unreachable) => Outcome::Trapped(Trap::Unreachable),
            Some(Cause::None) => Outcome::Trapped(trap(error)?),
            other => return Err(Void::new(VoidCause::Other, format!("{other:?}: {error}"))),
        };
        Ok((outcome, abi::stopped_fuel(cause.unwrap_or(Cause::None), flushed, limit)))
    }
}

fn missing(name: &str) -> Error {
    Error::new(format!("the metered module lacks {name}"))
}

/// The trap of the engine; see the profile for the codes that stand for several.
fn trap(error: &Error) -> Result<Trap, Void> {
    // These two have no trap code there, though they are traps.
    if matches!(
        error.kind(),
        ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. })
            | ErrorKind::Table(TableError::CopyOutOfBounds)
    ) {
        return Ok(Trap::TableOutOfBounds);
    }
    Ok(match error.as_trap_code() {
        Some(TrapCode::UnreachableCodeReached) => Trap::Unreachable,
        Some(TrapCode::MemoryOutOfBounds) => Trap::MemoryOutOfBounds,
        Some(TrapCode::TableOutOfBounds) => Trap::TableOutOfBounds,
        Some(TrapCode::IndirectCallToNull | TrapCode::BadSignature) => Trap::BadSignature,
        Some(TrapCode::IntegerOverflow | TrapCode::BadConversionToInteger) => Trap::IntegerOverflow,
        Some(TrapCode::IntegerDivisionByZero) => Trap::DivisionByZero,
        Some(TrapCode::StackOverflow) => {
            return Err(Void::new(VoidCause::NativeOverflow, "before the meter's limit"));
        }
        _ => return Err(Void::new(VoidCause::Other, error.to_string())),
    })
}
