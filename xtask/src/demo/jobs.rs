//! The demo's two jobs: submitted together, followed to their end, their outputs collected.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tallymill_protocol::Limits;
use tallymill_sdk::model::JobView;
use tallymill_sdk::{Client, Job, JobHandle, Order};

use crate::network::Network;
use crate::say::say;
use crate::{guests, repo};

/// Owners that must agree on each result.
const QUORUM: u8 = 2;
/// Most that each job may cost, micro-credits.
const BUDGET: u64 = 5_000_000_000;
/// Fuel limit of one `mersenne` task, about three times what the dearest exponent uses.
const MERSENNE_FUEL: u64 = 2_500_000_000;
/// Fuel limit of one `align` task, several times what a window uses.
const ALIGN_FUEL: u64 = 50_000_000_000;
/// Pause between two looks at the totals.
const LOOK: Duration = Duration::from_millis(500);
/// Longest time without a decision before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(180);

/// A job that is over, and what it gave.
pub(super) struct Done {
    /// The example.
    pub(super) name: &'static str,
    /// The job.
    pub(super) handle: JobHandle,
    /// Its totals at the end.
    pub(super) view: JobView,
    /// Every output in the order of the tasks.
    pub(super) outputs: Vec<Vec<u8>>,
    /// What the example's expected.json says.
    pub(super) expected: Value,
}

impl Done {
    /// Tasks whose receipts are looked at: the first, one of the middle and the last.
    pub(super) fn sample(&self) -> [usize; 3] {
        let last = self.outputs.len().saturating_sub(1);
        [0, last / 2, last]
    }
}

/// Submits both jobs and waits until every task of both is decided.
pub(super) async fn run(network: &mut Network, client: &Client) -> anyhow::Result<[Done; 2]> {
    let mersenne = client.submit(&mersenne()?).await.context("failed to submit mersenne")?;
    say(format!("submitted mersenne, job {}", mersenne.id()));
    let align = client.submit(&align()?).await.context("failed to submit align")?;
    say(format!("submitted align, job {}", align.id()));
    follow(network, [&mersenne, &align]).await?;
    Ok([done("mersenne", mersenne).await?, done("align", align).await?])
}

fn mersenne() -> anyhow::Result<Job> {
    let (first, last) = (*example_inputs::EXPONENTS.start(), *example_inputs::EXPONENTS.end());
    Ok(job("mersenne", MERSENNE_FUEL)?.range(u64::from(first), last - first + 1))
}

fn align() -> anyhow::Result<Job> {
    let mut job = job("align", ALIGN_FUEL)?.inputs(example_inputs::align())?;
    for example in example_inputs::all().into_iter().filter(|example| example.name == "align") {
        job = example.files.into_iter().fold(job, |job, (name, bytes)| job.file(name, bytes));
    }
    Ok(job)
}

fn job(name: &str, fuel: u64) -> anyhow::Result<Job> {
    let path = guests::folder().join(name).with_extension("wasm");
    let module =
        std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let limits = Limits { fuel, ..Limits::default() };
    Ok(Job::new(module).title(name).limits(limits).quorum(QUORUM).budget(BUDGET))
}

/// Prints progress until both are over.
async fn follow(network: &mut Network, jobs: [&JobHandle; 2]) -> anyhow::Result<()> {
    let (mut said, mut moved) = (String::new(), Instant::now());
    loop {
        let views = [jobs[0].progress().await?, jobs[1].progress().await?];
        let now = views.each_ref().map(progress).join(", ");
        if now != said {
            say(format!("  {now}"));
            (said, moved) = (now, Instant::now());
        }
        if views.iter().all(JobView::is_over) {
            return Ok(());
        }
        network.check()?;
        if moved.elapsed() > PATIENCE {
            let why = [jobs[0].why().await?, jobs[1].why().await?];
            bail!("nothing was decided for {PATIENCE:?}; the tasks wait because {why:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn progress(view: &JobView) -> String {
    format!("{} {}/{}", view.title, view.decided(), view.tasks)
}

async fn done(name: &'static str, handle: JobHandle) -> anyhow::Result<Done> {
    let view = handle.progress().await?;
    ensure!(view.state == "finished", "{name} is {}, not finished", view.state);
    let mut outputs = Vec::new();
    let mut stream = handle.results().ordered(Order::Task);
    while let Some(result) = stream.next().await? {
        ensure!(result.task as usize == outputs.len(), "{name} lacks task {}", outputs.len());
        ensure!(result.failure.is_none(), "{name} task {}: {:?}", result.task, result.failure);
        outputs.push(result.output.with_context(|| format!("{name}: no output"))?);
    }
    let expected = repo::root().join("examples").join(name).join("expected.json");
    let expected = serde_json::from_str(&std::fs::read_to_string(expected)?)?;
    Ok(Done { name, handle, view, outputs, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_every_decision() {
        let view = JobView {
            id: String::new(),
            number: 1,
            title: "mersenne".to_owned(),
            state: "running".to_owned(),
            tasks: 10,
            final_tasks: 3,
            failed_tasks: 1,
            provisional_tasks: 2,
            escrow: 0,
            spent: 0,
            fuel: 0,
            held: false,
            collects: None,
            collected: None,
        };
        assert_eq!(progress(&view), "mersenne 6/10");
    }
}
