//! How long one small task takes from its submission to its verified result, on a network that does nothing else.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use crate::network::Network;
use crate::say::note;
use crate::stats::percentile;
use crate::{load, network};

/// Credit that the tasks' account gets.
const CREDITS: u64 = 100;
/// Tasks before the clock starts: the worker has joined and the module is compiled.
const WARM_UP: u32 = 20;
/// Time in which the network comes to rest between two tasks.
const REST: Duration = Duration::from_millis(20);
/// Syncs of the disk that are measured, each of one page.
const SYNCS: usize = 50;
const PAGE: [u8; 4096] = [0x5a; 4096];
/// Required of the median and of the worst in a hundred, ms.
pub(super) const MOST: [f64; 2] = [20.0, 100.0];

/// Submits one task after the other.
pub(super) async fn run(tasks: u32) -> anyhow::Result<Value> {
    let program = network::build(true)?;
    let folder = network::folder("latency")?;
    let mut network = Network::start(&program, folder.path())?;
    let client = network.customer("customer", CREDITS).await?;
    network.join_own("worker", 2, "customer")?;
    let job = load::job(1)?;
    let mut times = Vec::new();
    note(format!("{tasks} tasks, one after the other"));
    for round in 0..WARM_UP + tasks {
        let clock = Instant::now();
        let handle = client.submit(&job).await?;
        let result = handle.results().next().await?.context("no result")?;
        let took = clock.elapsed();
        load::check(&result)?;
        if round >= WARM_UP {
            times.push(took);
        }
        tokio::time::sleep(REST).await;
    }
    network.check()?;
    let milliseconds = |percent| super::rounded(percentile(&times, percent) * 1e3);
    Ok(json!({
        "bench": "latency",
        "tasks": tasks,
        "p50_ms": milliseconds(50),
        "p99_ms": milliseconds(99),
        "fsync_ms": super::rounded(sync_time(folder.path())?.as_secs_f64() * 1e3),
    }))
}

/// The median time of writing a page and syncing it, where the coordinator's database lies.
fn sync_time(folder: &Path) -> anyhow::Result<Duration> {
    let mut file = File::create(folder.join("sync"))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let clock = Instant::now();
        file.write_all(&PAGE)?;
        file.sync_data()?;
        times.push(clock.elapsed());
    }
    Ok(Duration::from_secs_f64(percentile(&times, 50)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncing_takes_time() {
        let folder = tempfile::tempdir().unwrap();
        assert!(sync_time(folder.path()).unwrap() > Duration::ZERO);
    }
}
