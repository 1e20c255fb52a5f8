//! How long a large job takes to be accepted, what it leaves behind when it is done, and how soon it can be stopped.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tallymill_sdk::{Client, JobHandle};

use super::rounded;
use crate::database::Place;
use crate::network::Network;
use crate::say::note;
use crate::{cpu, load, network};

/// Credit that the jobs' account gets.
const CREDITS: u64 = 1_000;
/// Bytes of each input.
const INPUT: usize = 64;
/// Required: seconds until a table, a range and a cancellation are answered for; MiB of the coordinator; bytes per task on disk.
pub(super) const MOST: [(&str, f64); 5] = [
    ("accept_s", 3.0),
    ("accept_range_s", 0.1),
    ("cancel_s", 1.0),
    ("rss_mib", 300.0),
    ("db_bytes_per_task", 400.0),
];

/// Submits a table of `tasks` inputs, and a range of as many and another table that are cancelled; runs the first to its end.
pub(super) async fn run(tasks: u32) -> anyhow::Result<Value> {
    let program = network::build(true)?;
    let folder = network::folder("submit")?;
    let mut network = Network::start(&program, folder.path())?;
    let client = network.customer("customer", CREDITS).await?;
    // The module is there before the clock starts, as it is for whoever submits a second job.
    client.submit(&load::job(1)?).await?;
    let (range_s, range) = timed(&client, &load::job(tasks)?).await?;
    // What its tasks would leave behind is not to be taken for what those of the table do.
    range.cancel("it was only to be accepted").await?;
    let (_, unwanted) = timed(&client, &table(tasks, 1)?).await?;
    let clock = Instant::now();
    unwanted.cancel("the measurement is over").await?;
    let cancel_s = clock.elapsed().as_secs_f64();
    let (accept_s, job) = timed(&client, &table(tasks, 0)?).await?;
    note(format!("accepted in {accept_s:.2} s; now {tasks} tasks run"));
    let file = database(&network)?;
    let before = bytes(&file)?;
    network.join_own("worker", 2, "customer")?;
    let counter = AtomicU64::new(0);
    let expected = |task: u32| input(0, task);
    load::collect(&job, tasks, &counter, &expected).await?;
    network.check()?;
    let grown = bytes(&file)? - before;
    Ok(json!({
        "bench": "submit",
        "tasks": tasks,
        "accept_s": thousandths(accept_s),
        "accept_range_s": thousandths(range_s),
        "cancel_s": thousandths(cancel_s),
        "rss_mib": cpu::resident_mib(network.coordinator_id())?,
        "db_bytes_per_task": rounded(grown / f64::from(tasks)),
    }))
}

fn database(network: &Network) -> anyhow::Result<PathBuf> {
    match network.database()? {
        Place::File(file) => Ok(file),
        Place::Server(_) => bail!("the size of a server's database is not measured"),
    }
}

/// Seconds from the first byte sent to the answer.
async fn timed(client: &Client, job: &tallymill_sdk::Job) -> anyhow::Result<(f64, JobHandle)> {
    let clock = Instant::now();
    let handle = client.submit(job).await?;
    Ok((clock.elapsed().as_secs_f64(), handle))
}

fn table(tasks: u32, salt: u8) -> anyhow::Result<tallymill_sdk::Job> {
    let job = load::job(1)?.inputs((0..tasks).map(|task| input(salt, task)));
    job.context("the inputs make no table")
}

/// An input that no other task has, of a fixed length.
fn input(salt: u8, task: u32) -> Vec<u8> {
    let mut input = format!("{salt} {task} ").into_bytes();
    input.resize(INPUT, b'.');
    input
}

/// Size of the database with what is in its log, bytes.
fn bytes(file: &Path) -> anyhow::Result<f64> {
    let mut sum = 0;
    for suffix in ["", "-wal"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        sum += std::fs::metadata(&name).map_or(0, |found| found.len());
    }
    ensure!(sum > 0, "{} is empty", file.display());
    Ok(f64::from(u32::try_from(sum / 1024)?) * 1024.0)
}

fn thousandths(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_distinct_and_equally_long() {
        let all: std::collections::BTreeSet<_> = (0..1000).map(|task| input(0, task)).collect();
        assert!(all.len() == 1000 && all.iter().all(|input| input.len() == INPUT));
        assert_ne!(input(0, 7), input(1, 7));
    }

    #[test]
    fn a_database_is_as_large_as_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.db");
        assert!(bytes(&file).is_err());
        std::fs::write(&file, [0; 4096]).unwrap();
        std::fs::write(folder.path().join("x.db-wal"), [0; 2048]).unwrap();
        assert!((bytes(&file).unwrap() - 6144.0).abs() < 1e-9);
    }
}
