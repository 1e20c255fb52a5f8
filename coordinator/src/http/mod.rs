//! The HTTP edge: parse, ask, render. What is decided is decided elsewhere.

pub mod accounts;
pub mod admin;
pub mod auth;
pub mod blobs;
mod edge;
pub mod events;
mod evidence;
pub mod health;
pub mod hosts;
pub mod jobs;
pub mod journal;
pub mod keep;
pub mod login;
pub mod model;
mod neighbourhood;
pub mod openapi;
pub mod pages;
pub mod problem;
mod query;
mod rest;
pub mod results;
mod submission;
pub mod work;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use bytes::Bytes;
use tallymill_engine::Once;
use tallymill_protocol::{AccountId, Digest, Keypair, Message};
use tallymill_storage::Store;
use tokio::sync::watch;

use crate::authz::ROUTES;
use crate::blobs::BlobStore;
use crate::claims::Claims;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::pages::views::Books;
use crate::pipeline::Pipeline;
use crate::quota::Quota;
use crate::rates::Limits;
use crate::tokens::Tokens;
use problem::Problem;

/// Longest reason that is given for something, characters.
const MAX_REASON: usize = 500;

/// What every handler can reach.
pub struct App {
    /// How it was started.
    pub options: Options,
    /// The coordinator's key.
    pub key: Keypair,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The engine.
    pub pipeline: Pipeline,
    /// What happened lately.
    pub events: Arc<Events>,
    /// Blobs.
    pub blobs: Arc<BlobStore>,
    /// Who relies on which of them at this moment.
    pub claims: Claims,
    /// Room for blobs.
    pub quota: Quota,
    /// Logins.
    pub tokens: Tokens,
    /// Who called how often.
    pub limits: Limits,
    /// Epoch of the leases.
    pub epoch: u64,
    /// Whether the process is about to stop: no new leases then, and nobody waits.
    pub stopping: watch::Receiver<bool>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Leaves of input tables that were used lately.
    pub tables: work::Tables,
    /// What the last examination of the ledger found.
    pub books: Mutex<Option<Books>>,
}

impl App {
    /// Ends when the process is about to stop.
    pub async fn stopped(&self) {
        // A sender that is gone means the same.
        drop(self.stopping.clone().wait_for(|stopping| *stopping).await);
    }

    /// Whether leases are given and commits succeed.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.pipeline.ready() && !*self.stopping.borrow()
    }
}

/// The router over every row of the table.
pub fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let guard = middleware::from_fn_with_state((Arc::clone(app), route), auth::guard);
        let limit = DefaultBodyLimit::max(route.body.most());
        router = router.route(route.path, (route.handler)().layer(limit).route_layer(guard));
    }
    router
        .fallback(pages::missing)
        .layer(middleware::from_fn_with_state(Arc::clone(app), edge::outermost))
        .with_state(Arc::clone(app))
}

/// Reads a whole CBOR message from a body.
fn message<M: Message>(body: &Bytes) -> Result<M, Problem> {
    M::from_bytes(body).map_err(|error| Problem::field("body", error.to_string()))
}

/// Reads an id from a path or query.
fn id<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::field(name, format!("{name}: {error}")))
}

/// Reads a JSON body; unknown fields are named.
fn json<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::field("body", error.to_string()))
}

/// The idempotency key of a request, if it has one.
fn once(
    headers: &HeaderMap,
    account: AccountId,
    route: &'static str,
    body: &[u8],
) -> Result<Option<Once>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let name = value.to_str().ok().filter(|name| (1..=128).contains(&name.len()));
    let name = name.filter(|name| name.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    let wrong = || Problem::field("idempotency-key", "idempotency-key: 1 to 128 ASCII characters");
    let name = name.ok_or_else(wrong)?.to_owned();
    Ok(Some(Once { account, route, name, request: Digest::of(body) }))
}

/// Fails unless a reason has so many characters; everybody reads it, or the job's payer.
fn reason(text: &str, least: usize) -> Result<(), Problem> {
    let fits = (least..=MAX_REASON).contains(&text.chars().count());
    let detail = format!("reason: {least} to {MAX_REASON} characters");
    if fits { Ok(()) } else { Err(Problem::field("reason", detail).limit(&MAX_REASON)) }
}

/// An answer that the engine should not give here.
fn unexpected() -> Problem {
    let (status, detail) = (StatusCode::INTERNAL_SERVER_ERROR, "the engine gave another answer");
    Problem::new(status, "internal", detail)
}
