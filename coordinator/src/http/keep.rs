//! Results that are kept for longer than the coordinator keeps them, and those that are gone.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use tallymill_engine::Command;
use tallymill_engine::rows::JobRow;
use utoipa::ToSchema;

use super::auth::Caller;
use super::jobs::{open_row, row};
use super::model::Done;
use super::model::jobs::Holds;
use super::problem::Problem;
use super::{App, json as body_json};
use crate::pages::format::machine;

/// Why results are kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepBody {
    /// In words.
    reason: String,
}

/// From now on nothing of the job's results is collected, until it is released.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/keep",
    request_body = KeepBody,
    responses((status = 200, body = Done, description = "The results are kept")),
)]
pub async fn keep(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    let asked: KeepBody = body_json(&body)?;
    decide(&app, &job, &caller, Some(asked.reason)).await
}

#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/release",
    responses((status = 200, body = Done, description = "The results are kept no longer than others")),
)]
pub async fn release(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Done>, Problem> {
    decide(&app, &job, &caller, None).await
}

async fn decide(
    app: &App,
    job: &str,
    caller: &Caller,
    reason: Option<String>,
) -> Result<Json<Done>, Problem> {
    let by = caller.account()?;
    let found = row(app, job).await?;
    let keeps = reason.is_some();
    let command = Command::Keep { job: found.id, by, of: [found.payer, found.submitter], reason };
    let done = super::accounts::done(app, command).await?;
    // Collecting may have begun before the commit: then it is too late.
    if keeps {
        gone(&row(app, job).await?)?;
    }
    Ok(done)
}

#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/holds",
    responses((status = 200, body = Holds, description = "Who keeps the results, and why")),
)]
pub async fn holds(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Holds>, Problem> {
    let found = open_row(&app, &job, &caller).await?;
    let rows = app.store.holds(found.id).await?;
    Ok(Json(Holds { items: rows.iter().map(Into::into).collect() }))
}

/// 410 for a job whose results are not there any more.
pub fn gone(job: &JobRow) -> Result<(), Problem> {
    let Some(since) = job.collecting else { return Ok(()) };
    let since = machine(&since);
    let detail =
        format!("the results of this job were collected at {since}, when their time was over");
    let next = "read its totals and payments, which stay; keep the results of others in time";
    Err(Problem::new(StatusCode::GONE, "collected", detail).next(next))
}

/// What is read of a job's results. Where they are collected meanwhile the answer is that, and nothing by halves.
pub async fn uncollected<T>(
    app: &App,
    job: &JobRow,
    read: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    gone(job)?;
    let found = read.await;
    // Of a live job nothing goes.
    if job.finished.is_some() {
        gone(&app.store.job(job.id).await?.ok_or_else(super::unexpected)?)?;
    }
    found
}
