//! Guests that cost as much as they can, through two workers: what pays too little is turned away before it has cost much.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tallymill_hostile::{Harm, harms};
use tallymill_protocol::{Limits, Policy};
use tallymill_sdk::{Client, Job, JobHandle};

use super::figures::Figures;
use super::reason;
use crate::network::{self, Network};
use crate::say::note;

/// Seconds of processor time that the workers here are patient for.
const PATIENCE: &str = "1";
/// What the fuel of each guest would take of ordinary processor time, ns: enough for one that pays a little less than half to use
/// up the patience.
const ORDINARY_NS: f64 = 8e9;
/// How often its submitter looks what became of a guest.
const LOOK: Duration = Duration::from_millis(200);
/// Credits that each guest's submitter gets.
const CREDITS: u64 = 10_000;

/// What became of a guest that pays less than half.
pub(super) struct Met {
    pub(super) name: &'static str,
    pub(super) pays: f64,
    /// Processor time that it used and did not pay for when it was turned away, s; `None` when it was not.
    pub(super) lost: Option<f64>,
}

/// Sends everything that pays less than `least` to two workers of different owners, each guest as another submitter's.
pub(super) async fn meet(
    program: &Path,
    figures: &Figures,
    least: f64,
) -> anyhow::Result<Vec<Met>> {
    let folder = network::folder("harms")?;
    let mut network = Network::start(program, folder.path())?;
    for number in 1..=2 {
        network.join_as(&format!("worker-{number}"), 1, &["--patience", PATIENCE])?;
    }
    let fuel = figures.fuel_of(ORDINARY_NS)?;
    let mut met = Vec::new();
    for harm in harms() {
        let pays = figures.pays(harm.name)?;
        if pays >= least {
            continue;
        }
        let client = network.customer(harm.name, CREDITS).await?;
        let lost = one(&client, &harm, fuel).await.context(harm.name)?;
        let said =
            lost.map_or("ran to its end".to_owned(), |s| format!("turned away {s:.1} s late"));
        note(format!("{}: {}: {said}", harm.name, harm.does));
        met.push(Met { name: harm.name, pays, lost });
        network.check()?;
    }
    Ok(met)
}

async fn one(client: &Client, harm: &Harm, fuel: u64) -> anyhow::Result<Option<f64>> {
    let limits = Limits { fuel, ..Limits::default() };
    let job = Job::new(harm.module()).title("harm").limits(limits).policy(Policy::Quorum { n: 2 });
    let job = (0..16).fold(job, |job, n| job.env(&format!("V{n:02}"), &"x".repeat(4_000)));
    let job: JobHandle = client.submit(&job).await?;
    let mut results = job.results();
    let mut ended = std::pin::pin!(results.next());
    loop {
        tokio::select! {
            result = &mut ended => {
                let failure = result?.context("no result")?.failure.context("it came to an end")?;
                ensure!(failure.contains("fuel"), "its owner reads: {failure}");
                return Ok(None);
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        // Who is turned away waits for other workers.
        let why = reason(&job).await.unwrap_or_default();
        if let Some(lost) = lost(&why) {
            job.cancel("the measurement is over").await?;
            return Ok(Some(lost));
        }
    }
}

/// Seconds used and not paid for, from what a worker says when it turns a job away.
fn lost(said: &str) -> Option<f64> {
    let seconds = |before: &str| -> Option<f64> {
        let (_, behind) = said.split_once(before)?;
        behind.split_once(" s")?.0.parse().ok()
    };
    Some(seconds("it used ")? - seconds("paid for ")?)
}

/// Every guest that costs more than it may.
pub(super) fn judge(met: &[Met], sure: f64, most: f64) -> anyhow::Result<()> {
    for Met { name, pays, lost } in met {
        // Whether one that pays nearly enough is turned away depends on the machine's mood.
        let unseen = lost.is_none() && *pays < sure;
        ensure!(!unseen, "{name} pays {pays:.6} of the ordinary price and is not turned away");
        let lost = lost.unwrap_or(0.0);
        ensure!(lost <= most, "{name} was turned away after {lost:.1} s, at most {most}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_read_from_the_workers_words() {
        let said = "it used 3.1 s of processor time and paid for 2.0 s, at the least that";
        assert!((lost(said).unwrap() - 1.1).abs() < 1e-9);
        assert_eq!(lost("the child died"), None);
    }

    #[test]
    fn guests_are_turned_away_in_time_or_named() {
        let met = |pays, lost| [Met { name: "a", pays, lost }];
        assert!(judge(&met(0.01, Some(1.2)), 0.4, 2.0).is_ok());
        assert!(judge(&met(0.45, None), 0.4, 2.0).is_ok());
        let missed = |pays, lost| judge(&met(pays, lost), 0.4, 2.0).unwrap_err().to_string();
        assert!(missed(0.39, None).contains("is not turned away"));
        assert!(missed(0.45, Some(2.1)).contains("after 2.1 s"));
    }
}
