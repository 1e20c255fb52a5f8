//! Jobs: submitting, reading, stopping.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use tallymill_audit::Evidence;
use tallymill_engine::rows::{JobRow, JobState, TaskState};
use tallymill_engine::{Command, Reply, Retention};
use tallymill_protocol::{
    Digest, HostId, JobId, Manifest, Message as _, Receipt, Signed, TaskIndex, Visibility,
};
use tallymill_storage::{JobFilter, Page};
use utoipa::ToSchema;

use super::auth::Caller;
use super::keep::uncollected;
use super::model::jobs::{Job, Quote, Replica, Submitted, Task, TaskDetail, VoidRun, Why};
use super::model::{Bytes as Octets, Cbor, Done, Id, Part, jobs as model, names};
use super::problem::Problem;
use super::query::{self, JobsQuery, Query, RunQuery, SegmentQuery, TasksQuery};
use super::{App, evidence, id, json as body_json, message, once, reason, submission, unexpected};
use crate::pipeline::Need;

/// Why a job is stopped.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelBody {
    /// In words.
    #[schema(max_length = 500)]
    reason: String,
}

#[utoipa::path(
    post, path = "/api/v1/quote",
    request_body(content = Cbor, content_type = "application/cbor", description = "A signed manifest"),
    responses((status = 200, body = Quote, description = "The most it can cost")),
)]
pub async fn quote(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Quote>, Problem> {
    let signed: Signed<Manifest> = message(&body)?;
    let manifest = signed.peek().map_err(|error| Problem::field("manifest", error.to_string()))?;
    let largest = submission::check(&app, &caller, &manifest).await?;
    let price = |error: tallymill_ledger::PriceError| Problem::field("limits", error.to_string());
    let cap = tallymill_ledger::cap(&manifest, largest).map_err(price)?;
    let each = tallymill_ledger::most_per_result(&manifest, largest, true).map_err(price)?;
    let warnings = app.pipeline.too_few(&manifest).await?.into_iter().collect();
    Ok(Json(Quote { cap: cap.into(), per_task: each.into(), warnings }))
}

#[utoipa::path(
    post, path = "/api/v1/jobs",
    params(("idempotency-key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,126}[!-~])?$", description = "The same key and body give the same answer")),
    request_body(content = Cbor, content_type = "application/cbor", description = "A signed manifest"),
    responses((status = 201, body = Submitted, description = "The job is taken and its credit held")),
)]
pub async fn submit(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Submitted>), Problem> {
    let signed: Signed<Manifest> = message(&body)?;
    let manifest = submission::signed(&app, &caller, &signed).await?;
    let by = caller.account()?;
    let once = once(&headers, by, "jobs", &body)?;
    // What the job names stays until it is the job's.
    let _claimed = app.claims.claim_all(manifest.blobs().collect()).await?;
    let (largest_input, stored) = submission::taken(&app, &caller, (&signed, &manifest)).await?;
    let price = |error: tallymill_ledger::PriceError| Problem::field("limits", error.to_string());
    let cap = tallymill_ledger::cap(&manifest, largest_input).map_err(price)?;
    let warnings = app.pipeline.too_few(&manifest).await?.into_iter().collect();
    let (manifest, envelope) = (Box::new(manifest), signed.envelope().clone());
    let command = Command::Submit { manifest, envelope, by, largest_input, stored, once };
    match app.pipeline.ask(command).await? {
        Reply::Submitted { job, number, escrow } => Ok((
            StatusCode::CREATED,
            Json(Submitted {
                id: Id::of(&job),
                number: number.into(),
                escrow: escrow.into(),
                cap: cap.into(),
                warnings,
            }),
        )),
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Err(unexpected()),
    }
}

pub fn state(text: &str) -> Result<JobState, Problem> {
    use JobState::{Cancelled, Expired, Finished, Running, Stopping, Suspended};
    let all = [Running, Stopping, Finished, Cancelled, Expired, Suspended];
    let found = all.into_iter().find(|state| names::text(state) == text);
    found.ok_or_else(|| {
        Problem::field(
            "state",
            "state: running, stopping, finished, cancelled, expired or suspended",
        )
    })
}

