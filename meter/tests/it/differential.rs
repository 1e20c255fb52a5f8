//! The count inside the module against the engine's own, over generated modules.
//!
//! Two differences are intended. The engine charges what it does itself at instantiation, the meter
//! counts only the guest: both counts are taken from there on, and a start function, which the
//! engine runs among its own work, has a test in `fuel`. And the engine charges the elements of
//! `table.grow` even when it answers −1, the meter only when the table grew: the engine is told to
//! charge nothing for them, and what its tables grew by is added.

use crate::host::{self, Grant, Guest, Notes};
use arbitrary::Unstructured;
use tallymill_meter::abi::{self, Cause};
use tallymill_meter::{MeterError, meter};
use wasmtime::{Config, Engine, Module, OperatorCost, OptLevel, Store, StoreLimitsBuilder, Val};

/// Runs that must come to their end, as the contract asks.
const RUNS: u32 = 2_000;
/// Seeds tried for them.
const SEEDS: u64 = 20_000;
const THREADS: u64 = 2;
/// Exports called in one run.
const CALLS: usize = 3;
const FUEL: u64 = 1_000_000;
const GRANT: Grant = Grant {
    limit: host::MAX,
    stack: 16 << 20,
    pages: 64,
    entries: 20_000,
    hook: host::Hook::Returns,
};

#[test]
fn generated_modules_count_what_the_engine_counts() {
    let engines = Engines::new();
    let tallies: Vec<_> = std::thread::scope(|scope| {
        // The metered engine may use 2 MiB of stack, which is all a thread gets by default.
        let thread = || std::thread::Builder::new().stack_size(8 << 20);
        let engines = &engines;
        let threads: Vec<_> = (0..THREADS)
            .map(|t| thread().spawn_scoped(scope, move || compare_some(engines, t)).unwrap())
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let sum = |figure: fn(&Tally) -> u32| tallies.iter().map(figure).sum::<u32>();
    assert_eq!(sum(|tally| tally.ended), RUNS, "{tallies:?}");
    assert!(sum(|tally| tally.helpers) > 100, "{tallies:?}");
    assert!(sum(|tally| tally.imports_called) > 100, "{tallies:?}");
}

#[derive(Debug, Default)]
struct Tally {
    seeds: u64,
    refused: u32,
    without_end: u32,
    ended: u32,
    /// Runs of modules that hold an operator with a helper.
    helpers: u32,
    imports_called: u32,
}

/// One thread's share: its own seeds until its own number of runs has ended.
fn compare_some(engines: &Engines, thread: u64) -> Tally {
    let mut tally = Tally::default();
    while u64::from(tally.ended) < u64::from(RUNS) / THREADS && tally.seeds < SEEDS / THREADS {
        compare(engines, tally.seeds * THREADS + thread, &mut tally);
        tally.seeds += 1;
    }
    tally
}

fn compare(engines: &Engines, seed: u64, tally: &mut Tally) {
    let Some(original) = generate(seed, true) else { return };
    let metered = match meter(&original, &host::profile()) {
        Ok(metered) => metered,
        // The generator also draws `externref`, and frames beyond the limit.
        Err(MeterError::Invalid { .. } | MeterError::Screen { .. }) => {
            tally.refused += 1;
            return;
        }
        Err(error) => panic!("seed {seed}: {error}"),
    };
    let Some(expected) = plain(&engines.counting, &original) else {
        tally.without_end += 1;
        return;
    };
    let module = Module::new(&engines.metered, &metered.bytes).unwrap();
    let run =
        |limit: u64| counted(&module, Grant { limit: limit.cast_signed(), ..GRANT }, &expected);
    let free = run(abi::MAX_LIMIT);
    assert_eq!(free.cause, None, "seed {seed}");
    assert_eq!(free.fuel, expected.fuel, "seed {seed}");
    assert_eq!(free.calls, expected.calls, "seed {seed}");
    assert_eq!(free.memory, expected.memory, "seed {seed}");
    let total = *expected.fuel.last().unwrap();
    let exact = run(total);
    assert_eq!((exact.cause, &exact.fuel), (None, &free.fuel), "seed {seed}");
    let short = run(total - 1);
    assert_eq!(short.cause, Some(Cause::Exhausted), "seed {seed}");
    assert_eq!(short.fuel.last(), Some(&(total - 1)), "seed {seed}");
    tally.ended += 1;
    tally.helpers += u32::from(uses_helpers(&original));
    tally.imports_called += u32::from(!expected.calls.is_empty());
}

struct Engines {
    counting: Engine,
    metered: Engine,
}

impl Engines {
    fn new() -> Self {
        let mut cost = OperatorCost::new();
        cost.variable.table_grow_per_element = 0;
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::None).max_wasm_stack(512 << 10);
        config.consume_fuel(true).operator_cost(cost);
        let counting = Engine::new(&config).unwrap();
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::None).max_wasm_stack(2 << 20);
        Self { counting, metered: Engine::new(&config).unwrap() }
    }
}

