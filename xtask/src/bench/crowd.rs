//! Ten thousand hosts at one coordinator: connected and idle, or at work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tallymill_protocol::Keypair;
use tallymill_sdk::{Client, KeyFile};

use super::rounded;
use crate::network::Network;
use crate::say::note;
use crate::swarm::{Host, Place, Told};
use crate::{cpu, load, network};

/// Hosts of one owner: an account may have no more.
const OF_ONE_OWNER: u32 = 1_000;
/// Joins under way at the same time.
const JOINS: usize = 64;
/// Credit of each owner.
const CREDITS: u64 = 1_000;
/// Descriptors besides one for each host.
const DESCRIPTORS: u64 = 1_000;
/// Time in which everybody connects, and in which is measured.
const SETTLE: Duration = Duration::from_secs(5);
const MEASURE: Duration = Duration::from_secs(60);
/// Time in which idle hosts are measured: each of them calls twice.
const WAITS: Duration = Duration::from_secs(90);
/// Time of one synthetic task, and until leases have grown.
const TASK: Duration = Duration::from_secs(2);
const GROW: Duration = Duration::from_secs(60);
/// Required of idle hosts, each: memory and processor time a second of the coordinator.
pub(super) const MOST_IDLE: [(&str, f64); 2] =
    [("kib_per_worker", 40.0), ("cpu_us_per_s_per_worker", 5.0)];
/// Required of hosts at work, all together: cores of the coordinator.
pub(super) const MOST_ACTIVE: [(&str, f64); 1] = [("cores", 1.0)];

/// A network of so many hosts that have joined and are not connected yet, and the owners' clients.
struct Crowd {
    network: Network,
    hosts: Vec<Host>,
    owners: Vec<Client>,
    /// Where the coordinator's files are, as long as this lives.
    folder: tempfile::TempDir,
}

async fn gather(count: u32) -> anyhow::Result<Crowd> {
    let program = network::build(true)?;
    allow_descriptors(u64::from(count) + DESCRIPTORS)?;
    let folder = network::folder("crowd")?;
    let network = Network::start(&program, folder.path())?;
    let place = Arc::new(Place::find(&network.url()).await?);
    let (mut hosts, mut owners) = (Vec::new(), Vec::new());
    for first in (0..count).step_by(OF_ONE_OWNER as usize) {
        let name = format!("owner-{first}");
        owners.push(network.customer(&name, CREDITS).await?);
        let key = KeyFile::load(&folder.path().join(name).with_extension("key"))?;
        let owner: &Keypair = key.pair();
        let numbers = first..count.min(first + OF_ONE_OWNER);
        let joins = numbers.map(|number| Host::join(place.clone(), owner, number));
        let joined: Vec<Host> = stream::iter(joins).buffer_unordered(JOINS).try_collect().await?;
        hosts.extend(joined);
        note(format!("{} hosts joined", hosts.len()));
    }
    Ok(Crowd { network, hosts, owners, folder })
}

/// Every connection takes a descriptor here and one in the coordinator, which inherits the limit.
fn allow_descriptors(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    ensure!(most >= wanted, "{wanted} descriptors are needed and {most} allowed: see `ulimit -Hn`");
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).context("failed to allow more descriptors")?;
    }
    Ok(())
}

/// What so many hosts cost that wait for work which does not come.
pub(super) async fn idle(count: u32) -> anyhow::Result<Value> {
    let Crowd { mut network, hosts, owners: _owners, folder: _folder } = gather(count).await?;
    let coordinator = network.coordinator_id();
    let before = cpu::resident_kib(coordinator)?;
    let waiting: Vec<_> = hosts.into_iter().map(|host| tokio::spawn(host.idle())).collect();
    tokio::time::sleep(SETTLE).await;
    let (cpu, clock) = (cpu::micros(&[coordinator])?, Instant::now());
    tokio::time::sleep(WAITS).await;
    let (cpu, seconds) = (cpu::micros(&[coordinator])? - cpu, clock.elapsed().as_secs_f64());
    let memory = cpu::resident_kib(coordinator)?.saturating_sub(before);
    for host in waiting {
        if host.is_finished() {
            host.await?.context("a host did not stay connected")?;
        } else {
            host.abort();
        }
    }
    network.check()?;
    let each = |figure: u64| -> anyhow::Result<f64> {
        Ok(f64::from(u32::try_from(figure)?) / f64::from(count))
    };
    Ok(json!({
        "bench": "idle",
        "workers": count,
        "kib_per_worker": rounded(each(memory)?),
        "cpu_us_per_s_per_worker": rounded(each(cpu)? / seconds),
    }))
}

/// What so many hosts cost that run tasks of two seconds and report them.
pub(super) async fn active(count: u32) -> anyhow::Result<Value> {
    let Crowd { mut network, hosts, owners, folder: _folder } = gather(count).await?;
    let coordinator = network.coordinator_id();
    // Twice what they can do in this time, so that nobody ever waits.
    let seconds = (GROW + MEASURE).as_secs() / TASK.as_secs();
    let tasks = 2 * u32::try_from(seconds)? * count.div_ceil(u32::try_from(owners.len())?);
    for owner in &owners {
        owner.submit(&load::job(tasks)?).await?;
    }
    let until = tokio::time::Instant::now() + GROW + MEASURE;
    let working: Vec<_> =
        hosts.into_iter().map(|host| tokio::spawn(host.work(TASK, until))).collect();
    tokio::time::sleep(GROW).await;
    let (cpu, clock) = (cpu::micros(&[coordinator])?, Instant::now());
    let before = settled(&owners).await?;
    tokio::time::sleep(MEASURE - TASK).await;
    let (cpu, took) = (cpu::micros(&[coordinator])? - cpu, clock.elapsed().as_secs_f64());
    let tasks = settled(&owners).await? - before;
    let mut told = Told::default();
    for host in working {
        let Told { reports, tasks, leases } = host.await?;
        told.reports += reports;
        told.tasks += tasks;
        told.leases += leases;
    }
    network.check()?;
    ensure!(told.leases > 0 && told.reports > 0, "nobody worked");
    let number = |figure: u64| u32::try_from(figure).map(f64::from);
    let all = (GROW + MEASURE).as_secs_f64();
    Ok(json!({
        "bench": "active",
        "hosts": count,
        "cores": (number(cpu)? / took / 1e4).round() / 1e2,
        "reports_per_s": rounded(number(told.reports)? / all),
        "tasks_per_s": rounded(number(tasks)? / took),
        "tasks_per_lease": rounded(number(told.tasks)? / number(told.leases)?),
        "lease_s": rounded(number(told.tasks)? / number(told.leases)? * TASK.as_secs_f64()),
    }))
}

/// Tasks that are decided, of all owners' jobs.
async fn settled(owners: &[Client]) -> anyhow::Result<u64> {
    let mut sum = 0;
    for owner in owners {
        for job in owner.jobs(None).await?.items {
            sum += u64::from(job.decided());
        }
    }
    Ok(sum)
}