#[utoipa::path(
    get, path = "/api/v1/jobs", params(JobsQuery),
    responses((status = 200, body = Part<Job>, description = "Jobs, newest first")),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Query(asked): Query<JobsQuery>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Part<Job>>, Problem> {
    let payer = asked.payer.as_deref().map(|payer| id("payer", payer)).transpose()?;
    let filter = JobFilter { payer, state: asked.state.as_deref().map(state).transpose()? };
    let after = query::number(asked.after.as_deref())?;
    let rows = app.store.jobs(filter, query::part(after, asked.limit.as_deref())?).await?;
    let rule = &app.options.retention;
    let items: Result<Vec<Job>, Problem> =
        rows.iter().map(|row| shown(row, &caller, rule)).collect();
    let next = rows.last().map(|row| row.number.to_string());
    Ok(Json(Part { items: items?, next }))
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
fn shown(row: &JobRow, caller: &Caller, rule: &Retention) -> Result<Job, Problem> {
    Ok(Job::of(row, visible(row, caller)?, rule))
}

#[utoipa::path(
    get, path = "/api/v1/jobs/{id}",
    responses((status = 200, body = Job, description = "The job")),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Job>, Problem> {
    shown(&row(&app, &job).await?, &caller, &app.options.retention).map(Json)
}

/// A host reads the manifest of what it leases, private or not.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/manifest",
    responses((
        status = 200, body = Cbor, content_type = "application/octet-stream",
        description = "The envelope: payload, signer and signature in canonical CBOR",
    )),
)]
pub async fn manifest(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Vec<u8>, Problem> {
    Ok(leased_row(&app, &job, &caller).await?.envelope.to_bytes())
}

/// A host reads them of what it leases, private or not: it must not take the coordinator's word for who a submitter is.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/keys",
    responses((
        status = 200, body = Cbor, content_type = "application/octet-stream",
        description = "The submitter's chain of keys up to that one, in canonical CBOR",
    )),
)]
pub async fn keys(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Vec<u8>, Problem> {
    let row = leased_row(&app, &job, &caller).await?;
    Ok(evidence::keys(&app, &row).await?.to_bytes())
}

/// A job that the caller may see, or leases.
async fn leased_row(app: &App, job: &str, caller: &Caller) -> Result<JobRow, Problem> {
    match caller.host {
        Some(host) if app.pipeline.needs(host, Need::Manifest(id("id", job)?)).await? => {
            row(app, job).await
        }
        _ => open_row(app, job, caller).await,
    }
}

#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/why",
    responses((status = 200, body = Why, description = "The reasons")),
)]
pub async fn why(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Why>, Problem> {
    let row = open_row(&app, &job, &caller).await?;
    let live = app.pipeline.job(row.id).await?;
    Ok(Json(live.map_or_else(|| Why::over(row.state), Why::from)))
}

#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/tasks", params(TasksQuery),
    responses((status = 200, body = Part<Task>, description = "Decided tasks by index")),
)]
pub async fn tasks(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Query(asked): Query<TasksQuery>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Part<Task>>, Problem> {
    let row = open_row(&app, &job, &caller).await?;
    let state = match asked.state.as_deref() {
        None => None,
        Some("provisional") => Some(TaskState::Provisional),
        Some("final") => Some(TaskState::Final),
        Some("failed") => Some(TaskState::Failed),
        Some(_) => return Err(Problem::field("state", "state: provisional, final or failed")),
    };
    let after: Option<u64> = query::number(asked.after.as_deref())?;
    // Behind the last task there is nothing, as in other lists.
    let after = after.map(|after| TaskIndex(u32::try_from(after).unwrap_or(u32::MAX)));
    let part = query::part(after, asked.limit.as_deref())?;
    let rows = async { Ok(app.store.tasks(row.id, state, part).await?) };
    let rows = uncollected(&app, &row, rows).await?;
    Ok(Json(Part::of(&rows, |row| row.task.to_string())))
}

#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/tasks/{task}",
    responses((status = 200, body = TaskDetail, description = "The task")),
)]
pub async fn task(
    State(app): State<Arc<App>>,
    Path((job, task)): Path<(String, String)>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<TaskDetail>, Problem> {
    let row = row(&app, &job).await?;
    if !caller.is(row.payer) {
        return Err(Problem::forbidden("only the payer sees who runs a task"));
    }
    let task = TaskIndex(id("task", &task)?);
    if task.0 >= row.tasks {
        return Err(Problem::missing("task"));
    }
    uncollected(&app, &row, detail(&app, row.id, task)).await.map(Json)
}

async fn detail(app: &App, job: JobId, task: TaskIndex) -> Result<TaskDetail, Problem> {
    let decided = app.store.task(job, task).await?;
    let replicas = app.store.replicas(job, task).await?;
    let voids = app.store.voids(job, task, Page::first(100)).await?;
    Ok(TaskDetail {
        replicas: replicas.iter().map(|row| Replica::of(row, decided.is_some())).collect(),
        decided: decided.as_ref().map(Task::from),
        voids: voids.iter().map(VoidRun::from).collect(),
    })
}

/// The output of a decided task.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/tasks/{task}/output",
    params(("range" = Option<String>, Header, description = "One range of bytes, of outputs that are blobs")),
    responses(
        (status = 200, body = Octets, content_type = "application/octet-stream", description = "The output"),
        (status = 206, body = Octets, content_type = "application/octet-stream", description = "The range"),
    ),
)]
pub async fn output(
    State(app): State<Arc<App>>,
    Path((job, task)): Path<(String, String)>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = open_row(&app, &job, &caller).await?;
    let task = TaskIndex(id("task", &task)?);
    uncollected(&app, &row, sent(&app, row.id, task, &headers)).await
}

