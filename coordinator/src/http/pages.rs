//! Pages for people: what the reader may see is decided here, `crate::pages` lays it out.

use std::sync::{Arc, PoisonError};

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tallymill_engine::rows::{self, FaultKind, JobState, ReplicaRow, TaskState, VoidRow};
use tallymill_ledger::Amount;
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{AccountId, Message as _, Policy, Receipt, TaskIndex};
use tallymill_storage::{JobFilter, Page, TransferFilter};

use super::auth::Caller;
use super::model::names;
use super::problem::Problem;
use super::query::{self, JobsQuery, Paging, Query};
use super::{App, id, jobs as api, keep, login};
use crate::clock;
use crate::pages::views::*;
use crate::pages::{self, STYLE};

/// Rows on one page.
const ROWS: u32 = 100;

fn frame(app: &App, caller: &Caller) -> Frame {
    let account = caller.account.map(|account| account.to_string());
    Frame { network: app.options.network.to_string(), account, now: clock::now() }
}

fn page(template: &impl askama::Template) -> Response {
    match pages::render(template) {
        Ok(html) => (pages::headers(), html).into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}

/// A page, or a page about why there is none.
fn answer(app: &App, caller: &Caller, found: Result<Response, Problem>) -> Response {
    found.unwrap_or_else(|problem| {
        let (status, name, detail, next) = problem.told();
        let page = page(&ErrorPage {
            frame: frame(app, caller),
            status: status.as_u16(),
            title: name.replace('-', " "),
            detail,
            next: next.to_owned(),
        });
        (status, page).into_response()
    })
}

fn full<T>(rows: &[T]) -> Option<&T> {
    rows.last().filter(|_| rows.len() as u64 == u64::from(ROWS))
}

/// The style sheet.
pub async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

/// A page about an address that does not exist, for people; a problem document for programs.
pub async fn missing(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let person = accepts.is_some_and(|accept| accept.contains("text/html"));
    if !person || uri.path().starts_with("/api/") {
        return Problem::missing("route").into_response();
    }
    answer(&app, &Caller::default(), Err(Problem::missing("page")))
}

/// How to sign in.
pub async fn sign_in(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    page(&SignInPage {
        frame: frame(&app, &caller),
        url: login::origin(&app, &headers),
        reason: String::new(),
    })
}

/// The network.
pub async fn network(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let found = app.pipeline.network().await.map_err(Problem::from).map(|view| {
        page(&NetworkPage {
            frame: frame(&app, &caller),
            coordinator: app.key.public().to_string(),
            epoch: app.epoch,
            admission: names::text(app.options.admission),
            jobs_running: view.jobs as u64,
            ready: app.ready(),
            hosts_online: view.active as u64,
            leases: view.leases as u64,
            books: *app.books.lock().unwrap_or_else(PoisonError::into_inner),
        })
    });
    answer(&app, &caller, found)
}

/// Jobs, newest first.
pub async fn jobs(
    State(app): State<Arc<App>>,
    Query(asked): Query<JobsQuery>,
    Extension(caller): Extension<Caller>,
) -> Response {
    answer(&app, &caller, list(&app, &asked, &caller).await)
}

async fn list(app: &App, asked: &JobsQuery, caller: &Caller) -> Result<Response, Problem> {
    // An empty form field asks for nothing.
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (state, payer) = (given(&asked.state), given(&asked.payer));
    let filter = JobFilter {
        state: state.as_deref().map(api::state).transpose()?,
        payer: payer.as_deref().map(|payer| id("payer", payer)).transpose()?,
    };
    let after = query::number(asked.after.as_deref())?;
    let jobs = app.store.jobs(filter, Page { after, limit: ROWS }).await?;
    let rows: Result<Vec<JobRow>, Problem> = jobs.iter().map(|job| job_row(job, caller)).collect();
    // Only known states and ids in hexadecimal got this far, so nothing needs to be quoted.
    let kept: String = [("state", &state), ("payer", &payer)]
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("&{name}={value}")))
        .collect();
    Ok(page(&JobsPage {
        frame: frame(app, caller),
        rows: rows?,
        filter: JobsFilter { state: state.unwrap_or_default(), payer: payer.unwrap_or_default() },
        next: full(&jobs).map(|job| format!("after={}{kept}", job.number)),
    }))
}

