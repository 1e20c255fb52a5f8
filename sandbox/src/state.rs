//! What a guest keeps between two steps, read out of its instance and put into another one.
//!
//! Memory and table are taken as they are; globals, references and dropped segments by the ways that the meter made for it
//! (`tallymill_meter::abi`). A snapshot comes from other machines: what it says is held against the module before it is used.

use std::collections::HashMap;

use tallymill_meter::abi;
use tallymill_protocol::Digest;
use tallymill_protocol::snapshot::{Facts, Global, PAGE, Pages, Snapshot};
use wasmtime::{Func, Module, ModuleExport, Ref, Val};

use crate::engine::EngineError;
use crate::run::{Run, missing};

/// Where the exports of a module in steps are, looked up once.
pub(crate) struct Ports {
    pub(crate) init: ModuleExport,
    pub(crate) step: ModuleExport,
    pub(crate) initialize: Option<ModuleExport>,
    table: Option<ModuleExport>,
    globals: Vec<Port>,
    data: Drops,
    elements: Drops,
}

/// A mutable global: the kind of its value, the function that gives it and the one that sets it.
struct Port {
    kind: Kind,
    get: ModuleExport,
    set: ModuleExport,
}

#[derive(Clone, Copy)]
enum Kind {
    I32,
    I64,
    F32,
    F64,
    V128,
    Func,
}

impl Kind {
    /// Every kind with the name of its type.
    const ALL: [(Self, &'static str); 6] = [
        (Self::I32, "i32"),
        (Self::I64, "i64"),
        (Self::F32, "f32"),
        (Self::F64, "f64"),
        (Self::V128, "v128"),
        (Self::Func, "funcref"),
    ];
}

/// The segments of one sort: how many there are, and of each that can be dropped its index, whether it was, and how.
struct Drops {
    count: ModuleExport,
    each: Vec<(usize, ModuleExport, ModuleExport)>,
}

impl Drops {
    fn new(module: &Module, names: [&'static str; 3]) -> Result<Self, EngineError> {
        let [count, flag, drop] = names;
        let mut each = Vec::new();
        for name in module.exports().map(|export| export.name()) {
            let Some(index) = name.strip_prefix(flag) else { continue };
            let parts = module.get_export_index(name).zip(index.parse().ok());
            let drop = module.get_export_index(&format!("{drop}{index}"));
            let ((dropped, index), drop) = parts.zip(drop).ok_or(EngineError::Export(flag))?;
            each.push((index, dropped, drop));
        }
        let count = module.get_export_index(count).ok_or(EngineError::Export(count))?;
        Ok(Self { count, each })
    }
}

impl Ports {
    pub(crate) fn new(module: &Module) -> Result<Self, EngineError> {
        let find =
            |name: &'static str| module.get_export_index(name).ok_or(EngineError::Export(name));
        let mut globals = Vec::new();
        while let Some(port) = Port::find(module, globals.len()) {
            globals.push(port);
        }
        Ok(Self {
            init: find("init")?,
            step: find("step")?,
            initialize: module.get_export_index("_initialize"),
            table: module.get_export_index(abi::TABLE),
            globals,
            data: Drops::new(module, [abi::DATA, abi::DROPPED_DATA, abi::DROP_DATA])?,
            elements: Drops::new(module, [abi::ELEMENTS, abi::DROPPED_ELEMENT, abi::DROP_ELEMENT])?,
        })
    }
}

impl Port {
    /// The global at this position, if there is one.
    fn find(module: &Module, position: usize) -> Option<Self> {
        Kind::ALL.into_iter().find_map(|(kind, ty)| {
            let of = |way: &str| module.get_export_index(&format!("{way}{position}:{ty}"));
            Some(Self { kind, get: of(abi::GET)?, set: of(abi::SET)? })
        })
    }
}

/// Why a snapshot does not fit a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misfit(pub(crate) &'static str);

/// A misfit, or an error of the engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("{0:#}")]
    Engine(wasmtime::Error),
}

impl From<wasmtime::Error> for RestoreError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(error)
    }
}

/// Refuses a snapshot unless `holds`.
pub(crate) const fn must(holds: bool, what: &'static str) -> Result<(), Misfit> {
    if holds { Ok(()) } else { Err(Misfit(what)) }
}

/// The 64-bit halves of a vector's bits, the lower first.
fn halves(bits: u128) -> [i64; 2] {
    let half = |shift: u32| {
        let low = bits >> shift & u128::from(u64::MAX);
        u64::try_from(low).unwrap_or(u64::MAX).cast_signed()
    };
    [half(0), half(64)]
}

