//! How long hostile guests go on behind their limits, and what guests pay that cost as much as they can.
//!
//! Runs them in this process with the same call that a worker's child makes, and prints one JSON line for each:
//! `{"guest", "past_ms", "stop_ms"}` and `{"harm", "pays", "ns_per_fuel", "stop_ms"}`, and one `{"typical_ns", "taken_for"}`. All times are processor time of the thread that runs the
//! guest. `cargo xtask hostile` reads the lines.
//!
//! * `past_ms`: the whole run of a guest that ends before its fuel does. What it does behind the limit that it meets is a part
//!   of that. Guests that only fuel ends are looked at at every slice and every call of the host, so for them the next figure counts.
//! * `stop_ms`: from an order to stop, which deadlines and cancelled jobs give, to the end; of guests that would go on for ever. Up
//!   to a slice of paid fuel is in it.
//! * `pays`: what a unit of processor time pays in fuel, as a share of what ordinary work pays for it.

#![expect(clippy::print_stdout, reason = "printing is what a benchmark is for")]

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};
use tallymill_hostile::{Guest, Harm, corpus, harms, ordinary};
use tallymill_protocol::{Limits, Outcome, TaskIndex};
use tallymill_sandbox::{
    CompiledModule, Engine, JobSpec, Launcher, Pulse, TaskResult, TaskSpec, child_main,
    ordinary_rate, run_task, screen, with_stack,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Times that everything is measured; of limits the worst counts, of prices the best.
const ROUNDS: usize = 3;
/// Processor time that a guest has used when it is told to stop, ns.
const BEFORE_STOP: u64 = 30_000_000;
/// Between two looks at that.
const LOOK: Duration = Duration::from_millis(1);
/// Processor time of a run whose price is measured, ns.
const LONG_ENOUGH: f64 = 30e6;
/// Fuel of the first run of such a guest, and the most that it is given.
const LITTLE_FUEL: u64 = 2_000;
const MOST_FUEL: u64 = 1 << 36;

fn main() -> ExitCode {
    if let Some(code) = child_main(std::env::args_os().skip(1)) {
        return code;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{{\"error\":\"{}\"}}", error.to_string().escape_default());
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let engine = Engine::new(1)?;
    for guest in corpus().iter().filter(|guest| guest.contained.runs()) {
        limits(&engine, guest).map_err(|error| format!("{}: {error}", guest.name))?;
    }
    prices(&engine)
}

fn compiled(engine: &Engine, module: &[u8]) -> Result<CompiledModule> {
    let metered = screen(module)?;
    Ok(engine.compile_here(&metered.bytes, metered.info)?)
}

fn task(job: JobSpec) -> TaskSpec {
    TaskSpec { job: Arc::new(job), index: TaskIndex(0), input: Arc::from(&b"in"[..]) }
}

fn run(module: &CompiledModule, job: JobSpec) -> Result<TaskResult> {
    let task = task(job);
    Ok(with_stack(|| run_task(module, &task, &Pulse::default()))??)
}

/// Processor time of this thread, ns.
fn now() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

fn limits(engine: &Engine, guest: &Guest) -> Result<()> {
    let module = compiled(engine, &guest.module())?;
    let (mut past, mut stop) = (0, 0);
    for _ in 0..ROUNDS {
        if guest.contained.is_outcome(Outcome::FuelExhausted) {
            stop = stop.max(past_stop(&module, guest.limits())?);
        } else {
            past = past.max(whole(&module, guest)?);
        }
    }
    let [past, stop] = [past, stop].map(milliseconds);
    println!("{{\"guest\":\"{}\",\"past_ms\":{past:.3},\"stop_ms\":{stop:.3}}}", guest.name);
    Ok(())
}

fn milliseconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64() * 1e3
}

/// Processor time of the whole run, ns.
fn whole(module: &CompiledModule, guest: &Guest) -> Result<u64> {
    let result = run(module, JobSpec::new(guest.limits()))?;
    if !guest.contained.is_outcome(result.outcome) {
        return Err(format!("it ended otherwise: {}", result.outcome).into());
    }
    Ok(result.cpu_time_us * 1_000)
}

/// Processor time from the order to stop to the end of the run, ns.
fn past_stop(module: &CompiledModule, limits: Limits) -> Result<u64> {
    let task = task(JobSpec::new(Limits { fuel: 1 << 61, ..limits }));
    let pulse = Pulse::default();
    let thread = AtomicU64::new(0);
    let guest = || {
        thread.store(gettid().as_raw_nonzero().get().unsigned_abs().into(), Ordering::Relaxed);
        (run_task(module, &task, &pulse), now())
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| with_stack(guest));
        let mut before = 0;
        while before < BEFORE_STOP && !running.is_finished() {
            std::thread::park_timeout(LOOK);
            // The thread may not be there yet, or not any more.
            before = used(thread.load(Ordering::Relaxed)).unwrap_or(before);
        }
        pulse.stop();
        let ended = running.join().map_err(|_| "the thread that ran it panicked")?;
        let (result, end) = ended.map_err(Box::new)?;
        let outcome = result?.outcome;
        if outcome != Outcome::Stopped {
            return Err(format!("it could not be stopped: {outcome}").into());
        }
        Ok(end.saturating_sub(before))
    })
}