/// The title of a private job is its payer's.
fn title(job: &rows::JobRow, caller: &Caller) -> Result<String, Problem> {
    Ok(if api::visible(job, caller)? { job.title.clone() } else { String::new() })
}

fn job_row(job: &rows::JobRow, caller: &Caller) -> Result<JobRow, Problem> {
    Ok(JobRow {
        id: job.id.to_string(),
        title: title(job, caller)?,
        state: names::text(job.state),
        payer: job.payer.to_string(),
        submitted: job.submitted,
        tasks: job.tasks.into(),
        decided: u64::from(job.final_tasks) + u64::from(job.failed_tasks),
        failed: job.failed_tasks.into(),
    })
}

/// A job.
pub async fn job(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
) -> Response {
    answer(&app, &caller, job_page(&app, &job, &paging, &caller).await)
}

async fn job_page(
    app: &App,
    job: &str,
    paging: &Paging,
    caller: &Caller,
) -> Result<Response, Problem> {
    let job = api::row(app, job).await?;
    let (mut error, mut tasks, mut next) = (None, None, None);
    let (totals, cost, why) = standing(app, &job).await?;
    let visible = api::visible(&job, caller)?;
    if visible && job.collecting.is_none() {
        let after = query::number(paging.after.as_deref())?.map(TaskIndex);
        let rows = app.store.tasks(job.id, None, Page { after, limit: ROWS }).await?;
        next = full(&rows).map(|task| format!("after={}", task.task));
        tasks = Some(rows.iter().map(task_row).collect());
        error = first_error(app, &job).await?;
    }
    let reasons = why.into_iter().filter(|_| visible).map(|text| Reason { tasks: 0, text });
    Ok(page(&JobPage {
        frame: frame(app, caller),
        id: job.id.to_string(),
        title: title(&job, caller)?,
        state: names::text(job.state),
        payer: job.payer.to_string(),
        submitted: job.submitted,
        error,
        totals,
        cost,
        policy: policy(api::manifest_of(&job)?.policy),
        reasons: reasons.collect(),
        tasks,
        next,
        kept: kept(app, &job),
    }))
}

/// What becomes of the job's results, in words; nothing while it is not over.
fn kept(app: &App, job: &rows::JobRow) -> Option<ResultsKept> {
    let collects = super::model::jobs::collects(job, &app.options.retention);
    match (job.collecting, job.finished) {
        (Some(at), _) => Some(ResultsKept::Gone(at)),
        (None, None) => None,
        (None, Some(_)) if job.held => Some(ResultsKept::Held),
        (None, Some(_)) => Some(collects.map_or(ResultsKept::Forever, ResultsKept::Until)),
    }
}

/// Tasks by state, credit, and why tasks wait. What is over holds nothing back.
async fn standing(
    app: &App,
    job: &rows::JobRow,
) -> Result<(JobTotals, JobCost, Vec<String>), Problem> {
    let view = app.pipeline.job(job.id).await?;
    let returned = if view.is_some() { 0 } else { job.escrow.micros() - job.spent.micros() };
    let cost = JobCost { held: job.escrow, paid: job.spent, returned: Amount::new(returned) };
    let mut totals = JobTotals {
        tasks: job.tasks.into(),
        provisional: job.provisional_tasks.into(),
        done: job.final_tasks.into(),
        failed: job.failed_tasks.into(),
        fuel: job.fuel,
        ..JobTotals::default()
    };
    let Some(view) = view else { return Ok((totals, cost, Vec::new())) };
    totals.waiting = u64::from(view.untouched) + view.waiting as u64;
    let known = totals.decided() + totals.provisional + totals.waiting;
    totals.working = totals.tasks.saturating_sub(known);
    Ok((totals, cost, view.why))
}

