//! What starting costs: a task inside the job's process, a task through the process boundary, a module from the cache.
//!
//! Prints one JSON line. All figures but those named `wall` are processor time; each is the median of several rounds.

#![expect(clippy::print_stdout, reason = "printing is what a benchmark is for")]

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tallymill_protocol::{Digest, Limits, Outcome, TaskIndex};
use tallymill_sandbox::{
    Cache, CompiledModule, Control, Engine, JobSpec, Launcher, Prepared, Pulse, Runner, TaskSpec,
    prepare, run_task, with_stack,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A small task as a compiler lays it out: a stack below 1 MiB, data above it, 17 pages. It copies its input to its output.
const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 17)
    (global $stack (mut i32) (i32.const 1048576))
    (data (i32.const 1048576) "a buffer begins at 1049600")
    (func (export "_start") (local $frame i32)
        (global.set $stack (local.tee $frame (i32.sub (global.get $stack) (i32.const 32))))
        (block $end (loop $more
            (i32.store (local.get $frame) (i32.const 1049600))
            (i32.store offset=4 (local.get $frame) (i32.const 4096))
            (br_if $end (call $read (i32.const 0) (local.get $frame) (i32.const 1) (i32.add (local.get $frame) (i32.const 8))))
            (br_if $end (i32.eqz (i32.load offset=8 (local.get $frame))))
            (i32.store offset=4 (local.get $frame) (i32.load offset=8 (local.get $frame)))
            (drop (call $write (i32.const 1) (local.get $frame) (i32.const 1) (i32.add (local.get $frame) (i32.const 12))))
            (br $more)))
        (global.set $stack (i32.add (local.get $frame) (i32.const 32)))))"#;

/// Rounds of which the median counts.
const ROUNDS: usize = 7;
/// Tasks of one round.
const TASKS: u32 = 20_000;
/// What is asked for: µs, µs, ms.
const REQUIRED: [(&str, f64); 3] =
    [("in_process_us", 12.0), ("batched_us", 30.0), ("cache_to_first_op_ms", 1.0)];

fn main() -> ExitCode {
    match with_stack(measure).map_err(Into::into).and_then(|figures| figures) {
        Ok(figures) => report(&figures),
        Err(error) => {
            println!(
                "{{\"bench\":\"startup\",\"error\":\"{}\"}}",
                error.to_string().escape_default()
            );
            ExitCode::FAILURE
        }
    }
}

fn report(figures: &[(&str, f64)]) -> ExitCode {
    let fields: Vec<_> =
        figures.iter().map(|(name, value)| format!("\"{name}\":{value:.3}")).collect();
    println!("{{\"bench\":\"startup\",{}}}", fields.join(","));
    let missed = |(name, most): &(&str, f64)| {
        figures.iter().any(|(known, value)| known == name && value > most)
    };
    if REQUIRED.iter().any(missed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure() -> Result<Vec<(&'static str, f64)>> {
    let folder = tempfile::tempdir()?;
    let cache = Cache::open(folder.path(), 1 << 30)?;
    let launcher = Launcher::program(env!("CARGO_BIN_EXE_sandbox-child"));
    let bytes = wat::parse_str(ECHO)?;
    let prepared = prepare(Some(&cache), &launcher, &bytes)?;
    let engine = Engine::new(1)?;
    let module = prepared.load(&engine)?;
    let (batched, parent) = batched(&launcher, &prepared)?;
    let digest = Digest::of(&bytes);
    Ok(vec![
        ("in_process_us", median((0..ROUNDS).map(|_| in_process(&module)))?),
        ("batched_us", batched),
        ("cache_to_first_op_ms", median((0..50).map(|_| first_op(&cache, digest, &engine)))?),
        ("batched_parent_us", parent),
        (
            "child_to_first_op_wall_ms",
            median((0..30).map(|_| child_first_op(&cache, digest, &launcher)))?,
        ),
    ])
}

fn median(rounds: impl Iterator<Item = Result<f64>>) -> Result<f64> {
    let mut figures = rounds.collect::<Result<Vec<_>>>()?;
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().ok_or_else(|| "no rounds".into())
}

/// Processor time so far, µs.
fn used(clock: ClockId) -> f64 {
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)).as_secs_f64()
        * 1e6
}

