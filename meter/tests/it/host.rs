//! A small host: meters a guest, sets the contract's globals and hook, runs it, reads what it says.

use std::sync::LazyLock;
use tallymill_meter::abi::{self, Cause};
use tallymill_meter::{CostTable, Import, MeterError, Metered, Profile, Screen, Slices, Ty, meter};
use wasmtime::{Caller, Config, Engine, Func, Instance, Linker, Module, Ref, Store, Trap, Val};

/// The imports on offer: `next` answers its argument plus one; `move` writes its second argument to
/// memory at its first and answers 0, or 8 if the second is above 1,000.
pub const IMPORTS: &[Import] = &[
    Import { module: "env", name: "next", params: &[Ty::I32], results: &[Ty::I32] },
    Import { module: "env", name: "move", params: &[Ty::I32, Ty::I64], results: &[Ty::I32] },
];

pub const MAX: i64 = abi::MAX_LIMIT.cast_signed();

pub fn profile() -> Profile {
    Profile {
        imports: IMPORTS,
        screen: Screen::default(),
        costs: CostTable::v1(),
        slices: Slices::Hook,
    }
}

/// As [`profile`], with slices that are polled.
pub fn polled() -> Profile {
    Profile { slices: Slices::Poll, ..profile() }
}

pub fn refused(wat: &str) -> MeterError {
    meter(&wat::parse_str(wat).unwrap(), &profile()).unwrap_err()
}

pub fn metered(wat: &str) -> Metered {
    meter(&wat::parse_str(wat).unwrap(), &profile()).unwrap()
}

pub static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let mut config = Config::new();
    config.cranelift_opt_level(wasmtime::OptLevel::None);
    Engine::new(&config).unwrap()
});

/// What the host grants a run.
#[derive(Clone, Copy)]
pub struct Grant {
    pub limit: i64,
    pub stack: i32,
    pub pages: i32,
    pub entries: i32,
    pub hook: Hook,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Null,
    Returns,
    /// Fails when it is called with at least this much fuel.
    FailsAt(i64),
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            limit: MAX,
            stack: abi::STACK_BUDGET,
            pages: 64,
            entries: 20_000,
            hook: Hook::Returns,
        }
    }
}

impl Grant {
    pub fn limit(limit: u64) -> Self {
        Self { limit: limit.cast_signed(), ..Self::default() }
    }
}

/// What the host functions note.
#[derive(Default)]
pub struct Notes {
    /// The fuel at every call of the hook.
    pub hooks: Vec<i64>,
    /// The argument of every call of the import.
    pub calls: Vec<i32>,
    pub limits: wasmtime::StoreLimits,
}

pub struct Guest {
    pub store: Store<Notes>,
    pub instance: Instance,
    /// What a script calls it.
    pub name: Option<String>,
    limit: u64,
}

/// How a call ended.
#[derive(Debug)]
pub enum End {
    Returned(Vec<Val>),
    /// The cause, and the engine's trap unless the host failed.
    Stopped(Cause, Option<Trap>),
}

impl End {
    pub fn i32(&self) -> i32 {
        match self {
            Self::Returned(values) => values[0].unwrap_i32(),
            Self::Stopped(..) => panic!("stopped: {self:?}"),
        }
    }

    pub fn cause(&self) -> Cause {
        match self {
            Self::Returned(_) => panic!("returned"),
            Self::Stopped(cause, _) => *cause,
        }
    }

    pub fn trap(&self) -> Trap {
        match self {
            Self::Stopped(Cause::None, Some(trap)) => *trap,
            _ => panic!("not a trap of the guest's: {self:?}"),
        }
    }
}

impl Guest {
    pub fn new(wat: &str, grant: Grant) -> Self {
        Self::instantiate(&metered(wat), grant)
    }

    pub fn instantiate(metered: &Metered, grant: Grant) -> Self {
        let module = Module::new(&ENGINE, &metered.bytes).unwrap();
        Self::from_module(&module, grant, Notes::default()).unwrap()
    }

    pub fn from_module(module: &Module, grant: Grant, notes: Notes) -> wasmtime::Result<Self> {
        let mut store = Store::new(module.engine(), notes);
        store.limiter(|notes| &mut notes.limits);
        let instance = linker(module.engine()).instantiate(&mut store, module)?;
        let limit = grant.limit.cast_unsigned();
        let mut guest = Self { store, instance, name: None, limit };
        guest.grant(grant);
        Ok(guest)
    }

