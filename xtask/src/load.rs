//! The load of `bench` and `crash`: many trivial tasks, each of which copies its input to its output.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tallymill_protocol::Limits;
use tallymill_sdk::{Client, Error, Job, JobHandle, TaskResult};

use crate::network::PATIENCE;

/// First number of a job's range, so that inputs are not simply task indices.
const FROM: u64 = 1_000_000;
/// Fuel that one task may use; it needs a few dozen instructions.
const FUEL: u64 = 100_000;
/// The same of one that computes for a while.
const LONG_FUEL: u64 = 2_000_000_000;
/// Memory of one task: the one page that the module declares.
const MEMORY: u64 = 65_536;
/// Longest output and log, bytes.
const OUTPUT: u64 = 4_096;
/// Pause before a call that found nobody is made again.
const PAUSE: Duration = Duration::from_millis(50);

/// A job and the results that its client was given.
pub(crate) struct Seen {
    /// The job.
    pub(crate) job: JobHandle,
    /// Results by task.
    pub(crate) results: BTreeMap<u32, TaskResult>,
}

/// The job of `tasks` trivial tasks; one execution each, believed.
pub(crate) fn job(tasks: u32) -> anyhow::Result<Job> {
    job_of(include_str!("load/echo.wat"), tasks, FUEL)
}

/// The same with tasks that compute for some four milliseconds each.
pub(crate) fn long_job(tasks: u32) -> anyhow::Result<Job> {
    job_of(include_str!("load/spin.wat"), tasks, LONG_FUEL)
}

fn job_of(text: &str, tasks: u32, fuel: u64) -> anyhow::Result<Job> {
    let module = wat::parse_str(text)?;
    let limits = Limits { fuel, memory: MEMORY, output: OUTPUT, log: OUTPUT, ..Limits::default() };
    Ok(Job::new(module).title("load").range(FROM, tasks).limits(limits))
}

/// Submits the load and collects every result, through any number of restarts. `counter` counts the results.
pub(crate) async fn run(client: &Client, tasks: u32, counter: &AtomicU64) -> anyhow::Result<Seen> {
    run_job(client, &job(tasks)?, counter).await
}

/// The same with a job whose tasks give their numbers back.
pub(crate) async fn run_job(
    client: &Client,
    job: &Job,
    counter: &AtomicU64,
) -> anyhow::Result<Seen> {
    let tasks = job.tasks();
    let job = submit(client, job).await?;
    let results = collect(&job, tasks, counter, &number).await?;
    Ok(Seen { job, results })
}

/// Collects the results of a job whose tasks give their inputs back, through any number of restarts.
pub(crate) async fn collect(
    job: &JobHandle,
    tasks: u32,
    counter: &AtomicU64,
    input: &impl Fn(u32) -> Vec<u8>,
) -> anyhow::Result<BTreeMap<u32, TaskResult>> {
    let mut stream = job.results();
    let mut results = BTreeMap::new();
    let mut heard = Instant::now();
    loop {
        match stream.next().await {
            Ok(None) => break,
            Ok(Some(result)) => {
                expect(&result, &input(result.task))?;
                counter.fetch_add(1, Ordering::Relaxed);
                let before = results.insert(result.task, result);
                ensure!(before.is_none(), "the stream gave a task twice: {before:?}");
                heard = Instant::now();
            }
            Err(error) => wait(error, heard).await?,
        }
    }
    ensure!(results.len() == tasks as usize, "{} of {tasks} tasks had results", results.len());
    Ok(results)
}

/// Everything the job's stream says now, from its beginning.
pub(crate) async fn read_again(job: &JobHandle) -> anyhow::Result<BTreeMap<u32, TaskResult>> {
    let mut stream = job.results();
    let mut results = BTreeMap::new();
    while let Some(result) = stream.next().await? {
        results.insert(result.task, result);
    }
    Ok(results)
}

/// Results of `seen` that `now` does not have, or has otherwise.
pub(crate) fn lost(seen: &BTreeMap<u32, TaskResult>, now: &BTreeMap<u32, TaskResult>) -> usize {
    seen.iter().filter(|(task, result)| now.get(task) != Some(result)).count()
}

async fn submit(client: &Client, job: &Job) -> anyhow::Result<JobHandle> {
    let began = Instant::now();
    loop {
        match client.submit(job).await {
            Ok(handle) => return Ok(handle),
            Err(error) => wait(error, began).await?,
        }
    }
}

/// Waits where the coordinator is only away for a moment; gives up when that takes too long, or it said no.
async fn wait(error: Error, since: Instant) -> anyhow::Result<()> {
    let away = matches!(error, Error::Unreachable { .. } | Error::Busy(_));
    if !away || since.elapsed() > PATIENCE {
        return Err(error).context("the load could not go on");
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// The output of a task of [`job`] is its number.
pub(crate) fn check(result: &TaskResult) -> anyhow::Result<()> {
    expect(result, &number(result.task))
}

fn number(task: u32) -> Vec<u8> {
    format!("{}\n", FROM + u64::from(task)).into_bytes()
}

fn expect(result: &TaskResult, input: &[u8]) -> anyhow::Result<()> {
    let good = result.failure.is_none() && result.output.as_deref() == Some(input);
    ensure!(good, "task {} did not give its input back: {result:?}", result.task);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(task: u32, output: &str) -> TaskResult {
        TaskResult { task, output: Some(output.into()), failure: None, fuel: Some(1) }
    }

    #[test]
    fn the_module_assembles() {
        assert_eq!(job(5).unwrap().tasks(), 5);
        assert_eq!(long_job(5).unwrap().tasks(), 5);
    }

    #[test]
    fn an_output_that_is_not_the_input_is_refused() {
        check(&result(3, "1000003\n")).unwrap();
        assert!(check(&result(3, "1000004\n")).is_err());
        assert!(
            check(&TaskResult { failure: Some("x".into()), ..result(3, "1000003\n") }).is_err()
        );
    }

    #[test]
    fn missing_and_changed_results_are_lost() {
        let map = |list: &[(u32, &str)]| -> BTreeMap<_, _> {
            list.iter().map(|(task, output)| (*task, result(*task, output))).collect()
        };
        let seen = map(&[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(lost(&seen, &map(&[(1, "a"), (2, "x"), (9, "z")])), 2);
        assert_eq!(lost(&seen, &seen), 0);
    }
}
