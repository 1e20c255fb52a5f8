//! `cargo xtask takeover`: interrupts the one of three coordinators that serves, under load, and counts what was lost or
//! paid twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::crash::{Kept, await_result, follow};
use crate::database::{Database, Kind};
use crate::network::{self, Network};
use crate::say::{note, say};

/// Coordinators on one database.
const COORDINATORS: usize = 3;
/// Credit that the load's account gets.
const CREDITS: u64 = 2_000;
/// Required: longest time until another one serves, seconds.
const LONGEST: f64 = 10.0;

/// Options of `cargo xtask takeover`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often the one that serves is interrupted: stopped and killed by turns.
    #[arg(long, default_value_t = 50)]
    interruptions: u32,
    /// How long one is stopped, seconds.
    #[arg(long, default_value_t = 30)]
    stopped: u64,
    /// Tasks of each job of the load; jobs follow each other until the last interruption.
    #[arg(long, default_value_t = 20_000)]
    tasks: u32,
}

/// What the run came to.
#[derive(Debug, Default)]
struct Outcome {
    /// Until another one served.
    takeovers: Vec<Duration>,
    /// Until a client that knows all of them had the next result.
    results: Vec<Duration>,
    kept: Kept,
}

/// Interrupts, recounts, prints one line; anything lost, paid twice or astray, and a takeover that takes too long, is an
/// error.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(takeover(options))?;
    let line = line(&outcome)?;
    say(&line);
    outcome.kept.judge()?;
    let longest = seconds(&outcome.takeovers);
    ensure!(longest <= LONGEST, "a takeover took {longest} s, required are {LONGEST}");
    Ok(())
}

async fn takeover(options: &Options) -> anyhow::Result<Outcome> {
    let program = network::build(true)?;
    let folder = network::folder("takeover")?;
    let database = Database::start(Kind::Postgres)?;
    let address = database.address().context("the database has no address")?;
    let mut network = Network::start_group(&program, folder.path(), address, COORDINATORS)?;
    let client = network.customer("customer", CREDITS).await?;
    network.join_own("worker", 2, "customer")?;
    let (counter, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let load =
        tokio::spawn(follow(client, options.tasks, Arc::clone(&counter), Arc::clone(&enough)));
    let mut outcome = Outcome::default();
    let over = || load.is_finished();
    let interrupted = interrupt(&mut network, options, &counter, over, &mut outcome).await;
    enough.store(true, Ordering::Relaxed);
    // When the load failed, its own error says more than that of the interruptions, which then found nothing to wait for.
    let seen = load.await??;
    interrupted?;
    outcome.kept = Kept::of(&mut network, &seen).await?;
    Ok(outcome)
}

/// Stops the one that serves, kills the next one meanwhile, lets the first go on, and begins again.
async fn interrupt(
    network: &mut Network,
    options: &Options,
    counter: &AtomicU64,
    over: impl Fn() -> bool,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let mut stopped: Option<(usize, Instant)> = None;
    for number in 1..=options.interruptions {
        await_result(counter, &over).await.with_context(|| format!("before {number}"))?;
        let asleep: Vec<usize> = stopped.iter().map(|(it, _)| *it).collect();
        let owner = tokio::task::block_in_place(|| network.await_owner(&asleep))?;
        let began = Instant::now();
        let took = tokio::task::block_in_place(|| match stopped {
            None => network.suspend(owner),
            Some(_) => network.kill_owner(owner, &asleep),
        })?;
        await_result(counter, &over).await.with_context(|| format!("after {number}"))?;
        let how = if stopped.is_none() { "stopped" } else { "killed" };
        note(format!("{number}: {how}, another one served after {:.3} s", took.as_secs_f64()));
        outcome.takeovers.push(took);
        outcome.results.push(began.elapsed());
        stopped = match stopped {
            None => Some((owner, began)),
            Some(before) => {
                resume(network, options, before).await?;
                None
            }
        };
    }
    if let Some(before) = stopped {
        resume(network, options, before).await?;
    }
    await_result(counter, &over).await
}

/// Lets one go on once it was stopped for long enough.
async fn resume(
    network: &mut Network,
    options: &Options,
    (stopped, since): (usize, Instant),
) -> anyhow::Result<()> {
    let left = Duration::from_secs(options.stopped).saturating_sub(since.elapsed());
    tokio::time::sleep(left).await;
    tokio::task::block_in_place(|| network.resume(stopped))
}

fn seconds(times: &[Duration]) -> f64 {
    (times.iter().max().map_or(0.0, Duration::as_secs_f64) * 1e3).round() / 1e3
}

fn line(outcome: &Outcome) -> anyhow::Result<Value> {
    Ok(json!({
        "interruptions": outcome.takeovers.len(),
        "takeover_max_s": seconds(&outcome.takeovers),
        "result_max_s": seconds(&outcome.results),
        "acked": outcome.kept.acked,
        "lost": outcome.kept.lost,
        "double_paid": outcome.kept.findings.double_paid,
        "imbalance": i64::try_from(outcome.kept.findings.imbalance)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_keys_that_stay() {
        let takeovers = vec![Duration::from_millis(1_500), Duration::from_millis(4_250)];
        let line = line(&Outcome { takeovers, ..Outcome::default() }).unwrap();
        assert_eq!(line["interruptions"], 2);
        assert_eq!(line["takeover_max_s"], 4.25);
        assert_eq!((&line["lost"], &line["double_paid"]), (&json!(0), &json!(0)));
    }
}
