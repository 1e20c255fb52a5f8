//! What everybody may read of operators and keys: who did what, what is suspended and why, and which statements were
//! accepted about an account's keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use tallymill_engine::rows::{SuspensionKind, SuspensionRow};
use tallymill_protocol::{AccountId, Digest};

use super::admin::kind;
use super::model::operators::{Act, KeyStatement, Suspension};
use super::model::{Part, names};
use super::problem::Problem;
use super::query::{self, Paging, Query, SuspensionsQuery};
use super::{App, id};

#[utoipa::path(
    get, path = "/api/v1/journal", params(Paging),
    responses((status = 200, body = Part<Act>, description = "What operators did, oldest first")),
)]
pub async fn journal(
    State(app): State<Arc<App>>,
    Query(paging): Query<Paging>,
) -> Result<Json<Part<Act>>, Problem> {
    let rows = app.store.admin(paging.part()?).await?;
    Ok(Json(Part::of(&rows, |row| row.id.to_string())))
}

#[utoipa::path(
    get, path = "/api/v1/suspensions", params(SuspensionsQuery),
    responses((status = 200, body = Part<Suspension>, description = "What gets no leases, by kind and id")),
)]
pub async fn suspensions(
    State(app): State<Arc<App>>,
    Query(paging): Query<SuspensionsQuery>,
) -> Result<Json<Part<Suspension>>, Problem> {
    let after = paging.after.as_deref().map(place).transpose()?;
    let rows = app.store.suspensions(query::part(after, paging.limit.as_deref())?).await?;
    let place = |row: &SuspensionRow| format!("{}:{}", names::text(row.kind), Digest(row.subject));
    Ok(Json(Part::of(&rows, place)))
}

/// The key of a suspension in the list.
fn place(text: &str) -> Result<(SuspensionKind, [u8; 32]), Problem> {
    let wrong = || Problem::field("after", "after: the `next` of the part before");
    let (name, subject) = text.split_once(':').ok_or_else(wrong)?;
    let subject: Digest = subject.parse().map_err(|_| wrong())?;
    Ok((kind(name).ok_or_else(wrong)?, subject.0))
}

#[utoipa::path(
    get, path = "/api/v1/accounts/{id}/keys", params(Paging),
    responses((status = 200, body = Part<KeyStatement>, description = "Signed statements in the order of acceptance")),
)]
pub async fn keys(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Part<KeyStatement>>, Problem> {
    let account: AccountId = id("id", &account)?;
    app.store.account(account).await?.ok_or_else(|| Problem::missing("account"))?;
    let rows = app.store.keys(account, paging.part()?).await?;
    Ok(Json(Part::of(&rows, |row| row.id.to_string())))
}
