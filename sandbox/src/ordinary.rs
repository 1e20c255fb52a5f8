//! What ordinary work pays for a unit of processor time on this machine.
//!
//! A machine has no price by itself: a slow one gets through less fuel a second than a fast one. So it runs a small program of
//! the kind that most jobs are, in the same child and engine as theirs, and what that pays is the measure for all others.

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
/// Bytes that are hashed in each round: they fit the first cache.
const BYTES: i32 = 30_000;

/// Fuel that ordinary work uses in a microsecond of processor time; at least 1.
///
/// # Errors
/// When the program cannot be run.
pub fn ordinary_rate(launcher: &Launcher) -> Result<u64, Void> {
    let prepared = prepare(None, launcher, &program());
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
    Ok((FUEL / quickest.max(1)).max(1))
}

/// Takes bytes through multiplications and rotations until its fuel is gone.
fn program() -> Vec<u8> {
    const AT: u32 = 0;
    const HASH: u32 = 1;
    let byte = MemArg { offset: 0, align: 0, memory_index: 0 };
    let mut function = Function::new([(2, ValType::I32)]);
    let mut code = function.instructions();
    code.loop_(BlockType::Empty).i32_const(0).local_set(AT).loop_(BlockType::Empty);
    code.local_get(HASH).local_get(AT).i32_load8_u(byte).i32_xor();
    code.i32_const(16_777_619).i32_mul().i32_const(5).i32_rotl().local_set(HASH);
    code.local_get(AT).local_get(HASH).i32_store8(byte);
    code.local_get(AT).i32_const(1).i32_add().local_tee(AT);
    code.i32_const(BYTES).i32_lt_u().br_if(0).end().br(0).end().end();
    let (mut types, mut functions, mut memories) =
        (TypeSection::new(), FunctionSection::new(), MemorySection::new());
    types.ty().function([], []);
    functions.function(0);
    memories.memory(MemoryType {
        minimum: 1,
        maximum: Some(1),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let (mut exports, mut bodies) = (ExportSection::new(), CodeSection::new());
    exports.export("_start", ExportKind::Func, 0);
    bodies.function(&function);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories);
    module.section(&exports).section(&bodies);
    module.finish()
}
