//! `tallymill quote` and `tallymill submit`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tallymill_protocol::{Digest, Limits, Micros, Policy, Tariff};
use tallymill_sandbox::TaskResult;
use tallymill_sdk::Job;

use super::{client, job, limits, named_files, pair, read, run, worth};
use crate::args::{Common, SubmitArgs};
use crate::fault::Usage;
use crate::ui;

/// Times the largest of them that is proposed as the limit.
const MARGIN: u64 = 4;

pub async fn quote(common: &Common, args: SubmitArgs) -> anyhow::Result<ExitCode> {
    let (job, sample) = build(&args, args.steps.is_none())?;
    let client = client(common).await?;
    let quote = client.quote(&job).await?;
    // What the inputs tried here used, as limits: the price of a job that uses as much is the estimate.
    let estimate = match typical(&sample) {
        Some(limits) => Some(client.quote(&job.clone().limits(limits)).await?.cap),
        None => None,
    };
    let share = worth::share(&sample, &tariff(&args));
    if common.json {
        let mut shown = serde_json::to_value(&quote)?;
        shown["estimate"] = estimate.map(|price| price.to_string()).into();
        shown["share"] = share.map(|share| share.json()).into();
        ui::json(&shown)?;
    } else {
        if let Some(estimate) = estimate {
            let tried = sample.len();
            ui::line(format!(
                "about {} credits, by {tried} inputs tried here",
                ui::credits(estimate)
            ));
        }
        ui::line(format!("{} tasks", job.tasks()));
        ui::line(format!("at most {} credits each", ui::credits(quote.per_task)));
        ui::line(format!("at most {} credits in all", ui::credits(quote.cap)));
        share.into_iter().for_each(|share| ui::line(share.words()));
        warn(&quote.warnings);
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn submit(common: &Common, args: SubmitArgs) -> anyhow::Result<ExitCode> {
    let (built, _) = build(&args, args.limits.fuel.is_none())?;
    let client = client(common).await?;
    let handle = client.submit(&built).await?;
    if common.json {
        let id = handle.id().to_string();
        ui::json(&serde_json::json!({ "id": id, "warnings": handle.warnings() }))?;
    } else {
        ui::line(handle.id());
        warn(handle.warnings());
        ui::note(format!("follow it with: tallymill job watch {}", handle.id()));
    }
    if !args.wait {
        return Ok(ExitCode::SUCCESS);
    }
    job::wait(common, &handle).await
}

fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| ui::note(format!("note: the job {}", ui::plain(warning))));
}

/// Limits that are just what these runs used on average, rounded up; none without runs.
fn typical(runs: &[TaskResult]) -> Option<Limits> {
    let mean = |figure: fn(&TaskResult) -> u64| {
        let sum: u128 = runs.iter().map(|run| u128::from(figure(run))).sum();
        u64::try_from(sum.div_ceil(runs.len() as u128)).unwrap_or(u64::MAX)
    };
    (!runs.is_empty()).then(|| Limits {
        fuel: mean(|run| run.fuel).max(1),
        memory: runs.iter().map(|run| run.peak_memory).max().unwrap_or_default(),
        output: mean(|run| run.bytes_out),
        log: 0,
        ..Limits::default()
    })
}

fn tariff(args: &SubmitArgs) -> Tariff {
    Tariff { fuel: args.tariff, task: args.task_price, ..Tariff::default() }
}

/// The job, and what some inputs used that were tried here, if they are to be.
fn build(args: &SubmitArgs, tries: bool) -> anyhow::Result<(Job, Vec<TaskResult>)> {
    let module = read(&args.module)?;
    let name =
        args.module.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let policy = match args.quorum {
        1 => Policy::Trusted,
        n @ 2..=7 => Policy::Quorum { n },
        n => return Err(Usage(format!("--quorum {n}: 1 to 7")).into()),
    };
    let mut job = Job::new(module.clone())
        .title(args.title.as_deref().unwrap_or(&name))
        .policy(policy)
        .priority(args.priority)
        .tariff(tariff(args))
        .lifetime(args.hours.saturating_mul(3_600 * Micros::SECOND));
    job = match &args.seed {
        Some(seed) => job.seed(seed_of(seed)?),
        None => job,
    };
    job = args.args.iter().fold(job, |job, arg| job.arg(arg));
    job = args.tags.iter().fold(job, |job, tag| job.tag(tag));
    for variable in &args.env {
        let (name, value) = pair(variable, "K=V")?;
        job = job.env(name, value);
    }
    job = named_files(&args.inputs)?
        .into_iter()
        .fold(job, |job, (name, bytes)| job.file(&name, bytes));
    job = if args.private { job.private() } else { job };
    job = args.budget.map_or(job.clone(), |credits| job.budget(credits.saturating_mul(1_000_000)));
    if let Some(steps) = &args.steps {
        let (budget, segment) = steps_of(steps)?;
        job = job.steps(budget, segment);
    }
    let (job, sample) = inputs(job, args)?;
    let sample = if tries { sample } else { Vec::new() };
    let (limits, runs) = fitting(args, &module, &sample)?;
    Ok((job.limits(limits), runs))
}

