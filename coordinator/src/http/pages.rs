//! Pages for people: rendered here, no script, readable on a phone.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tallymill_engine::NetworkView;
use tallymill_engine::rows::{JobRow, TaskRow, TransferRow};
use tallymill_protocol::{AccountId, Manifest, Signed, Visibility};
use tallymill_storage::{BalanceTotal, JobFilter, Page, TransferFilter};

use super::auth::Caller;
use super::problem::Problem;
use super::{App, Paging, id};

const STYLE: &str = include_str!("../../templates/style.css");
/// Nothing but our own style sheet is loaded, nothing runs, nothing frames us.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";
/// Rows on one page.
const ROWS: u32 = 100;

#[derive(Template)]
#[template(path = "network.html")]
struct NetworkPage<'p> {
    name: &'p str,
    coordinator: String,
    ready: bool,
    view: NetworkView,
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage<'p> {
    name: &'p str,
    jobs: Vec<JobRow>,
    next: Option<u64>,
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage<'p> {
    name: &'p str,
    job: JobRow,
    why: Vec<String>,
    tasks: Option<Vec<TaskRow>>,
    next: Option<u32>,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'p> {
    name: &'p str,
    account: AccountId,
    totals: Vec<BalanceTotal>,
    transfers: Vec<TransferRow>,
    next: Option<u64>,
}

fn page(template: &impl Template) -> Result<Response, Problem> {
    let html = template.render().map_err(|error| Problem::internal(&error))?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, html).into_response())
}

pub async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

pub async fn network(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let view = app.pipeline.network().await?;
    let name = app.options.network.as_str();
    page(&NetworkPage { name, coordinator: app.key.public().to_string(), ready: app.ready(), view })
}

pub async fn jobs(
    State(app): State<Arc<App>>,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    let asked = Page { after: paging.number()?, limit: ROWS };
    let jobs = app.store.jobs(JobFilter::default(), asked).await?;
    let next = jobs.last().filter(|_| jobs.len() as u64 == u64::from(ROWS)).map(|job| job.number);
    page(&JobsPage { name: app.options.network.as_str(), jobs, next })
}

pub async fn job(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let job = app.store.job(id("id", &job)?).await?.ok_or_else(|| Problem::missing("job"))?;
    let manifest: Manifest =
        Signed::new(job.envelope.clone()).peek().map_err(|_| super::unexpected())?;
    let why = app.pipeline.job(job.id).await?.map(|view| view.why).unwrap_or_default();
    let mut tasks = None;
    if caller.is(job.payer) || manifest.visibility == Visibility::Public {
        let asked =
            Page { after: paging.number()?.map(tallymill_protocol::TaskIndex), limit: ROWS };
        tasks = Some(app.store.tasks(job.id, None, asked).await?);
    }
    let full = tasks.as_ref().filter(|tasks| tasks.len() as u64 == u64::from(ROWS));
    let next = full.and_then(|tasks| tasks.last()).map(|task| task.task.0);
    page(&JobPage { name: app.options.network.as_str(), job, why, tasks, next })
}

pub async fn account(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    Query(paging): Query<Paging>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let account: AccountId = id("id", &account)?;
    if !caller.is(account) {
        return Err(Problem::forbidden("only its owner reads an account's credit"));
    }
    let totals = app.store.totals(account).await?;
    let asked = Page { after: paging.number()?, limit: ROWS };
    let transfers = app.store.transfers(TransferFilter::Owner(account), asked).await?;
    let full = transfers.len() as u64 == u64::from(ROWS);
    let next = transfers.last().filter(|_| full).map(|transfer| transfer.id);
    page(&AccountPage { name: app.options.network.as_str(), account, totals, transfers, next })
}
