//! `cargo xtask hostile`: every guest that means harm, through a coordinator and two workers of different owners.
//!
//! The table of guests is `tests/hostile`. Each one is submitted as anybody would; what a coordinator refuses goes to the compile child
//! as well, as if another coordinator had handed it out. How long guests go on behind their limits, and what guests pay that cost as
//! much as they can, is measured by a program of the sandbox's (`sandbox/benches/hostile.rs`, which says what exactly is measured).

mod figures;
mod harms;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::json;
use tallymill_hostile::{Contained, Guest, benign, corpus};
use tallymill_protocol::{Limits, Policy};
use tallymill_sdk::{Client, Job, JobHandle};

use crate::network::{self, Network};
use crate::repo;
use crate::say::{note, say};
use figures::{Figures, Past};
use harms::Met;
use watch::Peak;

/// Credit that the account of the guests' submitter gets.
const CREDITS: u64 = 1_000;
/// Most milliseconds that a guest may go on behind its limit.
const MOST_PAST: f64 = 50.0;
/// Least share of an ordinary price that a guest pays for its time, or is turned away: T10's factor two.
const LEAST_PAID: f64 = 0.5;
/// Below this share none may run to its end: what is between depends on the machine's mood.
const SURELY_AWAY: f64 = 0.4;
/// Most seconds that a guest uses and does not pay for before it is turned away, by workers that are patient for one.
const MOST_LOST: f64 = 2.0;
/// How far what workers take for ordinary may be from what is measured here.
const TAKEN_FOR: std::ops::RangeInclusive<f64> = 0.75..=1.33;

/// What came of a guest.
struct Seen {
    guest: Guest,
    /// How it was contained, in the words of whoever did it; an error when it was not.
    contained: Result<String, String>,
    /// The most memory that a child held while the guest was there, MiB.
    peak_mib: u64,
}