async fn first_error(app: &App, job: &rows::JobRow) -> Result<Option<JobError>, Problem> {
    let failed = app.store.tasks(job.id, Some(TaskState::Failed), Page::first(1)).await?;
    let error = |task: &rows::TaskRow| JobError {
        task: Some(task.task.0.into()),
        what: task.cause.clone().unwrap_or_else(|| "failed".to_owned()),
        why: outcome(task).unwrap_or_default(),
        next: format!("tallymill job logs {} {}", job.id, task.task),
    };
    let stopped = || JobError {
        what: format!("the job is {}", names::text(job.state)),
        next: format!("tallymill job show {}", job.id),
        ..JobError::default()
    };
    let ended = matches!(job.state, JobState::Expired | JobState::Suspended);
    Ok(failed.first().map(error).or_else(|| ended.then(stopped)))
}

fn policy(policy: Policy) -> String {
    match policy {
        Policy::Trusted => "trusted: one host, believed".to_owned(),
        Policy::Quorum { n } => format!("quorum {n}: hosts of {n} owners must agree"),
        Policy::Audit { .. } => "audit: one host, some tasks run again".to_owned(),
        Policy::SelfCheck { .. } => "self-check: the module checks results".to_owned(),
    }
}

/// How a run went wrong, unless that is the very cause for which the task failed.
fn outcome(task: &rows::TaskRow) -> Option<String> {
    let outcome = task.outcome.filter(|outcome| !outcome.is_success())?.to_string();
    Some(outcome).filter(|outcome| Some(outcome) != task.cause.as_ref())
}

fn task_row(task: &rows::TaskRow) -> TaskRow {
    let reasons = [task.cause.clone(), outcome(task)];
    TaskRow {
        index: task.task.0.into(),
        state: names::text(task.state),
        fuel: task.fuel.unwrap_or_default(),
        reason: reasons.into_iter().flatten().collect::<Vec<_>>().join(": "),
        decided: true,
        output: task.output.map(|output| output.to_string()),
    }
}

/// A task of a job that the reader may see. Who runs an undecided one is only its payer's.
pub async fn task(
    State(app): State<Arc<App>>,
    Path((job, task)): Path<(String, String)>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let found = async {
        let job = api::open_row(&app, &job, &caller).await?;
        task_page(&app, &job, TaskIndex(id("task", &task)?), &caller).await
    };
    let found = found.await;
    answer(&app, &caller, found)
}

async fn task_page(
    app: &App,
    job: &rows::JobRow,
    task: TaskIndex,
    caller: &Caller,
) -> Result<Response, Problem> {
    if task.0 >= job.tasks {
        return Err(Problem::missing("task"));
    }
    keep::gone(job)?;
    let decided = app.store.task(job.id, task).await?;
    let mut attempts = Vec::new();
    if decided.is_some() || caller.is(job.payer) {
        let replicas = app.store.replicas(job.id, task).await?;
        let voids = app.store.voids(job.id, task, Page::first(ROWS)).await?;
        attempts = replicas.iter().map(attempt).chain(voids.iter().map(void)).collect();
    }
    let open = || TaskRow {
        index: task.0.into(),
        state: if attempts.is_empty() { "open" } else { "reported" }.to_owned(),
        ..TaskRow::default()
    };
    let task = decided.as_ref().map_or_else(open, task_row);
    let (id, title) = (job.id.to_string(), job.title.clone());
    Ok(page(&TaskPage { frame: frame(app, caller), job: id, title, task, attempts }))
}

fn attempt(replica: &ReplicaRow) -> AttemptRow {
    let receipt = Receipt::from_bytes(&replica.receipt).ok();
    AttemptRow {
        id: replica.attempt.to_string(),
        host: replica.host.to_string(),
        state: names::text(replica.state),
        fuel: receipt.as_ref().map_or(0, |receipt| receipt.fuel),
        output: receipt.map(|receipt| receipt.output.to_string()),
        verdict: verdict(replica.state, replica.amount, replica.relaxed),
    }
}

