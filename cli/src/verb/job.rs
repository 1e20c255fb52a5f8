//! `tallymill job`: list, show, watch, results, logs, cancel, keep, release, why, receipt.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tallymill_coordinator::pages::format::moment;
use tallymill_protocol::Micros;
use tallymill_sdk::model::JobView;
use tallymill_sdk::{Error, JobHandle, Order, TaskResult};

use super::{client, handle};
use crate::args::{Common, JobVerb};
use crate::ui;

/// Lost connections in a row that end the reading of results, or the watching of a job: some seconds, in which a coordinator
/// starts again.
const TRIES: u32 = 6;
/// Between two looks at a job that is watched.
const LOOK: Duration = Duration::from_millis(500);

pub async fn run(common: &Common, verb: JobVerb) -> anyhow::Result<ExitCode> {
    match verb {
        JobVerb::List => list(common).await?,
        JobVerb::Show { job } => show(common, &handle(common, &job).await?.progress().await?)?,
        JobVerb::Watch { job } => return watch(common, &handle(common, &job).await?).await,
        JobVerb::Results { job, into } => {
            return results(common, &handle(common, &job).await?, into.as_deref()).await;
        }
        JobVerb::Logs { job, task } => logs(common, &handle(common, &job).await?, task).await?,
        JobVerb::Cancel { job, reason } => {
            let handle = handle(common, &job).await?;
            handle.cancel(&reason).await?;
            if common.json {
                let id = handle.id().to_string();
                ui::json(&json!({ "id": id, "cancelled": true }))?;
            } else {
                ui::note("cancelled: what ran is paid, the rest of the credit returns");
            }
        }
        JobVerb::Keep { job, reason } => {
            let handle = handle(common, &job).await?;
            handle.keep(&reason).await?;
            kept(common, &handle, true)?;
        }
        JobVerb::Release { job } => {
            let handle = handle(common, &job).await?;
            handle.release().await?;
            kept(common, &handle, false)?;
        }
        JobVerb::Why { job } => why(common, &handle(common, &job).await?).await?,
        JobVerb::Receipt { job, task, segment, out } => {
            receipt(common, &handle(common, &job).await?, (task, segment), &out).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn kept(common: &Common, job: &JobHandle, kept: bool) -> anyhow::Result<()> {
    if common.json {
        return ui::json(&json!({ "id": job.id().to_string(), "kept": kept }));
    }
    ui::note(match kept {
        true => "kept: its results stay until `tallymill job release`",
        false => "released: its results are kept as long as those of others",
    });
    Ok(())
}

async fn list(common: &Common) -> anyhow::Result<()> {
    let client = client(common).await?;
    let mut after = None;
    let mut empty = true;
    loop {
        let page = client.jobs(after.as_deref()).await?;
        empty &= page.items.is_empty();
        page.items.iter().try_for_each(|job| show(common, job))?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if empty && !common.json {
        ui::note("no jobs yet; submit one with: tallymill submit MODULE.wasm --range 0..=9");
    }
    Ok(())
}

fn show(common: &Common, job: &JobView) -> anyhow::Result<()> {
    if common.json {
        return ui::json(job);
    }
    ui::line(format!("{}  {}  {}", job.id, job.state, ui::plain(&job.title)));
    ui::line(format!(
        "  {}/{} decided, {} failed; held {}, paid {} credits",
        job.decided(),
        job.tasks,
        job.failed_tasks,
        ui::credits(job.escrow),
        ui::credits(job.spent)
    ));
    if let Some(results) = results_of(job) {
        ui::line(format!("  results {results}"));
    }
    Ok(())
}

/// What becomes of a job's results, when that is more than that they are kept.
fn results_of(job: &JobView) -> Option<String> {
    let day = |at: &String| moment(&Micros(at.parse().unwrap_or(0)));
    match (&job.collected, &job.collects) {
        (Some(at), _) => Some(format!("were collected on {}", day(at))),
        (None, _) if job.held => Some("are kept until they are released".to_owned()),
        (None, Some(at)) => Some(format!("are kept until {}", day(at))),
        (None, None) => None,
    }
}

/// Follows a job; Ctrl-C stops watching, not the job.
async fn watch(common: &Common, job: &JobHandle) -> anyhow::Result<ExitCode> {
    unless_interrupted(job, async { finish(common, &follow(common, job).await?) }).await
}

/// Follows a job and prints its results; Ctrl-C stops that, not the job.
pub async fn wait(common: &Common, job: &JobHandle) -> anyhow::Result<ExitCode> {
    let all = async {
        let code = finish(common, &follow(common, job).await?)?;
        results(common, job, None).await?;
        Ok(code)
    };
    unless_interrupted(job, all).await
}

async fn unless_interrupted(
    job: &JobHandle,
    work: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        code = work => code,
        _ = tokio::signal::ctrl_c() => {
            ui::note(format!("stopped watching; the job goes on. See: tallymill job show {}", job.id()));
            Ok(ExitCode::from(130))
        }
    }
}

async fn follow(common: &Common, job: &JobHandle) -> anyhow::Result<JobView> {
    let mut view = job.progress().await?;
    let bar = ui::bar(u64::from(view.tasks), &ui::plain(&view.title));
    let mut said = u32::MAX;
    while !view.is_over() {
        bar.set_position(u64::from(view.decided()));
        if bar.is_hidden() && !common.json && view.decided() != said {
            said = view.decided();
            ui::note(format!("{said} of {} decided", view.tasks));
        }
        tokio::time::sleep(LOOK).await;
        view = again(job).await?;
    }
    bar.finish_and_clear();
    Ok(view)
}

/// The job's totals; a coordinator that is away for a moment is asked again.
async fn again(job: &JobHandle) -> Result<JobView, Error> {
    let mut lost = 0;
    loop {
        match job.progress().await {
            Err(Error::Unreachable { .. } | Error::Busy(_)) if lost + 1 < TRIES => {
                if lost == 0 {
                    ui::note("the coordinator does not answer; trying again");
                }
                lost += 1;
                tokio::time::sleep(LOOK * (1 << lost)).await;
            }
            done => return done,
        }
    }
}

fn finish(common: &Common, view: &JobView) -> anyhow::Result<ExitCode> {
    show(common, view)?;
    let good = view.state == "finished" && view.failed_tasks == 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints or writes the results of a job in the order of its tasks.
pub async fn results(
    common: &Common,
    job: &JobHandle,
    into: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    if let Some(folder) = into {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
    }
    let mut stream = job.results().ordered(Order::Task).tries(TRIES);
    let mut failed = 0u32;
    while let Some(result) = stream.next().await? {
        if let Some(cause) = &result.failure {
            failed += 1;
            ui::note(format!("task {} failed: {}", result.task, ui::plain(cause)));
        }
        let output = result.output.as_deref().unwrap_or_default();
        let file = into.map(|folder| folder.join(result.task.to_string()));
        if let Some(file) = &file {
            keep(file, output)?;
        }
        match &file {
            _ if common.json => ui::json(&document(&result, file.as_deref()))?,
            Some(_) => {}
            // One output, one line at least: many guests write no line feed at the end.
            None if output.ends_with(b"\n") => ui::raw(output),
            None => ui::raw(&[output, b"\n"].concat()),
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A result for programs: its output, or the file that holds it.
fn document(result: &TaskResult, file: Option<&Path>) -> Value {
    let fuel = result.fuel.map(|fuel| fuel.to_string());
    let failure = &result.failure;
    if let Some(file) = file {
        return json!({ "task": result.task, "file": file, "failure": failure, "fuel": fuel });
    }
    let output = result.output.as_deref().unwrap_or_default();
    json!({
        "task": result.task, "output": String::from_utf8_lossy(output),
        "output_base64": ui::base64_of_binary(output), "failure": failure, "fuel": fuel,
    })
}

/// Writes a result so that a file of this name is whole.
fn keep(path: &Path, output: &[u8]) -> anyhow::Result<()> {
    let beside = path.with_extension("part");
    let written = std::fs::write(&beside, output).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    let next = "free some space or choose another folder, and ask for the results again";
    written.with_context(|| format!("failed to write {}: {next}", path.display()))
}

async fn logs(common: &Common, job: &JobHandle, task: u32) -> anyhow::Result<()> {
    let view = job.task(task).await?;
    if common.json {
        return ui::json(&view);
    }
    let attempts = view.get("replicas").and_then(Value::as_array).cloned().unwrap_or_default();
    if attempts.is_empty() {
        ui::note("no run of this task is decided yet");
    }
    let several = attempts.len() > 1;
    for attempt in attempts {
        let log = log(job, task, &attempt).await?;
        if several {
            let host = attempt.get("host").and_then(Value::as_str).unwrap_or_default();
            ui::note(format!("host {}", ui::plain(host)));
        }
        String::from_utf8_lossy(&log).lines().for_each(|line| ui::line(ui::plain(line)));
    }
    Ok(())
}

/// What an attempt wrote to standard error: small logs come with it, large ones are fetched.
async fn log(job: &JobHandle, task: u32, attempt: &Value) -> anyhow::Result<Vec<u8>> {
    let text = |field: &str| attempt.get(field).and_then(Value::as_str);
    if let Some(inline) = text("log_inline") {
        return data_encoding::BASE64.decode(inline.as_bytes()).context("a log is not base64");
    }
    let (Some(host), Some(digest)) = (text("host"), text("log")) else { return Ok(Vec::new()) };
    Ok(job.log(task, host.parse()?, digest.parse()?).await?)
}

async fn why(common: &Common, job: &JobHandle) -> anyhow::Result<()> {
    let view = job.why().await?;
    if common.json {
        return ui::json(&view);
    }
    let reasons = view.get("reasons").and_then(Value::as_array).cloned().unwrap_or_default();
    if reasons.is_empty() {
        ui::line("nothing waits");
    }
    reasons.iter().filter_map(Value::as_str).for_each(|reason| ui::line(ui::plain(reason)));
    Ok(())
}

async fn receipt(
    common: &Common,
    job: &JobHandle,
    (task, segment): (u32, Option<u32>),
    out: &Path,
) -> anyhow::Result<()> {
    let evidence = match segment {
        Some(segment) => job.segment_evidence(task, segment).await?,
        None => job.evidence(task).await?,
    };
    std::fs::write(out, serde_json::to_vec_pretty(&evidence)?)
        .with_context(|| format!("failed to write {}", out.display()))?;
    if common.json {
        let id = job.id().to_string();
        let written = json!({ "id": id, "task": task, "segment": segment, "file": out });
        return ui::json(&written);
    }
    ui::note(format!("check it with: tallymill verify {}", out.display()));
    Ok(())
}