    fn grant(&mut self, grant: Grant) {
        self.set(abi::LIMIT, Val::I64(grant.limit));
        self.set(abi::STACK, Val::I32(grant.stack));
        self.set(abi::PAGES, Val::I32(grant.pages));
        self.set(abi::ENTRIES, Val::I32(grant.entries));
        self.bound(grant.limit);
        if grant.hook != Hook::Null {
            let hook = hook(&mut self.store, grant.hook);
            let table = self.instance.get_table(&mut self.store, abi::HOOKS).unwrap();
            table.set(&mut self.store, 0, Ref::Func(Some(hook))).unwrap();
        }
    }

    pub fn set(&mut self, name: &str, value: Val) {
        let global = self.instance.get_global(&mut self.store, name).unwrap();
        global.set(&mut self.store, value).unwrap();
    }

    /// Sets the bound of a module whose slices are polled.
    pub fn bound(&mut self, fuel: i64) {
        if let Some(control) = self.instance.get_memory(&mut self.store, abi::CONTROL) {
            control.write(&mut self.store, abi::BOUND_AT as usize, &fuel.to_le_bytes()).unwrap();
        }
    }

    fn get(&mut self, name: &str) -> Val {
        let global = self.instance.get_global(&mut self.store, name).unwrap();
        global.get(&mut self.store)
    }

    pub fn call(&mut self, name: &str, args: &[Val]) -> End {
        let func = self.instance.get_func(&mut self.store, name).unwrap();
        let mut results: Vec<_> =
            func.ty(&self.store).results().map(|ty| ty.default_value().unwrap()).collect();
        match func.call(&mut self.store, args, &mut results) {
            Ok(()) => End::Returned(results),
            Err(error) => {
                let code = self.get(abi::CAUSE).unwrap_i32();
                End::Stopped(Cause::from_code(code).unwrap(), error.downcast_ref::<Trap>().copied())
            }
        }
    }

    /// Calls an export without arguments, then the last check of the run.
    pub fn run(&mut self, name: &str) -> End {
        match self.call(name, &[]) {
            End::Returned(values) => match self.call(abi::FINISH, &[]) {
                End::Returned(_) => End::Returned(values),
                stopped => stopped,
            },
            stopped => stopped,
        }
    }

    /// The flushed count.
    pub fn flushed(&mut self) -> u64 {
        let (mark, count) = (self.get(abi::MARK), self.get(abi::COUNT));
        abi::flushed_fuel(mark.unwrap_i64(), count.unwrap_i64())
    }

    /// What is owed after a trap.
    pub fn owed(&mut self) -> u64 {
        let cause = Cause::from_code(self.get(abi::CAUSE).unwrap_i32()).unwrap();
        let flushed = self.flushed();
        abi::stopped_fuel(cause, flushed, self.limit)
    }

    /// Memory × fuel so far, the guest's memory being the export `m`.
    pub fn memory_fuel(&mut self) -> u64 {
        let (integral, grown) = (self.get(abi::INTEGRAL), self.get(abi::GROWN));
        let pages = u32::try_from(self.memory().len() >> 16).unwrap();
        let fuel = self.flushed();
        abi::memory_fuel(integral.unwrap_i64(), grown.unwrap_i64(), pages, fuel)
    }

    pub fn integral(&mut self) -> u64 {
        self.get(abi::INTEGRAL).unwrap_i64().cast_unsigned()
    }

    pub fn stack(&mut self) -> i32 {
        self.get(abi::STACK).unwrap_i32()
    }

    /// The guest's exported memory `m`.
    pub fn memory(&mut self) -> &mut [u8] {
        let memory = self.instance.get_memory(&mut self.store, "m").unwrap();
        memory.data_mut(&mut self.store)
    }
}

pub fn linker(engine: &Engine) -> Linker<Notes> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap("env", "next", |mut caller: Caller<'_, Notes>, value: i32| {
            caller.data_mut().calls.push(value);
            value.wrapping_add(1)
        })
        .unwrap();
    linker
        .func_wrap("env", "move", |mut caller: Caller<'_, Notes>, at: u32, length: u64| {
            caller.data_mut().calls.push(0);
            let memory = caller.get_export("m").unwrap().into_memory().unwrap();
            memory.write(&mut caller, at as usize, &length.to_le_bytes()).unwrap();
            if length > 1_000 { 8 } else { 0 }
        })
        .unwrap();
    linker
}

fn hook(store: &mut Store<Notes>, kind: Hook) -> Func {
    Func::wrap(store, move |mut caller: Caller<'_, Notes>, fuel: i64| {
        caller.data_mut().hooks.push(fuel);
        match kind {
            Hook::FailsAt(least) if fuel >= least => Err(wasmtime::Error::msg("cancelled")),
            _ => Ok(()),
        }
    })
}
