//! `cargo xtask bench`: figures of this machine, one JSON line each.

mod crowd;
mod latency;
mod submit;

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use anyhow::ensure;
use serde_json::{Value, json};
use tallymill_sdk::Client;

use crate::database::{Database, Kind};
use crate::network::Network;
use crate::say::{note, say};
use crate::{cpu, load, measure, network, recount, repo, stats};

/// Credit that the load's account gets: its longest job holds 6,000.
const CREDITS: u64 = 10_000;
/// Tasks that run before the clock starts: the worker has joined and the module is compiled.
const WARM_UP: u32 = 100;

/// Tasks of some four milliseconds.
const LONG_TASKS: u32 = 3_000;

/// Which figures.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// Trivial tasks per second through one coordinator and one worker with 2 slots.
    Throughput {
        /// Number of tasks.
        #[arg(long, default_value_t = 100_000)]
        tasks: u32,
        /// The coordinator's database.
        #[arg(long, value_enum, default_value = "sqlite")]
        database: Kind,
    },
    /// From the submission of one small task to its verified result, on an idle network.
    Latency {
        /// Number of tasks, one after the other.
        #[arg(long, default_value_t = 300)]
        tasks: u32,
    },
    /// Accepting a large job, what it leaves behind, and stopping one.
    Submit {
        /// Number of tasks.
        #[arg(long, default_value_t = 1_000_000)]
        tasks: u32,
    },
    /// Hosts that are connected and wait for work which does not come.
    Idle {
        /// Number of hosts.
        #[arg(long, default_value_t = 10_000)]
        workers: u32,
    },
    /// Hosts that run synthetic tasks of two seconds and report them, signed.
    Active {
        /// Number of hosts.
        #[arg(long, default_value_t = 10_000)]
        hosts: u32,
    },
    /// What metering costs: CPU time of metered kernels against plain, engine-guarded and native.
    Meter(measure::Meter),
    /// Processor time of starting: a task in its process, through the process boundary, a module from the cache.
    Startup,
}

/// Runs a benchmark and prints its line.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Throughput { tasks, database } => {
            say(runtime()?.block_on(throughput(*tasks, *database))?);
            Ok(())
        }
        Bench::Latency { tasks } => {
            let [median, worst] = latency::MOST;
            let most = [("p50_ms", median), ("p99_ms", worst)];
            judge(runtime()?.block_on(latency::run(*tasks))?, &most)
        }
        Bench::Idle { workers } => {
            judge(runtime()?.block_on(crowd::idle(*workers))?, &crowd::MOST_IDLE)
        }
        Bench::Active { hosts } => {
            judge(runtime()?.block_on(crowd::active(*hosts))?, &crowd::MOST_ACTIVE)
        }
        Bench::Submit { tasks } => judge(runtime()?.block_on(submit::run(*tasks))?, &submit::MOST),
        Bench::Meter(options) => measure::meter(options),
        Bench::Startup => startup(),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Prints the line; an error that names what is missed.
fn judge(line: Value, most: &[(&str, f64)]) -> anyhow::Result<()> {
    let missed = stats::missed(&line, most);
    say(line);
    ensure!(missed.is_empty(), "{}", missed.join("; "));
    Ok(())
}

/// The measurement is a program of the sandbox's: it prints the line itself and fails when a figure is missed.
fn startup() -> anyhow::Result<()> {
    let mut bench = repo::cargo();
    bench.args([
        "bench",
        "--quiet",
        "--locked",
        "--package",
        "tallymill-sandbox",
        "--bench",
        "startup",
    ]);
    repo::run(&mut bench)
}

async fn throughput(tasks: u32, kind: Kind) -> anyhow::Result<Value> {
    let program = network::build(true)?;
    let folder = network::folder("bench")?;
    let database = Database::start(kind)?;
    let mut network = Network::start_on(&program, folder.path(), database.address())?;
    let client = network.customer("customer", CREDITS).await?;
    network.join_own("worker", 2, "customer")?;
    let counter = AtomicU64::new(0);
    load::run(&client, WARM_UP, &counter).await?;

    note(format!("running {tasks} tasks"));
    // Client, coordinator, worker and what they start all descend from this process; a database server does not.
    let mut own = vec![std::process::id()];
    own.extend(database.process()?);
    let (cpu, clock) = (cpu::micros(&own)?, Instant::now());
    load::run(&client, tasks, &counter).await?;
    let (seconds, cpu) = (clock.elapsed().as_secs_f64(), cpu::micros(&own)?.saturating_sub(cpu));
    let efficiency = efficiency(&network, &client, &own).await?;
    network.check()?;
    let about = network.about()?;
    Ok(json!({
        "bench": "throughput",
        "tasks": tasks,
        "tasks_per_s": rounded(f64::from(tasks) / seconds),
        "cpu_us_per_task": rounded(f64::from(u32::try_from(cpu)?) / f64::from(tasks)),
        "efficiency_4ms": efficiency,
        "rss_mib": cpu::peak_mib(network.coordinator_id())?,
        "durable": durable(&about),
        "database": about.pointer("/storage/database").cloned().unwrap_or_default(),
    }))
}

/// Of all processor time that tasks of some four milliseconds take, the share that their own code has: a loop in one process
/// would have no other.
async fn efficiency(network: &Network, client: &Client, own: &[u32]) -> anyhow::Result<f64> {
    note(format!("running {LONG_TASKS} tasks of some 4 ms"));
    let counter = AtomicU64::new(0);
    // Compiled before the clock starts.
    load::run_job(client, &load::long_job(WARM_UP)?, &counter).await?;
    let before = cpu::micros(own)?;
    let seen = load::run_job(client, &load::long_job(LONG_TASKS)?, &counter).await?;
    let all = cpu::micros(own)?.saturating_sub(before);
    let books = recount::read(&network.database()?).await?;
    let share =
        f64::from(u32::try_from(books.cpu_us(&seen.job.id().0))?) / f64::from(u32::try_from(all)?);
    Ok((share * 1e3).round() / 1e3)
}

/// Whether the coordinator's database says, when asked, that a commit survives the loss of power.
fn durable(about: &Value) -> bool {
    about.pointer("/storage/synchronous").and_then(Value::as_str) == Some("full")
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_coordinator_that_says_full_is_durable() {
        let said = |mode| json!({ "storage": { "synchronous": mode } });
        assert!(durable(&said("full")));
        assert!(!durable(&said("normal")) && !durable(&json!({})));
    }

    #[test]
    fn figures_have_one_decimal() {
        assert!((rounded(12.345) - 12.3).abs() < 1e-9);
    }
}
