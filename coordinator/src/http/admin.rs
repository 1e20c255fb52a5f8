//! What operators do; each act is logged for everybody to read.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tallymill_engine::Command;
use tallymill_engine::rows::SuspensionKind;
use tallymill_ledger::Amount;
use tallymill_protocol::Digest;

use super::accounts::done;
use super::auth::Caller;
use super::problem::Problem;
use super::{App, id, json as body_json, once};
use crate::clock;
use crate::pages::views::Books;

/// A grant: micro-credits as a string.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    to: String,
    amount: String,
}

/// A suspension, or its lifting.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuspendBody {
    kind: String,
    subject: String,
    reason: String,
}

/// An approval.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    account: String,
}

pub async fn grant(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: GrantBody = body_json(&body)?;
    let by = caller.account()?;
    let micros: i64 = asked.amount.parse().map_err(|_| {
        Problem::field("amount", "amount: micro-credits as a decimal string, at most 2^63 - 1")
    })?;
    let once = once(&headers, by, "admin/grant", &body)?;
    done(&app, Command::Grant { by, to: id("to", &asked.to)?, amount: Amount::new(micros), once })
        .await
}

fn subject(body: &SuspendBody) -> Result<(SuspensionKind, [u8; 32]), Problem> {
    let kind = match body.kind.as_str() {
        "account" => SuspensionKind::Account,
        "module" => SuspensionKind::Module,
        "job" => SuspensionKind::Job,
        "host" => SuspensionKind::Host,
        _ => return Err(Problem::field("kind", "kind: 'account', 'module', 'job' or 'host'")),
    };
    Ok((kind, id::<Digest>("subject", &body.subject)?.0))
}

pub async fn suspend(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: SuspendBody = body_json(&body)?;
    let (kind, subject) = subject(&asked)?;
    done(&app, Command::Suspend { by: caller.account()?, kind, subject, reason: asked.reason })
        .await
}

pub async fn lift(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: SuspendBody = body_json(&body)?;
    let (kind, subject) = subject(&asked)?;
    done(&app, Command::Lift { by: caller.account()?, kind, subject, reason: asked.reason }).await
}

pub async fn approve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: ApproveBody = body_json(&body)?;
    done(&app, Command::Approve { by: caller.account()?, account: id("account", &asked.account)? })
        .await
}

pub async fn audit(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    let audit = app.store.audit_ledger().await?;
    let broken = audit.sums.iter().map(|(_, sum)| *sum).find(|sum| *sum != 0);
    let books = Books {
        sum: Amount::new(broken.unwrap_or_default()),
        offences: audit.offences.len() as u64,
        transfers: audit.transfers,
        at: clock::now(),
    };
    *app.books.lock().unwrap_or_else(PoisonError::into_inner) = Some(books);
    let sums = audit.sums.iter();
    let sums: Vec<Value> = sums
        .map(|(issuer, sum)| json!({ "issuer": issuer.to_string(), "sum": sum.to_string() }))
        .collect();
    let offences: Vec<Value> = audit
        .offences
        .iter()
        .map(|o| {
            json!({
                "rule": format!("{:?}", o.rule), "subject": o.subject,
                "found": o.found.to_string(), "expected": o.expected.to_string(),
            })
        })
        .collect();
    Ok(Json(json!({
        "transfers": audit.transfers.to_string(), "balances": audit.balances.to_string(),
        "sums": sums, "offences": offences,
    })))
}
