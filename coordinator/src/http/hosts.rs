//! Volunteer machines.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, Query, State};
use axum::{Extension, Json};
use bytes::Bytes;
use serde_json::{Value, json};
use tallymill_engine::{Command, Reply};
use tallymill_protocol::{HostBinding, Signed};

use super::accounts::opened;
use super::auth::Caller;
use super::problem::Problem;
use super::{App, Paging, id, message, neighbourhood, render, unexpected};

pub async fn join(
    State(app): State<Arc<App>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let signed: Signed<HostBinding> = message(&body)?;
    let binding = opened(&signed)?;
    let envelope = signed.envelope().clone();
    let neighbourhood = neighbourhood::of(from.ip());
    match app.pipeline.ask(Command::JoinHost { binding, envelope, neighbourhood }).await? {
        Reply::Host { sequence, last_report, expiry } => Ok(Json(json!({
            "sequence": sequence.to_string(), "last_report": last_report.to_string(),
            "expiry": expiry.0.to_string(),
        }))),
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Err(unexpected()),
    }
}

pub async fn list(
    State(app): State<Arc<App>>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let owner = match &paging.owner {
        Some(owner) => id("owner", owner)?,
        None => caller.account()?,
    };
    let after = paging.after.as_deref().map(|after| id("after", after)).transpose()?;
    let rows = app.store.hosts(Some(owner), paging.page(after)).await?;
    let items: Vec<Value> = rows.iter().map(render::host).collect();
    Ok(Json(json!({ "items": items, "next": rows.last().map(|row| row.id.to_string()) })))
}

pub async fn show(
    State(app): State<Arc<App>>,
    Path(host): Path<String>,
) -> Result<Json<Value>, Problem> {
    let row = app.store.host(id("id", &host)?).await?.ok_or_else(|| Problem::missing("host"))?;
    Ok(Json(render::host(&row)))
}
