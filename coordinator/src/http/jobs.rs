//! Jobs: submitting, reading, stopping.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tallymill_audit::Evidence;
use tallymill_engine::rows::{JobRow, JobState, ReplicaRow, TaskState};
use tallymill_engine::{Command, Reply};
use tallymill_protocol::{Manifest, Message as _, Signed, TaskIndex, Visibility};
use tallymill_storage::{JobFilter, Page};

use super::auth::Caller;
use super::problem::Problem;
use super::{App, Paging, id, json as body_json, message, once, render, submission, unexpected};
use crate::pipeline::Need;

/// Why a job is stopped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelBody {
    reason: String,
}

pub async fn quote(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let signed: Signed<Manifest> = message(&body)?;
    let manifest = signed.peek().map_err(|error| Problem::field("manifest", error.to_string()))?;
    let largest = submission::check(&app, &caller, &manifest).await?;
    let price = |error: tallymill_ledger::PriceError| Problem::field("limits", error.to_string());
    let cap = tallymill_ledger::cap(&manifest, largest).map_err(price)?;
    let each = tallymill_ledger::most_per_result(&manifest, largest, true).map_err(price)?;
    let owners = app.pipeline.network().await?.owners;
    let needed = usize::from(manifest.policy.replicas());
    let warning = (owners < needed).then(|| format!("needs {needed} owners, {owners} online"));
    Ok(Json(json!({
        "cap": cap.micros().to_string(), "per_task": each.micros().to_string(),
        "warnings": warning.into_iter().collect::<Vec<_>>(),
    })))
}

pub async fn submit(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let signed: Signed<Manifest> = message(&body)?;
    let manifest = submission::signed(&app, &caller, &signed).await?;
    let by = caller.account()?;
    let once = once(&headers, by, "jobs", &body)?;
    let largest_input = submission::check(&app, &caller, &manifest).await?;
    let price = |error: tallymill_ledger::PriceError| Problem::field("limits", error.to_string());
    let cap = tallymill_ledger::cap(&manifest, largest_input).map_err(price)?;
    submission::share(&app, &manifest).await?;
    let envelope = signed.envelope().clone();
    let manifest = Box::new(manifest);
    match app.pipeline.ask(Command::Submit { manifest, envelope, by, largest_input, once }).await? {
        Reply::Submitted { job, number, escrow } => Ok((
            StatusCode::CREATED,
            Json(json!({
                "id": job.to_string(), "number": number.to_string(),
                "escrow": escrow.micros().to_string(), "cap": cap.micros().to_string(),
            })),
        )),
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Err(unexpected()),
    }
}

pub fn state(text: &str) -> Result<JobState, Problem> {
    use JobState::{Cancelled, Expired, Finished, Running, Stopping, Suspended};
    let all = [Running, Stopping, Finished, Cancelled, Expired, Suspended];
    let found = all.into_iter().find(|state| render::name(state) == text);
    found.ok_or_else(|| {
        Problem::field(
            "state",
            "state: running, stopping, finished, cancelled, expired or suspended",
        )
    })
}

pub async fn list(
    State(app): State<Arc<App>>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let payer = paging.payer.as_deref().map(|payer| id("payer", payer)).transpose()?;
    let filter = JobFilter { payer, state: paging.state.as_deref().map(state).transpose()? };
    let rows = app.store.jobs(filter, paging.page(paging.number()?)).await?;
    let items: Result<Vec<Value>, Problem> = rows.iter().map(|row| shown(row, &caller)).collect();
    let items = items?;
    Ok(Json(json!({ "items": items, "next": rows.last().map(|row| row.number.to_string()) })))
}

pub async fn row(app: &App, job: &str) -> Result<JobRow, Problem> {
    app.store.job(id("id", job)?).await?.ok_or_else(|| Problem::missing("job"))
}

/// The manifest of a stored job.
pub fn manifest_of(row: &JobRow) -> Result<Manifest, Problem> {
    Signed::new(row.envelope.clone()).peek().map_err(|_| unexpected())
}

/// Whether the caller may read the job's title, inputs and decided outputs.
pub fn visible(row: &JobRow, caller: &Caller) -> Result<bool, Problem> {
    let owns = caller.is(row.payer) || caller.account == Some(row.submitter);
    Ok(owns || manifest_of(row)?.visibility == Visibility::Public)
}

/// The job, if the caller may read its inputs and decided outputs.
pub async fn open_row(app: &App, job: &str, caller: &Caller) -> Result<JobRow, Problem> {
    let row = row(app, job).await?;
    if visible(&row, caller)? {
        return Ok(row);
    }
    Err(Problem::forbidden("this job is private: its payer alone reads inputs and outputs"))
}

/// A job as the caller may see it: the title of a private one is its payer's.
fn shown(row: &JobRow, caller: &Caller) -> Result<Value, Problem> {
    let mut value = render::job(row);
    if !visible(row, caller)? {
        value["title"] = "".into();
    }
    Ok(value)
}

