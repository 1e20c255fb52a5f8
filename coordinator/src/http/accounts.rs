//! Accounts, their keys and their transfers.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use bytes::Bytes;
use serde_json::{Value, json};
use tallymill_engine::rows::JobState;
use tallymill_engine::{Command, Reply};
use tallymill_ledger::Amount;
use tallymill_protocol::{
    AccountId, AccountStatement, JobId, Message, Revocation, Rotation, Signed,
};
use tallymill_storage::{JobFilter, MAX_PAGE, Page, TransferFilter};

use super::auth::Caller;
use super::problem::Problem;
use super::{App, Paging, id, message, render, unexpected};

/// Runs a command that answers only that it is done.
pub async fn done(app: &App, command: Command) -> Result<Json<Value>, Problem> {
    match app.pipeline.ask(command).await? {
        Reply::Done { subject } => {
            let hex: String = subject.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(Json(json!({ "subject": hex })))
        }
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Err(unexpected()),
    }
}

/// Opens a message by whoever claims to have signed it; the engine checks that this is who must sign.
pub fn opened<M: Message>(signed: &Signed<M>) -> Result<M, Problem> {
    signed.open(signed.signer()).map_err(|error| Problem::field("signature", error.to_string()))
}

pub async fn create(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Value>, Problem> {
    let signed: Signed<AccountStatement> = message(&body)?;
    let statement = opened(&signed)?;
    done(&app, Command::OpenAccount { statement, envelope: signed.envelope().clone() }).await
}

pub async fn rotate(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let signed: Signed<Rotation> = message(&body)?;
    let rotation = opened(&signed)?;
    same(rotation.account, &account)?;
    done(&app, Command::Rotate { rotation, envelope: signed.envelope().clone() }).await
}

pub async fn revoke(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let signed: Signed<Revocation> = message(&body)?;
    let revocation = opened(&signed)?;
    same(revocation.owner, &account)?;
    done(&app, Command::Revoke { revocation, envelope: signed.envelope().clone() }).await
}

fn same(signed: AccountId, path: &str) -> Result<(), Problem> {
    if signed == id::<AccountId>("id", path)? {
        return Ok(());
    }
    Err(Problem::field("id", "id: the signed statement is about another account"))
}

pub async fn show(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let account: AccountId = id("id", &account)?;
    let row = app.store.account(account).await?.ok_or_else(|| Problem::missing("account"))?;
    let (totals, reserved) = match caller.is(account) {
        true => (app.store.totals(account).await?, reserved(&app, account).await?),
        false => (Vec::new(), Amount::ZERO),
    };
    Ok(Json(render::account(&row, &totals, reserved)))
}

/// What is held for the account's live jobs.
pub async fn reserved(app: &App, account: AccountId) -> Result<Amount, Problem> {
    let mut sum = 0i64;
    for state in [JobState::Running, JobState::Stopping, JobState::Suspended] {
        let filter = JobFilter { payer: Some(account), state: Some(state) };
        let mut page = Page::first(MAX_PAGE);
        loop {
            let jobs = app.store.jobs(filter, page).await?;
            let held = jobs.iter().map(|job| job.escrow.micros() - job.spent.micros());
            sum = held.fold(sum, i64::saturating_add);
            let Some(last) = jobs.last() else { break };
            page = Page::after(last.number, MAX_PAGE);
        }
    }
    Ok(Amount::new(sum))
}

pub async fn statement(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let account: AccountId = id("id", &account)?;
    if !caller.is(account) {
        return Err(Problem::forbidden("only its owner reads an account's statement"));
    }
    list(&app, TransferFilter::Owner(account), &paging).await
}

async fn list(app: &App, filter: TransferFilter, paging: &Paging) -> Result<Json<Value>, Problem> {
    let rows = app.store.transfers(filter, paging.page(paging.number()?)).await?;
    let next = rows.last().map(|row| row.id.to_string());
    let items: Vec<Value> = rows.iter().map(render::transfer).collect();
    Ok(Json(json!({ "items": items, "next": next })))
}

/// Transfers of a job for its payer, or of the caller's account.
pub async fn transfers(
    State(app): State<Arc<App>>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let filter = match (&paging.job, &paging.account) {
        (Some(job), None) => {
            let job: JobId = id("job", job)?;
            let row = app.store.job(job).await?.filter(|row| caller.is(row.payer));
            TransferFilter::Job(row.ok_or_else(|| Problem::missing("job of yours"))?.id)
        }
        (None, Some(account)) => {
            let account = id("account", account)?;
            if !caller.is(account) {
                return Err(Problem::forbidden("only its owner reads an account's transfers"));
            }
            TransferFilter::Owner(account)
        }
        _ => return Err(Problem::field("job", "name either a job or an account")),
    };
    list(&app, filter, &paging).await
}
