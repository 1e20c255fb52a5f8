//! `cargo xtask crash`: kills the coordinator at random moments under load and counts what was lost or paid twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use example_inputs::draw;
use serde_json::{Value, json};
use tallymill_sdk::Client;

use crate::database::{Database, Kind};
use crate::load::{self, Seen};
use crate::network;
use crate::network::{Network, PATIENCE};
use crate::recount::{self, Findings};
use crate::say::{note, say};
use crate::stats::percentile;

/// Credit that the load's account gets; its jobs hold 10 credits each.
const CREDITS: u64 = 1_000;
/// A kill comes at most this long after the first result since the last one, milliseconds.
const LATEST: u64 = 1_000;
/// Tasks of each job that the database is filled with, and how many of those are finished.
const PART: u32 = 1_000_000;
const FINISHED: u32 = 5;
/// How long results that wait for a second host may take to come.
const FILLING: Duration = Duration::from_secs(900);
/// Pause between two looks at the count of results.
const LOOK: Duration = Duration::from_millis(2);

/// Options of `cargo xtask crash`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often the coordinator is killed.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Tasks of each job of the load; jobs follow each other until the last kill.
    #[arg(long, default_value_t = 100_000)]
    tasks: u32,
    /// Fill the database before the first kill with 5,000,000 finished results and 1,000,000 that wait for another host's.
    #[arg(long)]
    preload: bool,
    /// Chooses the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The coordinator's database.
    #[arg(long, value_enum, default_value = "sqlite")]
    database: Kind,
}

/// What the run came to.
#[derive(Debug, Default)]
struct Outcome {
    ready: Vec<Duration>,
    kept: Kept,
}

/// Kills, recounts, prints one line; anything lost, paid twice or astray is an error.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(crash(options))?;
    say(line(&outcome)?);
    outcome.kept.judge()
}

async fn crash(options: &Options) -> anyhow::Result<Outcome> {
    let program = network::build(true)?;
    let folder = network::folder("crash")?;
    let database = Database::start(options.database)?;
    let mut network = Network::start_on(&program, folder.path(), database.address())?;
    let client = network.customer("customer", CREDITS).await?;
    network.join_own("worker", 2, "customer")?;
    if options.preload {
        preload(&mut network, &client).await?;
    }
    let (counter, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let load =
        tokio::spawn(follow(client, options.tasks, Arc::clone(&counter), Arc::clone(&enough)));
    let killed = kill(&mut network, options, &counter, || load.is_finished()).await;
    enough.store(true, Ordering::Relaxed);
    // When the load failed, its own error says more than that of the kills, which then found nothing to wait for.
    let seen = load.await?;
    let (seen, ready) = (seen?, killed?);
    Ok(Outcome { ready, kept: Kept::of(&mut network, &seen).await? })
}

/// What is left of what clients and workers were told.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Results that clients were given.
    pub(crate) acked: usize,
    /// Those that are no longer there, or have changed, and payments that workers were told of and that were not made.
    pub(crate) lost: usize,
    /// What the books say.
    pub(crate) findings: Findings,
}

impl Kept {
    /// Reads every result again, stops the network, and counts its books.
    pub(crate) async fn of(network: &mut Network, seen: &[Seen]) -> anyhow::Result<Self> {
        let mut kept = Self::default();
        for Seen { job, results } in seen {
            kept.acked += results.len();
            kept.lost += load::lost(results, &load::read_again(job).await?);
        }
        network.check()?;
        let told = told(network)?;
        network.stop()?;
        let books = recount::read(&network.database()?).await?;
        kept.lost += usize::try_from(told.saturating_sub(books.paid()))?;
        kept.findings = books.findings();
        Ok(kept)
    }