fn low(bits: i64) -> u32 {
    u32::try_from(bits.cast_unsigned() & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// Numbers of references: the functions behind the hook, by their address in the engine.
struct Names {
    functions: Vec<Option<Func>>,
    numbers: HashMap<usize, u32>,
}

impl Names {
    fn number(&self, store: impl wasmtime::AsContextMut, func: Option<Func>) -> Option<u32> {
        let Some(func) = func else { return Some(0) };
        self.numbers.get(&(func.to_raw(store).addr())).copied()
    }

    fn function(&self, number: u32) -> Result<Option<Func>, Misfit> {
        let Some(position) = number.checked_sub(1) else { return Ok(None) };
        let found = self.functions.get(position as usize).copied().flatten();
        found.map(Some).ok_or(Misfit("a reference to a function that the module has none to"))
    }
}

impl Run<'_> {
    fn names(&mut self) -> wasmtime::Result<Names> {
        let hooks = self.table(&self.module.exports.hooks)?;
        let mut names = Names { functions: Vec::new(), numbers: HashMap::new() };
        for (at, number) in (0..self.module.functions()).zip(1..) {
            let function = match hooks.get(&mut self.store, at as u64 + 1) {
                Some(Ref::Func(function)) => function,
                _ => return Err(missing("list of functions")),
            };
            if let Some(function) = &function {
                names.numbers.insert(function.to_raw(&mut self.store).addr(), number);
            }
            names.functions.push(function);
        }
        Ok(names)
    }

    /// The whole state, after `steps` steps of the task.
    pub(crate) fn capture(
        &mut self,
        ports: &Ports,
        (metered, steps): (Digest, u64),
    ) -> wasmtime::Result<Snapshot<'_>> {
        let names = self.names()?;
        let globals = ports.globals.iter().map(|port| self.get(port, &names));
        let globals = globals.collect::<wasmtime::Result<_>>()?;
        let table = ports.table.as_ref().map(|table| self.entries(table, &names)).transpose()?;
        let (data, elements) = (self.dropped(&ports.data)?, self.dropped(&ports.elements)?);
        let exports = &self.module.exports;
        let (integral, grown) = (self.get_i64(&exports.integral), self.get_i64(&exports.grown));
        let fuel = self.flushed();
        let memory = self.memory().ok_or_else(|| missing("memory"))?;
        let guest = self.store.data().guest();
        let pages = Pages::of(memory.data(&self.store)).ok_or_else(|| missing("page"))?;
        Ok(Snapshot {
            facts: Facts {
                metered,
                fuel,
                memory_fuel: integral.cast_unsigned(),
                summed: grown.cast_unsigned(),
                steps,
                peak_pages: u32::try_from(pages.len()).unwrap_or(u32::MAX),
            },
            pages,
            globals,
            tables: table.into_iter().collect(),
            data,
            elements,
            output: &guest.output,
            log: &guest.log,
            handles: guest.kept_handles(),
            files: guest.kept_files(),
            counters: guest.kept_counters(),
        })
    }

    fn get(&mut self, port: &Port, names: &Names) -> wasmtime::Result<Global> {
        let function = self.function(&port.get)?;
        let store = &mut self.store;
        Ok(match port.kind {
            Kind::Func => {
                let func = function.typed::<(), Option<Func>>(&*store)?.call(&mut *store, ())?;
                let number = names.number(&mut *store, func);
                Global::Func(number.ok_or_else(|| missing("function in its list"))?)
            }
            Kind::V128 => {
                let (low, high) =
                    function.typed::<(), (i64, i64)>(&*store)?.call(&mut *store, ())?;
                let [low, high] = [low, high].map(|half| u128::from(half.cast_unsigned()));
                Global::V128(low | high << 64)
            }
            kind => {
                let bits = function.typed::<(), i64>(&*store)?.call(&mut *store, ())?;
                match kind {
                    Kind::I32 => Global::I32(low(bits)),
                    Kind::F32 => Global::F32(low(bits)),
                    Kind::F64 => Global::F64(bits.cast_unsigned()),
                    _ => Global::I64(bits.cast_unsigned()),
                }
            }
        })
    }

    fn entries(&mut self, table: &ModuleExport, names: &Names) -> wasmtime::Result<Vec<u32>> {
        let table = self.table(table)?;
        let mut entries = Vec::new();
        for at in 0..table.size(&self.store) {
            let Some(Ref::Func(func)) = table.get(&mut self.store, at) else {
                return Err(missing("table of functions"));
            };
            let number = names.number(&mut self.store, func);
            entries.push(number.ok_or_else(|| missing("function in its list"))?);
        }
        Ok(entries)
    }

    /// Of each segment of a sort, whether it was dropped.
    fn dropped(&mut self, drops: &Drops) -> wasmtime::Result<Vec<bool>> {
        let mut all = vec![false; self.get_count(&drops.count)];
        for (index, flag, _) in &drops.each {
            let dropped = self.get_count(flag) != 0;
            *all.get_mut(*index).ok_or_else(|| missing("segment"))? = dropped;
        }
        Ok(all)
    }

    fn get_count(&mut self, export: &ModuleExport) -> usize {
        let value = self.global(export).map(|global| global.get(&mut self.store));
        let value = value.and_then(|value| value.i32()).unwrap_or(0);
        value.cast_unsigned() as usize
    }

    /// Puts a snapshot into an instance of which nothing has run.
    pub(crate) fn restore(
        &mut self,
        ports: &Ports,
        snapshot: &Snapshot<'_>,
    ) -> Result<(), RestoreError> {
        let facts = &snapshot.facts;
        must(facts.peak_pages as usize == snapshot.pages.len(), "a memory that has shrunk")?;
        self.restore_memory(&snapshot.pages)?;
        let names = self.names()?;
        must(snapshot.globals.len() == ports.globals.len(), "not the module's globals")?;
        for (port, global) in ports.globals.iter().zip(&snapshot.globals) {
            self.set_global(port, *global, &names)?;
        }
        must(snapshot.tables.len() == usize::from(ports.table.is_some()), "not its tables")?;
        if let Some((table, entries)) = ports.table.as_ref().zip(snapshot.tables.first()) {
            self.restore_table(table, entries, &names)?;
        }
        self.drop_segments(&ports.data, &snapshot.data)?;
        self.drop_segments(&ports.elements, &snapshot.elements)?;
        self.store.data_mut().guest_mut().restore(snapshot)?;
        let exports = &self.module.exports;
        self.set(&exports.integral, Val::I64(facts.memory_fuel.cast_signed()))?;
        self.set(&exports.grown, Val::I64(facts.summed.cast_signed()))?;
        self.set(&exports.mark, Val::I64(facts.fuel.cast_signed()))?;
        self.pulse.set_before(facts.fuel);
        Ok(())
    }

    fn restore_memory(&mut self, pages: &Pages<'_>) -> Result<(), RestoreError> {
        let memory = self.memory().ok_or(Misfit("the module exports no memory"))?;
        let more = (pages.len() as u64).checked_sub(memory.size(&self.store));
        let more = more.ok_or(Misfit("less memory than the module begins with"))?;
        let grown = memory.grow(&mut self.store, more);
        grown.map_err(|_| Misfit("more memory than the module can have"))?;
        let bytes = memory.data_mut(&mut self.store).chunks_exact_mut(PAGE);
        for (here, there) in bytes.zip(pages.iter()) {
            match there {
                Some(page) => here.copy_from_slice(page),
                // Pages that are zero anyway are not written: they would take memory.
                None if here.iter().any(|byte| *byte != 0) => here.fill(0),
                None => {}
            }
        }
        Ok(())
    }

    fn set_global(
        &mut self,
        port: &Port,
        global: Global,
        names: &Names,
    ) -> Result<(), RestoreError> {
        let values = match (port.kind, global) {
            (Kind::I32, Global::I32(bits)) | (Kind::F32, Global::F32(bits)) => {
                vec![Val::I64(i64::from(bits))]
            }
            (Kind::I64, Global::I64(bits)) | (Kind::F64, Global::F64(bits)) => {
                vec![Val::I64(bits.cast_signed())]
            }
            (Kind::V128, Global::V128(bits)) => halves(bits).map(Val::I64).into(),
            (Kind::Func, Global::Func(number)) => vec![Val::FuncRef(names.function(number)?)],
            _ => return Err(Misfit("a global of another type").into()),
        };
        self.function(&port.set)?.call(&mut self.store, &values, &mut [])?;
        Ok(())
    }

    fn restore_table(
        &mut self,
        table: &ModuleExport,
        entries: &[u32],
        names: &Names,
    ) -> Result<(), RestoreError> {
        let table = self.table(table)?;
        let more = (entries.len() as u64).checked_sub(table.size(&self.store));
        let more = more.ok_or(Misfit("a smaller table than the module begins with"))?;
        let grown = table.grow(&mut self.store, more, Ref::Func(None));
        grown.map_err(|_| Misfit("a larger table than the module can have"))?;
        for (at, number) in (0..).zip(entries) {
            table.set(&mut self.store, at, Ref::Func(names.function(*number)?))?;
        }
        Ok(())
    }

    fn drop_segments(&mut self, drops: &Drops, dropped: &[bool]) -> Result<(), RestoreError> {
        let mut left = dropped.iter().filter(|dropped| **dropped).count();
        must(dropped.len() == self.get_count(&drops.count), "not the module's segments")?;
        for (index, _, drop) in &drops.each {
            if dropped.get(*index) == Some(&true) {
                left -= 1;
                self.function(drop)?.typed::<(), ()>(&self.store)?.call(&mut self.store, ())?;
            }
        }
        Ok(must(left == 0, "a segment dropped that the module cannot drop")?)
    }
}
