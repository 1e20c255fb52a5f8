//! Volunteer machines.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, State};
use axum::{Extension, Json};
use bytes::Bytes;
use tallymill_engine::rows::HostRow;
use tallymill_engine::{Command, Reply};
use tallymill_protocol::{HostBinding, Signed};

use super::accounts::opened;
use super::auth::Caller;
use super::model::accounts::{Host, Joined};
use super::model::{Cbor, Id, Part};
use super::problem::Problem;
use super::query::{self, HostsQuery, Query};
use super::{App, id, message, neighbourhood, unexpected};

#[utoipa::path(
    post, path = "/api/v1/hosts",
    request_body(content = Cbor, content_type = "application/cbor", description = "A signed host binding"),
    responses((status = 200, body = Joined, description = "The host is bound to its owner")),
)]
pub async fn join(
    State(app): State<Arc<App>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Json<Joined>, Problem> {
    let signed: Signed<HostBinding> = message(&body)?;
    let binding = opened(&signed)?;
    let envelope = signed.envelope().clone();
    let neighbourhood = neighbourhood::of(from.ip());
    match app.pipeline.ask(Command::JoinHost { binding, envelope, neighbourhood }).await? {
        Reply::Host { sequence, last_report, expiry } => Ok(Json(Joined {
            sequence: sequence.into(),
            last_report: Id::of(&last_report),
            expiry: expiry.into(),
        })),
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Err(unexpected()),
    }
}

#[utoipa::path(
    get, path = "/api/v1/hosts", params(HostsQuery),
    responses((status = 200, body = Part<Host>, description = "Hosts by id")),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Query(asked): Query<HostsQuery>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Part<Host>>, Problem> {
    let owner = match &asked.owner {
        Some(owner) => id("owner", owner)?,
        None => caller.account()?,
    };
    let after = asked.after.as_deref().map(|after| id("after", after)).transpose()?;
    let page = query::part(after, asked.limit.as_deref())?;
    let mut rows = app.store.hosts(Some(owner), page).await?;
    refresh(&app, &mut rows).await;
    Ok(Json(Part::of(&rows, |row| row.id.to_string())))
}

#[utoipa::path(
    get, path = "/api/v1/hosts/{id}",
    responses((status = 200, body = Host, description = "The host")),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Path(host): Path<String>,
) -> Result<Json<Host>, Problem> {
    let row = app.store.host(id("id", &host)?).await?.ok_or_else(|| Problem::missing("host"))?;
    let mut rows = [row];
    refresh(&app, &mut rows).await;
    let [row] = rows;
    Ok(Json(Host::from(&row)))
}

/// Brings the times at which hosts were heard of up to now: rows tell them to within ten minutes, which must do while the
/// engine cannot be asked.
async fn refresh(app: &App, rows: &mut [HostRow]) {
    let seen = app.pipeline.seen(rows.iter().map(|row| row.id).collect()).await.unwrap_or_default();
    for (row, seen) in rows.iter_mut().zip(seen) {
        row.seen = seen.unwrap_or(row.seen);
    }
}
