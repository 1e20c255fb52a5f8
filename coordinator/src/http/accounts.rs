//! Accounts, their keys and their transfers.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use bytes::Bytes;
use tallymill_engine::rows::JobState;
use tallymill_engine::{Command, Reply};
use tallymill_ledger::Amount;
use tallymill_protocol::{
    AccountId, AccountStatement, JobId, Message, Revocation, Rotation, Signed,
};
use tallymill_storage::{JobFilter, MAX_PAGE, Page, TransferFilter};

use super::auth::Caller;
use super::model::accounts::{Account, Transfer};
use super::model::{Cbor, Done, Part};
use super::problem::Problem;
use super::query::{self, Paging, Query, TransfersQuery};
use super::{App, id, message, unexpected};

/// Runs a command that answers only that it is done.
pub async fn done(app: &App, command: Command) -> Result<Json<Done>, Problem> {
    match app.pipeline.ask(command).await? {
        Reply::Done { subject } => {
            let subject = subject.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(Json(Done { subject }))
        }
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Err(unexpected()),
    }
}

/// Opens a message by whoever claims to have signed it; the engine checks that this is who must sign.
pub fn opened<M: Message>(signed: &Signed<M>) -> Result<M, Problem> {
    signed.open(signed.signer()).map_err(|error| Problem::field("signature", error.to_string()))
}

#[utoipa::path(
    post, path = "/api/v1/accounts",
    request_body(content = Cbor, content_type = "application/cbor", description = "A signed account statement"),
    responses((status = 200, body = Done, description = "The account is published")),
)]
pub async fn create(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Done>, Problem> {
    let signed: Signed<AccountStatement> = message(&body)?;
    let statement = opened(&signed)?;
    done(&app, Command::OpenAccount { statement, envelope: signed.envelope().clone() }).await
}

#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/rotate",
    request_body(content = Cbor, content_type = "application/cbor", description = "A signed rotation"),
    responses((status = 200, body = Done, description = "The account signs with its new key")),
)]
pub async fn rotate(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    let signed: Signed<Rotation> = message(&body)?;
    let rotation = opened(&signed)?;
    same(rotation.account, &account)?;
    done(&app, Command::Rotate { rotation, envelope: signed.envelope().clone() }).await
}

#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/revoke",
    request_body(content = Cbor, content_type = "application/cbor", description = "A signed revocation"),
    responses((status = 200, body = Done, description = "The host is withdrawn")),
)]
pub async fn revoke(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
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

#[utoipa::path(
    get, path = "/api/v1/accounts/{id}",
    responses((status = 200, body = Account, description = "The account")),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Account>, Problem> {
    let account: AccountId = id("id", &account)?;
    let row = app.store.account(account).await?.ok_or_else(|| Problem::missing("account"))?;
    let (totals, reserved) = match caller.is(account) {
        true => (app.store.totals(account).await?, reserved(&app, account).await?),
        false => (Vec::new(), Amount::ZERO),
    };
    Ok(Json(Account::of(&row, &totals, reserved)))
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

#[utoipa::path(
    get, path = "/api/v1/accounts/{id}/statement", params(Paging),
    responses((status = 200, body = Part<Transfer>, description = "Transfers, oldest first")),
)]
pub async fn statement(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Part<Transfer>>, Problem> {
    let account: AccountId = id("id", &account)?;
    if !caller.is(account) {
        return Err(Problem::forbidden("only its owner reads an account's statement"));
    }
    list(&app, TransferFilter::Owner(account), paging.part()?).await
}

async fn list(
    app: &App,
    filter: TransferFilter,
    page: Page<u64>,
) -> Result<Json<Part<Transfer>>, Problem> {
    let rows = app.store.transfers(filter, page).await?;
    Ok(Json(Part::of(&rows, |row| row.id.to_string())))
}

/// Transfers of a job for its payer, or of the caller's account.
#[utoipa::path(
    get, path = "/api/v1/transfers", params(TransfersQuery),
    responses((status = 200, body = Part<Transfer>, description = "Transfers, oldest first")),
)]
pub async fn transfers(
    State(app): State<Arc<App>>,
    Query(asked): Query<TransfersQuery>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Part<Transfer>>, Problem> {
    let filter = match (&asked.job, &asked.account) {
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
    let after = query::number(asked.after.as_deref())?;
    list(&app, filter, query::part(after, asked.limit.as_deref())?).await
}