/// A run as both engines should see it.
#[derive(Default)]
struct Trace {
    /// Total fuel after each call.
    fuel: Vec<u64>,
    /// Arguments the import was called with.
    calls: Vec<i32>,
    /// Names of the exports called to the end.
    names: Vec<String>,
    memory: Vec<u8>,
    grown: u64,
    cause: Option<Cause>,
}

/// Runs the original with the engine's own fuel; `None` if nothing came to its end.
fn plain(engine: &Engine, original: &[u8]) -> Option<Trace> {
    let module = Module::new(engine, original).unwrap();
    let mut store = Store::new(engine, notes());
    store.limiter(|notes| &mut notes.limits);
    store.set_fuel(FUEL).unwrap();
    let instance = host::linker(engine).instantiate(&mut store, &module).ok()?;
    let table = tables(&module).next();
    let table = table.map(|name| instance.get_table(&mut store, &name).unwrap());
    let first = table.map_or(0, |table| table.size(&store));
    let ready = store.get_fuel().unwrap();
    let mut trace = Trace::default();
    let note = |store: &mut Store<Notes>, trace: &mut Trace| {
        let size = table.map_or(0, |table| table.size(&*store));
        trace.grown = size - first;
        trace.fuel.push(ready - store.get_fuel().unwrap() + trace.grown);
        trace.calls.clone_from(&store.data().calls);
    };
    for name in functions(&module).take(CALLS) {
        let func = instance.get_func(&mut store, &name).unwrap();
        let (params, mut results) = arguments(&func.ty(&store))?;
        if func.call(&mut store, &params, &mut results).is_err() {
            // What this call left behind is not compared: the metered run leaves it out.
            trace.memory.clear();
            return replayed(engine, original, trace);
        }
        trace.names.push(name);
        note(&mut store, &mut trace);
    }
    trace.memory = memory(&module, &instance, &mut store);
    (trace.fuel.last() > Some(&0)).then_some(trace)
}

/// The memory after the calls that came to their end, without the one that did not.
fn replayed(engine: &Engine, original: &[u8], mut trace: Trace) -> Option<Trace> {
    if trace.fuel.last().is_none_or(|fuel| *fuel == 0) {
        return None;
    }
    let module = Module::new(engine, original).unwrap();
    let mut store = Store::new(engine, notes());
    store.limiter(|notes| &mut notes.limits);
    store.set_fuel(FUEL).unwrap();
    let instance = host::linker(engine).instantiate(&mut store, &module).unwrap();
    for name in &trace.names {
        let func = instance.get_func(&mut store, name).unwrap();
        let (params, mut results) = arguments(&func.ty(&store))?;
        func.call(&mut store, &params, &mut results).unwrap();
    }
    trace.memory = memory(&module, &instance, &mut store);
    Some(trace)
}

