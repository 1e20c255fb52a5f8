//! What ordinary work pays for a unit of processor time on this machine.
//!
//! A machine has no price by itself: a slow one gets through less fuel a second than a fast one. So it runs two small programs of
//! the kinds that most jobs are, in the same child and engine as theirs, and what they pay is the measure for all others: one
//! goes through memory, the other calls itself.

use std::sync::Arc;
use std::time::Duration;

use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Limits, Outcome, TaskIndex};
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemArg,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};

use crate::control::Control;
use crate::launch::Launcher;
use crate::prepare::prepare;
use crate::runner::Runner;
use crate::task::{JobSpec, TaskSpec, Void};

/// Fuel of one run: some ten milliseconds.
const FUEL: u64 = 1_000_000_000;
/// Runs, of which the quickest counts: what else the machine does can only make a run slower.
const ROUNDS: u32 = 5;
/// Most wall-clock time of one run.
const WALL: Duration = Duration::from_secs(30);
/// Bytes of the memory that is used over and over: they fit the first cache.
const BYTES: i32 = 30_000;

/// Fuel that ordinary work uses in a microsecond of processor time; at least 1.
///
/// # Errors
/// When the program cannot be run.
pub fn ordinary_rate(launcher: &Launcher) -> Result<u64, Void> {
    let rates = [rate(launcher, &sums())?, rate(launcher, &calls())?];
    // The geometric mean: half and twice as much are equally far from it.
    Ok(rates.map(u128::from).iter().product::<u128>().isqrt().try_into().unwrap_or(u64::MAX).max(1))
}

/// What a program pays, in fuel for a microsecond.
fn rate(launcher: &Launcher, program: &[u8]) -> Result<u64, Void> {
    let prepared = prepare(None, launcher, program);
    let prepared = prepared.map_err(|e| Void::new(VoidCause::Compile, e.to_string()))?;
    let mut runner = Runner::new(launcher.clone(), prepared, WALL);
    let job = Arc::new(JobSpec::new(Limits { fuel: FUEL, ..Limits::default() }));
    let mut quickest = u64::MAX;
    for round in 0..ROUNDS {
        let task = TaskSpec { job: job.clone(), index: TaskIndex(round), input: Arc::from([]) };
        let control =
            Control::new().map_err(|error| Void::new(VoidCause::Other, error.to_string()))?;
        let result = runner.run_one(&task, &control)?;
        if result.outcome != Outcome::FuelExhausted {
            return Err(Void::new(VoidCause::Other, format!("it ended: {}", result.outcome)));
        }
        quickest = quickest.min(result.cpu_time_us);
    }
    Ok(FUEL / quickest.max(1))
}

/// A byte at the address on the stack, from here on.
const fn byte(offset: u64) -> MemArg {
    MemArg { offset, align: 0, memory_index: 0 }
}

/// Adds bytes to sums, one after the other, until its fuel is gone.
fn sums() -> Vec<u8> {
    const AT: u32 = 0;
    const SUM: u32 = 1;
    let sum = MemArg { offset: 0, align: 2, memory_index: 0 };
    let mut function = Function::new([(2, ValType::I32)]);
    let mut code = function.instructions();
    code.loop_(BlockType::Empty).i32_const(0).local_set(AT).loop_(BlockType::Empty);
    code.local_get(AT).i32_const(2).i32_shl().i32_const(1020).i32_and().local_tee(SUM);
    code.local_get(SUM).i32_load(sum).local_get(AT).i32_load8_u(byte(4096)).i32_add();
    code.i32_store(sum);
    code.local_get(AT).i32_const(1).i32_add().local_tee(AT);
    code.i32_const(BYTES).i32_lt_u().br_if(0).end().br(0).end().end();
    module(&[&function])
}

/// Computes a Fibonacci number by recursion, over and over, until its fuel is gone.
fn calls() -> Vec<u8> {
    let mut start = Function::new([]);
    start.instructions().loop_(BlockType::Empty).i32_const(20).call(1).drop().br(0).end().end();
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.local_get(0).i32_const(2).i32_lt_u().if_(BlockType::Result(ValType::I32)).local_get(0);
    code.else_().local_get(0).i32_const(1).i32_sub().call(1);
    code.local_get(0).i32_const(2).i32_sub().call(1).i32_add().end().end();
    module(&[&start, &function])
}

/// A module of one page that starts with the first of these functions; the others take a number and give one.
fn module(bodies: &[&Function]) -> Vec<u8> {
    let (mut types, mut functions, mut memories) =
        (TypeSection::new(), FunctionSection::new(), MemorySection::new());
    types.ty().function([], []);
    types.ty().function([ValType::I32], [ValType::I32]);
    memories.memory(MemoryType {
        minimum: 1,
        maximum: Some(1),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    exports.export("_start", ExportKind::Func, 0);
    for (at, body) in (0_u32..).zip(bodies) {
        functions.function(at.min(1));
        code.function(body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories);
    module.section(&exports).section(&code);
    module.finish()
}