/// Processor time of another thread of this process, ns.
fn used(thread: u64) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"))?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

fn prices(engine: &Engine) -> Result<()> {
    let work = ordinary();
    let work = work.iter().map(|harm| Ok((harm.name, measured(engine, harm)?)));
    let work = work.collect::<Result<Vec<_>>>()?;
    let logs: f64 = work.iter().map(|(_, (price, _))| price.ln()).sum();
    let typical = (logs / f64::from(u32::try_from(work.len())?)).exp();
    let rate = ordinary_rate(&Launcher::current_exe()?).map_err(Box::new)?;
    let taken_for = 1e3 / precise(rate) / typical;
    println!("{{\"typical_ns\":{typical:.5},\"taken_for\":{taken_for:.4}}}");
    let say = |kind: &str, name: &str, (price, stop): (f64, f64)| {
        let pays = typical / price;
        println!(
            "{{\"{kind}\":\"{name}\",\"pays\":{pays:.7},\"ns_per_fuel\":{price:.4},\"stop_ms\":{stop:.3}}}"
        );
    };
    work.into_iter().for_each(|(name, figures)| say("ordinary", name, figures));
    for harm in harms() {
        say("harm", harm.name, measured(engine, &harm)?);
    }
    Ok(())
}

/// The price of a unit of fuel, ns, and how long it takes to stop, ms.
fn measured(engine: &Engine, harm: &Harm) -> Result<(f64, f64)> {
    let measured = || {
        let module = compiled(engine, &harm.module())?;
        let stops = (0..ROUNDS).map(|_| past_stop(&module, Limits::default()));
        let stop = stops.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0);
        Ok((price(&module)?, milliseconds(stop)))
    };
    measured()
        .map_err(|error: Box<dyn Error + Send + Sync>| format!("{}: {error}", harm.name).into())
}

/// Processor time of a unit of fuel, ns: of the cheapest of some runs that are long enough to be measured.
fn price(module: &CompiledModule) -> Result<f64> {
    let mut fuel = LITTLE_FUEL;
    loop {
        let once = spent(module, fuel)?;
        if once >= LONG_ENOUGH || fuel >= MOST_FUEL {
            let rounds = (1..ROUNDS).map(|_| spent(module, fuel)).collect::<Result<Vec<_>>>()?;
            return Ok(rounds.into_iter().fold(once, f64::min) / precise(fuel));
        }
        fuel = fuel.saturating_mul(4);
    }
}

/// Fuel is far below 2⁵³ here.
#[expect(clippy::cast_precision_loss, reason = "said above")]
const fn precise(fuel: u64) -> f64 {
    fuel as f64
}

/// Processor time that a run used until it had no fuel left, ns.
fn spent(module: &CompiledModule, fuel: u64) -> Result<f64> {
    let environment = (0..16).map(|n| (format!("V{n:02}"), "x".repeat(4_000))).collect();
    let job = JobSpec { environment, ..JobSpec::new(Limits { fuel, ..Limits::default() }) };
    let result = run(module, job)?;
    if result.outcome != Outcome::FuelExhausted {
        return Err(format!("it ended otherwise: {}", result.outcome).into());
    }
    Ok(precise(result.cpu_time_us) * 1e3)
}