fn counted(module: &Module, grant: Grant, expected: &Trace) -> Trace {
    let mut guest = Guest::from_module(module, grant, notes()).unwrap();
    let mut trace = Trace::default();
    for name in &expected.names {
        let func = guest.instance.get_func(&mut guest.store, name).unwrap();
        let (params, _) = arguments(&func.ty(&guest.store)).unwrap();
        if let host::End::Stopped(cause, _) = guest.call(name, &params) {
            trace.cause = Some(cause);
            trace.fuel.push(guest.owed());
            return trace;
        }
        assert_eq!(guest.stack(), grant.stack, "{name} gave its frames back");
        trace.fuel.push(guest.flushed());
    }
    if let host::End::Stopped(cause, _) = guest.call(abi::FINISH, &[]) {
        trace.cause = Some(cause);
        trace.fuel.push(guest.owed());
    }
    trace.calls.clone_from(&guest.store.data().calls);
    trace.memory = memory(module, &guest.instance, &mut guest.store);
    trace
}

fn notes() -> Notes {
    let limits = StoreLimitsBuilder::new().memory_size(64 << 16).table_elements(20_000).build();
    Notes { limits, ..Notes::default() }
}

fn arguments(ty: &wasmtime::FuncType) -> Option<(Vec<Val>, Vec<Val>)> {
    let values = |ty: wasmtime::ValType| ty.default_value();
    Some((
        ty.params().map(values).collect::<Option<_>>()?,
        ty.results().map(values).collect::<Option<_>>()?,
    ))
}

fn functions(module: &Module) -> impl Iterator<Item = String> {
    exports(module, |ty| ty.func().is_some())
}

fn tables(module: &Module) -> impl Iterator<Item = String> {
    exports(module, |ty| ty.table().is_some())
}

fn exports(
    module: &Module,
    kind: fn(&wasmtime::ExternType) -> bool,
) -> impl Iterator<Item = String> {
    module.exports().filter(move |e| kind(&e.ty())).map(|e| e.name().to_owned())
}

fn memory(module: &Module, instance: &wasmtime::Instance, store: &mut Store<Notes>) -> Vec<u8> {
    let name = exports(module, |ty| ty.memory().is_some()).next();
    name.map(|name| instance.get_memory(&mut *store, &name).unwrap().data(&*store).to_vec())
        .unwrap_or_default()
}

/// Whether the original has operators that are paid by length.
fn uses_helpers(original: &[u8]) -> bool {
    use wasmparser::{Operator, Parser, Payload};
    let mut found = false;
    for payload in Parser::new(0).parse_all(original) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            for op in body.get_operators_reader().unwrap() {
                found |= matches!(
                    op.unwrap(),
                    Operator::MemoryFill { .. }
                        | Operator::MemoryCopy { .. }
                        | Operator::MemoryInit { .. }
                        | Operator::MemoryGrow { .. }
                        | Operator::TableFill { .. }
                        | Operator::TableCopy { .. }
                        | Operator::TableInit { .. }
                        | Operator::TableGrow { .. }
                );
            }
        }
    }
    found
}

/// A module drawn from a seed; `None` when the draw does not make one.
pub fn generate(seed: u64, canonical: bool) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4_096];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    let config = wasm_smith::Config {
        allow_start_export: false,
        available_imports: Some(offered()),
        // One bit in which a NaN differs could send two runs of the original different ways.
        canonicalize_nans: canonical,
        disallow_traps: seed % 16 < 12,
        exceptions_enabled: false,
        export_everything: true,
        extended_const_enabled: false,
        gc_enabled: false,
        max_imports: 2,
        max_instructions: 200,
        max_memory32_bytes: 4 << 20,
        max_table_elements: 1_000,
        memory64_enabled: false,
        min_funcs: 1,
        reference_types_enabled: seed % 8 < 2,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        ..wasm_smith::Config::default()
    };
    let module = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)).ok()?;
    Some(module.to_bytes())
}

fn offered() -> Vec<u8> {
    let wat = r#"(module (import "env" "next" (func (param i32) (result i32))))"#;
    wat::parse_str(wat).unwrap()
}