    /// Fails when anything was lost, paid twice or is astray.
    pub(crate) fn judge(&self) -> anyhow::Result<()> {
        let Findings { double_paid, unpaid, imbalance } = self.findings;
        ensure!(self.lost == 0, "{} acknowledged results were lost", self.lost);
        ensure!(double_paid == 0, "{double_paid} payments were made twice");
        ensure!(unpaid == 0, "{unpaid} micro-credits that receipts justify were not paid");
        ensure!(imbalance == 0, "balances are astray by {imbalance} micro-credits");
        Ok(())
    }
}

/// Fills the database: with results that are finished, and with as many that wait for a second host, which never comes.
async fn preload(network: &mut Network, client: &Client) -> anyhow::Result<()> {
    for part in 1..=FINISHED {
        let seen = load::run(client, PART, &AtomicU64::new(0)).await?;
        ensure!(seen.results.len() == PART as usize, "a job of the preload is not finished");
        note(format!("preloaded {part} of {FINISHED} million finished results"));
    }
    // A payer's own machines get none of what has to be agreed on.
    network.join("stranger", 2)?;
    let before = network.receipts()?;
    client.submit(&load::job(PART)?.quorum(2)).await?;
    let (wanted, began) = (before + u64::from(PART), Instant::now());
    while network.receipts()? < wanted {
        ensure!(began.elapsed() < FILLING, "results that wait did not come within {FILLING:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    note("preloaded 1 million results that wait");
    Ok(())
}

/// Results that workers were told are theirs to be paid for: they have dropped them from their outboxes.
fn told(network: &Network) -> anyhow::Result<u64> {
    let credited = |volunteer| {
        let status = network.status(volunteer)?;
        status
            .get("credited")
            .and_then(Value::as_u64)
            .context("a worker's status has no 'credited'")
    };
    network.volunteers.iter().map(credited).sum()
}

/// One job of the load after the other, until there were enough kills.
pub(crate) async fn follow(
    client: Client,
    tasks: u32,
    counter: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        seen.push(load::run(&client, tasks, &counter).await?);
    }
    Ok(seen)
}

/// Kills and restarts; each time only after results have come since the last time, so that there is load.
async fn kill(
    network: &mut Network,
    options: &Options,
    counter: &AtomicU64,
    over: impl Fn() -> bool,
) -> anyhow::Result<Vec<Duration>> {
    let mut ready = Vec::new();
    let mut random = options.seed;
    for kill in 1..=options.kills {
        await_result(counter, &over).await.with_context(|| format!("before kill {kill}"))?;
        tokio::time::sleep(Duration::from_millis(draw(&mut random) % LATEST)).await;
        let took = tokio::task::block_in_place(|| network.crash())?;
        note(format!("kill {kill}: ready again after {:.3} s", took.as_secs_f64()));
        ready.push(took);
    }
    Ok(ready)
}

pub(crate) async fn await_result(
    counter: &AtomicU64,
    over: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let (before, began) = (counter.load(Ordering::Relaxed), Instant::now());
    while counter.load(Ordering::Relaxed) == before {
        ensure!(!over(), "the load ended");
        ensure!(began.elapsed() < PATIENCE, "no result came within {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn line(outcome: &Outcome) -> anyhow::Result<Value> {
    Ok(json!({
        "kills": outcome.ready.len(),
        "acked": outcome.kept.acked,
        "lost": outcome.kept.lost,
        "double_paid": outcome.kept.findings.double_paid,
        "imbalance": i64::try_from(outcome.kept.findings.imbalance)?,
        "ready_p99_s": (percentile(&outcome.ready, 99) * 1e3).round() / 1e3,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_exactly_the_keys_that_stay() {
        let line =
            line(&Outcome { ready: vec![Duration::from_millis(1_500)], ..Outcome::default() });
        let expected =
            r#"{"acked":0,"double_paid":0,"imbalance":0,"kills":1,"lost":0,"ready_p99_s":1.5}"#;
        assert_eq!(line.unwrap().to_string(), expected);
    }

    #[tokio::test]
    async fn waiting_for_results_ends_with_the_load() {
        let error = await_result(&AtomicU64::new(0), || true).await.unwrap_err();
        assert_eq!(error.to_string(), "the load ended");
    }
}