/// Adds the inputs, and gives those that are tried here.
fn inputs(job: Job, args: &SubmitArgs) -> anyhow::Result<(Job, Vec<Vec<u8>>)> {
    if let Some(range) = &args.range {
        let (from, to) = range_of(range)?;
        let count = to.checked_sub(from).and_then(|n| u32::try_from(n + 1).ok());
        let count = count.ok_or_else(|| Usage(format!("--range {range}: too many or none")))?;
        let tried = tried(u64::from(count)).into_iter();
        let sample = tried.map(|at| format!("{}\n", from + at).into_bytes()).collect();
        return Ok((job.range(from, count), sample));
    }
    let inputs: Vec<Vec<u8>> = match &args.lines {
        Some(path) => read(path)?
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect(),
        None => args.files.iter().map(|path| read(path)).collect::<anyhow::Result<_>>()?,
    };
    if inputs.is_empty() {
        return Err(Usage(
            "name the inputs: --range 0..=9, --lines FILE or --stdin FILE".to_owned(),
        )
        .into());
    }
    let tried = tried(inputs.len() as u64).into_iter();
    let sample = tried.filter_map(|at| inputs.get(usize::try_from(at).ok()?).cloned()).collect();
    Ok((job.inputs(inputs)?, sample))
}

/// Positions of the inputs tried here when no fuel limit is given: the first, the middle and the last of `count`, since work
/// often grows with its number.
fn tried(count: u64) -> BTreeSet<u64> {
    let last = count.saturating_sub(1);
    [0, last / 2, last].into()
}

fn range_of(text: &str) -> Result<(u64, u64), Usage> {
    let wrong = || Usage(format!("--range {text}: write FROM..=TO, for example 2..=2300"));
    let (from, to) = text.split_once("..=").ok_or_else(wrong)?;
    Ok((from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?))
}

fn seed_of(text: &str) -> Result<[u8; 32], Usage> {
    let digest: Result<Digest, _> = text.parse();
    digest
        .map(|digest| digest.0)
        .map_err(|_| Usage(format!("--seed {text}: write 64 hexadecimal digits")))
}

pub fn steps_of(text: &str) -> Result<(u64, u64), Usage> {
    let wrong =
        || Usage(format!("--steps {text}: write BUDGET:SEGMENT, for example 10000000:60000000000"));
    let (budget, segment) = text.split_once(':').ok_or_else(wrong)?;
    Ok((budget.parse().map_err(|_| wrong())?, segment.parse().map_err(|_| wrong())?))
}

/// The limits told, or four times what the largest of the inputs tried here used.
fn fitting(
    args: &SubmitArgs,
    module: &[u8],
    sample: &[Vec<u8>],
) -> anyhow::Result<(Limits, Vec<TaskResult>)> {
    let mut limits = limits(&args.limits);
    if sample.is_empty() {
        return Ok((limits, Vec::new()));
    }
    let spec = run::job_spec(&args.inputs, &args.env, &args.args, limits)?;
    let runs = run::local(module, &Arc::new(spec), sample).context("failed to try inputs here")?;
    if args.limits.fuel.is_some() {
        return Ok((limits, runs));
    }
    let largest = runs.iter().map(|run| run.fuel).max().unwrap_or(0);
    limits.fuel = largest.saturating_mul(MARGIN).max(20_000_000);
    ui::note(format!(
        "tried {} inputs here: the largest used {largest} fuel; limit per task set to {} (change it with --fuel)",
        runs.len(),
        limits.fuel
    ));
    Ok((limits, runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_middle_and_last_are_tried_once_each() {
        assert_eq!(Vec::from_iter(tried(2_299)), [0, 1_149, 2_298]);
        assert_eq!(Vec::from_iter(tried(2)), [0, 1]);
        assert_eq!(Vec::from_iter(tried(1)), [0]);
    }

    #[test]
    fn seeds_are_64_digits() {
        assert_eq!(seed_of(&"0a".repeat(32)).unwrap(), [10; 32]);
        for wrong in ["", "0a", &"0a".repeat(33), &"zz".repeat(32)] {
            assert!(seed_of(wrong).unwrap_err().to_string().contains("64 hexadecimal"));
        }
    }

    #[test]
    fn ranges_are_inclusive_and_rubbish_is_named() {
        assert_eq!(range_of("2..=2300").unwrap(), (2, 2300));
        assert!(range_of("2-9").unwrap_err().to_string().contains("FROM..=TO"));
        assert_eq!(steps_of("5:4194304").unwrap(), (5, 4_194_304));
        for wrong in ["5", "5:", ":5", "5:-1"] {
            assert!(steps_of(wrong).unwrap_err().to_string().contains("BUDGET:SEGMENT"));
        }
    }
}