fn job() -> Arc<JobSpec> {
    Arc::new(JobSpec::new(Limits::default()))
}

fn task(job: &Arc<JobSpec>, index: u32) -> TaskSpec {
    let input = format!("the input of task {index}: about as long as a line of text is");
    TaskSpec { job: job.clone(), index: TaskIndex(index), input: input.as_bytes().into() }
}

fn check(task: &TaskSpec, outcome: Outcome, output: &[u8]) -> Result<()> {
    let right = outcome == Outcome::Exited(0) && output == &task.input[..];
    if right { Ok(()) } else { Err(format!("task {} came to {outcome}", task.index.0).into()) }
}

/// µs per task on this thread.
fn in_process(module: &CompiledModule) -> Result<f64> {
    let (job, pulse) = (job(), Pulse::default());
    let tasks: Vec<_> = (0..TASKS).map(|index| task(&job, index)).collect();
    let before = used(ClockId::ThreadCPUTime);
    for task in &tasks {
        let result = run_task(module, task, &pulse)?;
        check(task, result.outcome, &result.output)?;
    }
    Ok((used(ClockId::ThreadCPUTime) - before) / f64::from(TASKS))
}

/// Processor time of a process's threads so far, µs.
fn used_by(process: u32) -> Result<f64> {
    let mut sum = 0.0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanos: f64 = text.split_whitespace().next().unwrap_or_default().parse()?;
        sum += nanos / 1e3;
    }
    Ok(sum)
}

/// µs per task, of this process and its child together, and of this process alone.
fn batched(launcher: &Launcher, prepared: &Prepared) -> Result<(f64, f64)> {
    let mut runner = Runner::new(launcher.clone(), prepared.clone(), Duration::from_secs(600));
    let job = job();
    runner.run_one(&task(&job, 0), &Control::new()?)?;
    let child = runner.child_id().ok_or("no child")?;
    let tasks: Vec<_> = (0..TASKS).map(|index| task(&job, index)).collect();
    let mut round = || -> Result<(f64, f64)> {
        let before = (used(ClockId::ProcessCPUTime), used_by(child)?);
        let mut wrong = Ok(());
        runner.run_batch(&tasks, &Control::new()?, &mut |at, answer| {
            let checked = answer
                .map_err(Into::into)
                .and_then(|result| check(&tasks[at], result.outcome, &result.output));
            wrong = std::mem::replace(&mut wrong, Ok(())).and(checked);
        });
        wrong?;
        let own = used(ClockId::ProcessCPUTime) - before.0;
        Ok(((own + used_by(child)? - before.1) / f64::from(TASKS), own / f64::from(TASKS)))
    };
    let rounds = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<_>>>()?;
    let of = |part: fn(&(f64, f64)) -> f64| median(rounds.iter().map(|round| Ok(part(round))));
    Ok((of(|round| round.0)?, of(|round| round.1)?))
}

/// ms from an entry of the cache to the end of a first task: read, authenticated, mapped, linked, run.
fn first_op(cache: &Cache, digest: Digest, engine: &Engine) -> Result<f64> {
    let task = task(&job(), 0);
    let before = used(ClockId::ThreadCPUTime);
    let module = cache.get(digest).ok_or("not in the cache")?.load(engine)?;
    let result = run_task(&module, &task, &Pulse::default())?;
    let took = used(ClockId::ThreadCPUTime) - before;
    check(&task, result.outcome, &result.output)?;
    Ok(took / 1e3)
}

/// ms on the wall clock, a new child process included.
fn child_first_op(cache: &Cache, digest: Digest, launcher: &Launcher) -> Result<f64> {
    let task = task(&job(), 0);
    let before = Instant::now();
    let prepared = cache.get(digest).ok_or("not in the cache")?;
    let mut runner = Runner::new(launcher.clone(), prepared, Duration::from_secs(600));
    let result = runner.run_one(&task, &Control::new()?)?;
    let took = before.elapsed();
    check(&task, result.outcome, &result.output)?;
    Ok(took.as_secs_f64() * 1e3)
}