async fn sent(
    app: &App,
    job: JobId,
    task: TaskIndex,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let decided = app.store.task(job, task).await?;
    let decided = decided.ok_or_else(|| Problem::missing("decided task"))?;
    let digest =
        decided.output.ok_or_else(|| Problem::missing("output: the task has no result"))?;
    let replicas = app.store.replicas(job, task).await?;
    let stands = replicas.into_iter().find(|replica| decided.host == Some(replica.host));
    bytes(app, stands.and_then(|replica| replica.output), digest, headers).await
}

/// What a run of a decided task wrote to standard error, for the payer: it may tell what the inputs were.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/tasks/{task}/log",
    params(RunQuery, ("range" = Option<String>, Header, description = "One range of bytes, of logs that are blobs")),
    responses(
        (status = 200, body = Octets, content_type = "application/octet-stream", description = "The log"),
        (status = 206, body = Octets, content_type = "application/octet-stream", description = "The range"),
    ),
)]
pub async fn log(
    State(app): State<Arc<App>>,
    Path((job, task)): Path<(String, String)>,
    Query(asked): Query<RunQuery>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = row(&app, &job).await?;
    if !caller.is(row.payer) {
        return Err(Problem::forbidden("only the payer reads what runs wrote to standard error"));
    }
    let host: Option<HostId> = asked.host.map(|host| id("host", &host)).transpose()?;
    let task = TaskIndex(id("task", &task)?);
    uncollected(&app, &row, written(&app, (row.id, task), host, &headers)).await
}

async fn written(
    app: &App,
    (job, task): (JobId, TaskIndex),
    host: Option<HostId>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let decided = app.store.task(job, task).await?;
    let decided = decided.ok_or_else(|| Problem::missing("decided task"))?;
    let mut replicas = app.store.replicas(job, task).await?;
    let wanted = replicas.iter().position(|replica| Some(replica.host) == host.or(decided.host));
    // Of a task without a result that stands, any run may tell what went wrong.
    let any = (host.is_none() && !replicas.is_empty()).then_some(0);
    let missing = || Problem::missing("run of this task");
    let replica = replicas.swap_remove(wanted.or(any).ok_or_else(missing)?);
    let receipt = Receipt::from_bytes(&replica.receipt).map_err(|_| unexpected())?;
    bytes(app, replica.log, receipt.log, headers).await
}

/// Sends bytes that were stored with their replica, or else as a blob.
async fn bytes(
    app: &App,
    inline: Option<Vec<u8>>,
    digest: Digest,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let Some(bytes) = inline else { return super::blobs::send(app, digest, headers).await };
    let kind = (header::CONTENT_TYPE, "application/octet-stream");
    Ok(([kind, (header::CACHE_CONTROL, "private")], bytes).into_response())
}

/// Evidence of a decided task's result, or of an agreed segment of a long task, as `tallymill verify` reads it. From then on
/// the caller may read the snapshot that it names.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/receipts/{task}",
    params(SegmentQuery),
    responses((status = 200, body = model::Evidence, description = "The evidence")),
)]
pub async fn receipts(
    State(app): State<Arc<App>>,
    Path((job, task)): Path<(String, String)>,
    Query(of): Query<SegmentQuery>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Evidence>, Problem> {
    let row = open_row(&app, &job, &caller).await?;
    let task = TaskIndex(id("task", &task)?);
    let segment = of.number()?;
    let found = async {
        let evidence = evidence::of(&app, &row, task, segment).await?;
        evidence::share(&app, &evidence, &caller).await?;
        Ok(Json(evidence))
    };
    uncollected(&app, &row, found).await
}

#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/cancel",
    params(("idempotency-key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,126}[!-~])?$", description = "The same key and body give the same answer")),
    request_body = CancelBody,
    responses((status = 200, body = Done, description = "The job stops; what ran is paid")),
)]
pub async fn cancel(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    let asked: CancelBody = body_json(&body)?;
    reason(&asked.reason, 0)?;
    let by = caller.account()?;
    let job: JobId = id("id", &job)?;
    // The job is a part of what is asked: with another one the key is used for something else.
    let request = [&job.0[..], &body].concat();
    let once = once(&headers, by, "jobs/cancel", &request)?;
    super::accounts::done(&app, Command::Cancel { job, by, reason: asked.reason, once }).await
}