/// Runs everything; an error when something was not contained, went on too long, or pays too little.
pub(crate) fn run() -> anyhow::Result<()> {
    let figures = figures::measure()?;
    let program = network::build(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (seen, alive) = runtime.block_on(besiege(&program))?;
    let met = runtime.block_on(harms::meet(&program, &figures, LEAST_PAID))?;
    table(&seen, &figures, &met);
    let contained = seen.iter().filter(|seen| seen.contained.is_ok()).count();
    let worst = figures.worst();
    let lost: Vec<f64> = met.iter().filter_map(|met| met.lost).collect();
    let stayed = met.iter().filter(|met| met.lost.is_none()).map(|met| met.pays);
    say(json!({
        "bench": "hostile",
        "guests": seen.len(),
        "contained": contained,
        "worst_ms_past_limit": figures::rounded(worst.1),
        "worst_by": worst.0,
        "worker_alive": alive,
        "paying_too_little": met.len(),
        "turned_away": lost.len(),
        "worst_lost_s": figures::rounded(lost.iter().copied().fold(0.0, f64::max)),
        "least_paid": figures::rounded(stayed.fold(LEAST_PAID, f64::min)),
        "ordinary_taken_for": figures::rounded(figures.taken_for),
    }));
    harms::judge(&met, SURELY_AWAY, MOST_LOST)?;
    ensure!(
        TAKEN_FOR.contains(&figures.taken_for),
        "workers take {:.2} of the ordinary price for it",
        figures.taken_for
    );
    judge((contained, seen.len()), worst, alive)
}

/// Every figure that is missed is named.
fn judge(
    (contained, guests): (usize, usize),
    worst: (&str, f64),
    alive: bool,
) -> anyhow::Result<()> {
    let mut missed = Vec::new();
    if contained < guests {
        missed.push(format!("{} guests are not contained", guests - contained));
    }
    if worst.1 > MOST_PAST {
        missed.push(format!("{} went on for {:.1} ms, at most {MOST_PAST}", worst.0, worst.1));
    }
    if !alive {
        missed.push("a worker died or does no honest work any more".to_owned());
    }
    if missed.is_empty() { Ok(()) } else { bail!("{}", missed.join("; ")) }
}

async fn besiege(program: &Path) -> anyhow::Result<(Vec<Seen>, bool)> {
    let folder = network::folder("hostile")?;
    let mut network = Network::start(program, folder.path())?;
    let client = network.customer("customer", CREDITS).await?;
    (1..=2).try_for_each(|number| network.join(&format!("worker-{number}"), 1))?;
    let mut seen = Vec::new();
    for guest in corpus() {
        note(format!("{}: {}", guest.name, guest.tries));
        let peak = Peak::watch();
        let contained = meet(program, folder.path(), &client, &guest).await;
        let contained = contained.map_err(|error| format!("{error:#}"));
        seen.push(Seen { guest, contained, peak_mib: peak.mib() });
        network.check()?;
    }
    let alive = honest(&client).await.inspect_err(|error| note(format!("error: {error:#}")));
    network.check()?;
    Ok((seen, alive.is_ok()))
}

/// How a guest is contained, in words.
async fn meet(
    program: &Path,
    folder: &Path,
    client: &Client,
    guest: &Guest,
) -> anyhow::Result<String> {
    let submitted = client.submit(&job(guest.module(), guest.limits())).await;
    match (guest.contained.is_accepted(), submitted) {
        (false, Ok(_)) => bail!("a coordinator took it"),
        (true, Err(error)) => Err(error).context("a coordinator refused it"),
        (true, Ok(job)) => ended(guest, &job).await,
        (false, Err(error)) => {
            let said = error.to_string();
            ensure!(guest.contained.is_refusal(&said), "refused otherwise: {said}");
            handed_out(program, folder, guest)?;
            Ok(guest.contained.phrase())
        }
    }
}

fn job(module: Vec<u8>, limits: Limits) -> Job {
    Job::new(module).title("hostile").limits(limits).policy(Policy::Quorum { n: 2 })
}

/// What its owner reads in the end.
async fn ended(guest: &Guest, job: &JobHandle) -> anyhow::Result<String> {
    let result = job.results().next().await?.context("no result")?;
    match (guest.contained.failure(), result.failure) {
        (None, None) => Ok(guest.contained.phrase()),
        (Some(why), Some(said)) if said.contains(&why) => {
            if guest.contained == Contained::NotCompiled {
                return reason(job).await;
            }
            Ok(said)
        }
        (_, said) => bail!("its owner reads {said:?}"),
    }
}

/// What its owner reads of the runs that were void.
async fn reason(job: &JobHandle) -> anyhow::Result<String> {
    let task = job.task(0).await?;
    let detail = task.pointer("/voids/0/detail").and_then(serde_json::Value::as_str);
    detail.map(str::to_owned).context("its owner is not told why")
}

/// A module that no coordinator takes, in a compile child of the program.
fn handed_out(program: &Path, folder: &Path, guest: &Guest) -> anyhow::Result<()> {
    let file = folder.join(guest.name).with_extension("wasm");
    std::fs::write(&file, guest.module())?;
    let mut run = repo::command(program);
    let out = run.arg("run").arg(&file).stdin(std::process::Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(!out.status.success(), "the compile child took it");
    ensure!(guest.contained.is_refusal(&said), "the compile child refused it otherwise: {said}");
    Ok(())
}

/// The workers still do what they are for.
async fn honest(client: &Client) -> anyhow::Result<()> {
    let limits = Limits { fuel: 1_000_000, ..Limits::default() };
    let job = client.submit(&job(benign(), limits).range(7, 3)).await?;
    let mut results = job.results();
    let mut outputs = BTreeMap::new();
    while let Some(result) = results.next().await? {
        outputs.insert(result.task, result.output.unwrap_or_default());
    }
    let right = (0..3).map(|task| (task, format!("{}\n", task + 7).into_bytes())).collect();
    ensure!(outputs == right, "the benign job came to {outputs:?}");
    Ok(())
}

fn table(seen: &[Seen], figures: &Figures, met: &[Met]) {
    note(format!("{:26} {:9} {:>5}  contained by", "guest", "past, ms", "MiB"));
    for Seen { guest, contained, peak_mib } in seen {
        // Whoever refuses may be gone before anybody looks.
        let peak = if *peak_mib == 0 { "-".to_owned() } else { peak_mib.to_string() };
        let past = figures.past.get(guest.name).map_or("-".to_owned(), Past::to_string);
        let by = contained.as_ref().map_or_else(
            |error| format!("NOT CONTAINED: {error}"),
            |said| format!("{said} ({})", guest.by),
        );
        note(format!("{:26} {past:9} {peak:>5}  {by}", guest.name));
    }
    note(format!("{:26} {:>11}  lost, s", "costly guest", "pays"));
    for (name, pays) in &figures.harms {
        let lost = met.iter().find(|met| met.name == name).and_then(|met| met.lost);
        let lost = lost.map_or("-".to_owned(), |lost| format!("{lost:.1}"));
        note(format!("{name:26} {pays:11.6}  {lost:>7}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missed_figure_is_named() {
        assert!(judge((3, 3), ("a", 50.0), true).is_ok());
        let missed = |contained, worst, alive| {
            judge((contained, 3), ("a", worst), alive).unwrap_err().to_string()
        };
        assert_eq!(missed(2, 1.0, true), "1 guests are not contained");
        assert_eq!(missed(3, 50.1, true), "a went on for 50.1 ms, at most 50");
        assert!(missed(3, 1.0, false).contains("worker died"));
    }
}