fn verdict(state: rows::ReplicaState, amount: Amount, relaxed: bool) -> String {
    let stands = match state {
        rows::ReplicaState::Reported => "waits for others".to_owned(),
        rows::ReplicaState::Lost => "outvoted: not paid".to_owned(),
        _ => format!("earned {} credits", pages::format::credits(&amount)),
    };
    let relaxed = if relaxed { "; from a neighbourhood already at this task" } else { "" };
    stands + relaxed
}

fn void(void: &VoidRow) -> AttemptRow {
    AttemptRow {
        id: format!("void {}", void.id),
        host: void.host.to_string(),
        state: names::text(void.fault),
        verdict: match void.fault {
            FaultKind::Void | FaultKind::Declined => {
                format!("{}: {}", VoidCause::from_code(void.cause).phrase(), void.detail)
            }
            FaultKind::Lapsed => "its lease lapsed without a result".to_owned(),
            FaultKind::Refused => format!("its receipt was refused: {}", void.detail),
        },
        ..AttemptRow::default()
    }
}

/// An account's credit, for its owner.
pub async fn account(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    if caller.account.is_none() {
        let reason = "An account's credit is shown to its owner.".to_owned();
        let url = login::origin(&app, &headers);
        let page = page(&SignInPage { frame: frame(&app, &caller), url, reason });
        return (StatusCode::UNAUTHORIZED, page).into_response();
    }
    answer(&app, &caller, account_page(&app, &account, &paging, &caller).await)
}

async fn account_page(
    app: &App,
    account: &str,
    paging: &Paging,
    caller: &Caller,
) -> Result<Response, Problem> {
    let account: AccountId = id("id", account)?;
    if !caller.is(account) {
        return Err(Problem::forbidden("only its owner reads an account's credit"));
    }
    let row = app.store.account(account).await?.ok_or_else(|| Problem::missing("account"))?;
    let totals = app.store.totals(account).await?;
    let of = |kinds: &[&str]| {
        let some = totals.iter().filter(|total| kinds.contains(&total.kind.as_str()));
        Amount::new(some.map(|total| total.amount.micros()).fold(0, i64::saturating_add))
    };
    let asked = Page { after: query::number(paging.after.as_deref())?, limit: ROWS };
    let transfers = app.store.transfers(TransferFilter::Owner(account), asked).await?;
    Ok(page(&AccountPage {
        frame: frame(app, caller),
        id: account.to_string(),
        state: names::text(row.status),
        available: of(&["available", "granted"]),
        pending: of(&["pending"]),
        reserved: super::accounts::reserved(app, account).await?,
        lines: transfers.iter().flat_map(|transfer| lines(transfer, account)).collect(),
        next: full(&transfers).map(|transfer| format!("after={}", transfer.id)),
    }))
}

/// A transfer as its owner sees it: a line for each of their accounts that it touches.
fn lines(row: &rows::TransferRow, account: AccountId) -> Vec<StatementLine> {
    let transfer = &row.transfer;
    let sides = [(transfer.debit, -1), (transfer.credit, 1)];
    let own = sides.iter().filter(|(side, _)| side.kind.parts().1 == Some(account.0));
    let line = |(side, sign): &(tallymill_ledger::AccountKey, i64)| StatementLine {
        transfer: row.id,
        at: row.at,
        kind: names::text(transfer.kind),
        bucket: side.kind.parts().0.to_owned(),
        amount: Amount::new(transfer.amount.micros().saturating_mul(*sign)),
        job: transfer.job.map(|job| job.to_string()),
        evidence: transfer.evidence.to_string(),
    };
    own.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_page_says_which_attempt_came_from_a_neighbourhood_twice() {
        let lost = rows::ReplicaState::Lost;
        assert_eq!(verdict(lost, Amount::ZERO, false), "outvoted: not paid");
        let relaxed = verdict(lost, Amount::ZERO, true);
        assert_eq!(relaxed, "outvoted: not paid; from a neighbourhood already at this task");
    }
}