pub async fn show(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    shown(&row(&app, &job).await?, &caller).map(Json)
}

/// A host reads the manifest of what it leases, private or not.
pub async fn manifest(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Vec<u8>, Problem> {
    let row = match caller.host {
        Some(host) if app.pipeline.needs(host, Need::Manifest(id("id", &job)?)).await? => {
            row(&app, &job).await?
        }
        _ => open_row(&app, &job, &caller).await?,
    };
    Ok(row.envelope.to_bytes())
}

pub async fn why(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let row = open_row(&app, &job, &caller).await?;
    let Some(view) = app.pipeline.job(row.id).await? else {
        return Ok(Json(json!({ "state": render::name(row.state), "reasons": [] })));
    };
    Ok(Json(json!({
        "state": render::name(view.state), "reasons": view.why, "leased": view.leased,
        "untouched": view.untouched, "waiting": view.waiting, "undecided": view.undecided,
        "reserved": view.reserved.micros().to_string(),
    })))
}

pub async fn tasks(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let row = open_row(&app, &job, &caller).await?;
    let state = match paging.state.as_deref() {
        None => None,
        Some("provisional") => Some(TaskState::Provisional),
        Some("final") => Some(TaskState::Final),
        Some("failed") => Some(TaskState::Failed),
        Some(_) => return Err(Problem::field("state", "state: provisional, final or failed")),
    };
    let page = paging.page(paging.number()?.map(TaskIndex));
    let rows = app.store.tasks(row.id, state, page).await?;
    let items: Vec<Value> = rows.iter().map(render::task).collect();
    Ok(Json(json!({ "items": items, "next": rows.last().map(|row| row.task.to_string()) })))
}

pub async fn task(
    State(app): State<Arc<App>>,
    Path((job, task)): Path<(String, u32)>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let row = row(&app, &job).await?;
    if !caller.is(row.payer) {
        return Err(Problem::forbidden("only the payer sees who runs a task"));
    }
    let task = TaskIndex(task);
    let decided = app.store.task(row.id, task).await?;
    let replicas = app.store.replicas(row.id, task).await?;
    let voids = app.store.voids(row.id, task, Page::first(100)).await?;
    let voids: Vec<Value> = voids
        .iter()
        .map(|v| json!({ "host": v.host.to_string(), "cause": v.cause, "detail": v.detail, "at": v.at.0.to_string() }))
        .collect();
    Ok(Json(json!({
        "decided": decided.as_ref().map(render::task),
        "replicas": replicas.iter().map(|row| replica(row, decided.is_some())).collect::<Vec<_>>(), "voids": voids,
    })))
}

/// The output of a decided task.
pub async fn output(
    State(app): State<Arc<App>>,
    Path((job, task)): Path<(String, u32)>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = open_row(&app, &job, &caller).await?;
    let task = TaskIndex(task);
    let decided = app.store.task(row.id, task).await?;
    let decided = decided.ok_or_else(|| Problem::missing("decided task"))?;
    let digest =
        decided.output.ok_or_else(|| Problem::missing("output: the task has no result"))?;
    let replicas = app.store.replicas(row.id, task).await?;
    let stands = replicas.into_iter().find(|replica| decided.host == Some(replica.host));
    match stands.and_then(|replica| replica.output) {
        Some(bytes) => {
            let kind = (header::CONTENT_TYPE, "application/octet-stream");
            Ok(([kind, (header::CACHE_CONTROL, "private")], bytes).into_response())
        }
        None => super::blobs::send(&app, digest, &headers).await,
    }
}

/// A replica; what it wrote to standard error only once the task is decided.
fn replica(row: &ReplicaRow, decided: bool) -> Value {
    let mut item = render::replica(row);
    if decided {
        item["log_inline"] = row.log.as_deref().map(render::base64).into();
    }
    item
}

pub async fn results(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let row = open_row(&app, &job, &caller).await?;
    let decided = app.store.decided(row.id, paging.page(paging.number()?)).await?;
    let next = decided.last().map(|decided| decided.task.sequence.to_string());
    let items: Vec<Value> = decided
        .iter()
        .map(|decided| {
            let mut item = render::task(&decided.task);
            item["inline"] = decided.output.as_deref().map(render::base64).into();
            item
        })
        .collect();
    Ok(Json(json!({ "items": items, "next": next, "state": render::name(row.state) })))
}

/// Evidence of a decided task's result, as `tallymill verify` reads it.
pub async fn receipts(
    State(app): State<Arc<App>>,
    Path((job, task)): Path<(String, u32)>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Evidence>, Problem> {
    let row = open_row(&app, &job, &caller).await?;
    super::evidence::of(&app, &row, TaskIndex(task)).await.map(Json)
}

pub async fn cancel(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: CancelBody = body_json(&body)?;
    let by = caller.account()?;
    let once = once(&headers, by, "jobs/cancel", &body)?;
    let job = id("id", &job)?;
    super::accounts::done(&app, Command::Cancel { job, by, reason: asked.reason, once }).await
}
