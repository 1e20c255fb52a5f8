//! Health, metrics, the OpenAPI document and what anybody may know of the network.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tallymill_protocol::{PROTOCOL_VERSION, Tariff};

use super::App;
use super::problem::Problem;
use crate::authz::ROUTES;

pub async fn livez() -> &'static str {
    "alive\n"
}

pub async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    match app.ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready: draining, or the database fails\n"),
    }
}

pub async fn metrics(State(app): State<Arc<App>>) -> Result<String, Problem> {
    let view = app.pipeline.network().await?;
    let gauges = [
        ("tallymill_hosts", view.hosts),
        ("tallymill_hosts_active", view.active),
        ("tallymill_jobs_live", view.jobs),
        ("tallymill_leases", view.leases),
        ("tallymill_hosts_waiting", view.waiting),
    ];
    let gauge = |(name, value): (&str, usize)| format!("# TYPE {name} gauge\n{name} {value}\n");
    let requests = app.requests.load(Ordering::Relaxed);
    let requests =
        format!("# TYPE tallymill_requests counter\ntallymill_requests_total {requests}\n");
    Ok(gauges.map(gauge).concat() + &requests + "# EOF\n")
}

pub async fn openapi() -> Json<Value> {
    Json(document())
}

/// The OpenAPI document, made from the table of routes.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES.iter().filter(|route| route.path.starts_with("/api/")) {
        let operation = json!({
            "summary": route.summary,
            "x-role": super::render::name(route.role),
            "responses": {
                "default": { "description": "A problem document (RFC 9457)" },
                "200": { "description": "Done" },
            },
        });
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation;
    }
    let info = json!({ "title": "Tallymill coordinator", "version": "1" });
    json!({ "openapi": "3.1.0", "info": info, "paths": paths })
}

pub async fn network(State(app): State<Arc<App>>) -> Json<Value> {
    let versions = tallymill_sandbox::versions();
    let tariff = Tariff::default();
    let storage = app.store.durability();
    Json(json!({
        "network": app.options.network.as_str(), "coordinator": app.key.public().to_string(),
        "protocol": [PROTOCOL_VERSION], "epoch": app.epoch.to_string(),
        "admission": super::render::name(app.options.admission),
        "versions": {
            "meter": versions.meter, "costs": versions.costs.to_string(), "profile": versions.profile,
        },
        "tariff": {
            "fuel": tariff.fuel.to_string(), "input": tariff.input.to_string(),
            "output": tariff.output.to_string(), "storage": tariff.storage.to_string(),
            "memory": tariff.memory.to_string(), "task": tariff.task.to_string(),
            "compile": tariff.compile.to_string(),
        },
        "limits": { "blob": app.options.bounds.blob.to_string() },
        "storage": { "database": storage.database, "synchronous": storage.synchronous },
        "ready": app.ready(),
    }))
}
