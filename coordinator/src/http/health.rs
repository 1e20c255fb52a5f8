//! Health, metrics and what anybody may know of the network.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tallymill_protocol::{PROTOCOL_VERSION, Tariff};

use super::App;
use super::model::Id;
use super::model::service::{Limits, Network};
use super::problem::Problem;
use crate::metrics::MEDIA_TYPE;

#[utoipa::path(
    get, path = "/livez",
    responses((status = 200, body = String, content_type = "text/plain", description = "It does")),
)]
pub async fn livez() -> &'static str {
    "alive\n"
}

#[utoipa::path(
    get, path = "/readyz",
    responses((status = 200, body = String, content_type = "text/plain", description = "They do")),
)]
pub async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if app.ready() {
        return Ok("ready\n");
    }
    let detail = "not ready: it is about to stop, or the database takes no writes";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail))
}

#[utoipa::path(
    get, path = "/metrics",
    responses((status = 200, body = String, content_type = "application/openmetrics-text", description = "The counters")),
)]
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    // An engine that cannot answer is when operators look; the other figures are told all the same.
    let view = if app.pipeline.ready() { app.pipeline.network().await.ok() } else { None };
    let text = app.metrics.text(app.ready(), app.pipeline.depth(), view);
    let text = text.map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}

#[utoipa::path(
    get, path = "/api/v1/network",
    responses((status = 200, body = Network, description = "The network")),
)]
pub async fn network(State(app): State<Arc<App>>) -> Json<Network> {
    Json(Network {
        network: app.options.network.to_string(),
        coordinator: Id::of(&app.key.public()),
        protocol: vec![PROTOCOL_VERSION],
        epoch: app.epoch.into(),
        admission: app.options.admission.into(),
        versions: tallymill_sandbox::versions().into(),
        tariff: Tariff::default().into(),
        limits: Limits { blob: app.options.bounds.blob.into() },
        storage: app.store.durability().into(),
        ready: app.ready(),
    })
}
