//! What operators do; each act is logged for everybody to read.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use tallymill_engine::Command;
use tallymill_engine::rows::SuspensionKind;
use tallymill_ledger::{AccountKey, AccountKind, Amount};
use tallymill_protocol::Digest;
use tallymill_storage::{Offence, Rule};
use utoipa::ToSchema;

use super::accounts::done;
use super::auth::Caller;
use super::model::operators::Audit;
use super::model::{Done, Id, names};
use super::problem::Problem;
use super::{App, id, json as body_json, once, reason};
use crate::clock;
use crate::pages::views::Books;
use crate::pipeline::Uncovered;

/// A grant: micro-credits as a string.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    /// The account.
    #[schema(value_type = Id)]
    to: String,
    /// Micro-credits, in decimal; at most 2⁶³ - 1.
    #[schema(pattern = "^0*[1-9][0-9]{0,17}$")]
    amount: String,
}

/// A suspension, or its lifting.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendBody {
    /// `account`, `module`, `job` or `host`.
    #[schema(value_type = names::SuspensionKind)]
    kind: String,
    /// Its id or digest.
    #[schema(value_type = Id)]
    subject: String,
    /// Why; everybody can read it.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// An approval.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    /// The account.
    #[schema(value_type = Id)]
    account: String,
}

#[utoipa::path(
    post, path = "/api/v1/admin/grant",
    params(("idempotency-key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,126}[!-~])?$", description = "The same key and body give the same answer")),
    request_body = GrantBody,
    responses((status = 200, body = Done, description = "The credit is granted")),
)]
pub async fn grant(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    let asked: GrantBody = body_json(&body)?;
    let by = caller.account()?;
    let digits = asked.amount.bytes().all(|byte| byte.is_ascii_digit());
    let micros = asked.amount.parse::<i64>().ok().filter(|micros| digits && *micros > 0);
    let micros = micros.ok_or_else(|| {
        let detail = "amount: micro-credits above 0 as a decimal string, at most 2^63 - 1";
        Problem::field("amount", detail)
    })?;
    let once = once(&headers, by, "admin/grant", &body)?;
    done(&app, Command::Grant { by, to: id("to", &asked.to)?, amount: Amount::new(micros), once })
        .await
}

/// The kind of this name.
pub fn kind(name: &str) -> Option<SuspensionKind> {
    use SuspensionKind::{Account, Host, Job, Module};
    [Account, Module, Job, Host].into_iter().find(|kind| names::text(*kind) == name)
}

fn subject(body: &SuspendBody) -> Result<(SuspensionKind, [u8; 32]), Problem> {
    let wrong = || Problem::field("kind", "kind: 'account', 'module', 'job' or 'host'");
    Ok((kind(&body.kind).ok_or_else(wrong)?, id::<Digest>("subject", &body.subject)?.0))
}

#[utoipa::path(
    post, path = "/api/v1/admin/suspend",
    params(("idempotency-key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,126}[!-~])?$", description = "The same key and body give the same answer")),
    request_body = SuspendBody,
    responses((status = 200, body = Done, description = "It gets no leases any more")),
)]
pub async fn suspend(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    let asked: SuspendBody = body_json(&body)?;
    reason(&asked.reason, 1)?;
    let (kind, subject) = subject(&asked)?;
    let (by, reason) = (caller.account()?, asked.reason);
    let once = once(&headers, by, "admin/suspend", &body)?;
    done(&app, Command::Suspend { by, kind, subject, reason, once }).await
}

#[utoipa::path(
    post, path = "/api/v1/admin/lift",
    params(("idempotency-key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,126}[!-~])?$", description = "The same key and body give the same answer")),
    request_body = SuspendBody,
    responses((status = 200, body = Done, description = "It gets leases again")),
)]
pub async fn lift(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    let asked: SuspendBody = body_json(&body)?;
    reason(&asked.reason, 1)?;
    let (kind, subject) = subject(&asked)?;
    let (by, reason) = (caller.account()?, asked.reason);
    let once = once(&headers, by, "admin/lift", &body)?;
    done(&app, Command::Lift { by, kind, subject, reason, once }).await
}

#[utoipa::path(
    post, path = "/api/v1/admin/approve",
    params(("idempotency-key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,126}[!-~])?$", description = "The same key and body give the same answer")),
    request_body = ApproveBody,
    responses((status = 200, body = Done, description = "The account is let in")),
)]
pub async fn approve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    let asked: ApproveBody = body_json(&body)?;
    let by = caller.account()?;
    let once = once(&headers, by, "admin/approve", &body)?;
    done(&app, Command::Approve { by, account: id("account", &asked.account)?, once }).await
}

/// Offences of a rule in one answer, as the database has it.
const MOST_OFFENCES: usize = 100;

/// A job whose leases may cost more than its escrow holds: only the engine prices them.
fn in_flight(app: &App, (job, escrow, reserved): &Uncovered) -> Offence {
    let kind = AccountKind::Escrow { job: *job };
    let account = AccountKey { issuer: app.key.public().into(), kind };
    Offence {
        rule: Rule::EscrowCoversReserved,
        subject: Digest(account.id().0).to_string(),
        found: escrow.micros(),
        expected: reserved.micros(),
    }
}

#[utoipa::path(
    get, path = "/api/v1/admin/audit",
    responses((status = 200, body = Audit, description = "What was found")),
)]
pub async fn audit(State(app): State<Arc<App>>) -> Result<Json<Audit>, Problem> {
    let mut audit = app.store.audit_ledger(app.options.grants(app.key.public().into())).await?;
    let uncovered = app.pipeline.uncovered().await?;
    let in_flight = uncovered.iter().take(MOST_OFFENCES).map(|job| in_flight(&app, job));
    for offence in in_flight {
        // It knows what the database does, and the leases.
        let same = |it: &Offence| (it.rule, &it.subject) == (offence.rule, &offence.subject);
        audit.offences.retain(|it| !same(it));
        audit.offences.push(offence);
    }
    let broken = audit.sums.iter().map(|(_, sum)| *sum).find(|sum| *sum != 0);
    let books = Books {
        sum: Amount::new(broken.unwrap_or_default()),
        offences: audit.offences.len() as u64,
        transfers: audit.transfers,
        at: clock::now(),
    };
    *app.books.lock().unwrap_or_else(PoisonError::into_inner) = Some(books);
    Ok(Json(Audit::from(&audit)))
}
