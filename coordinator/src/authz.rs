//! Who may call what: the table that the router and the OpenAPI document are built from.
//!
//! A route that has no row does not exist, so none can be forgotten. Ownership of a single job or account is checked
//! where the row is read; the role here is what a caller must be at the very least.

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post, put};

use crate::http::{
    App, accounts, admin, blobs, events, health, hosts, jobs, journal, login, openapi, pages,
    results, work,
};

/// What a caller must at least be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Anybody.
    Public,
    /// A key that logged in, whether it is known or not.
    Key,
    /// An account, or a host.
    Member,
    /// An account's current key.
    Account,
    /// A key that logged in as a worker: what it asks for is put to the engine, which knows whether it is a host.
    Host,
    /// An operator's account.
    Operator,
}

/// One route.
pub struct Route {
    /// HTTP method; a GET answers HEAD as well.
    pub method: &'static str,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Who may call it.
    pub role: Role,
    /// What it does.
    pub summary: &'static str,
    /// Makes its handler.
    pub handler: fn() -> MethodRouter<Arc<App>>,
}

impl Route {
    /// Whether programs call it, so that the API's document has it. The other routes are pages for people.
    #[must_use]
    pub fn documented(&self) -> bool {
        self.path.starts_with("/api/") || ["/livez", "/readyz", "/metrics"].contains(&self.path)
    }
}

macro_rules! routes {
    ($($method:ident $path:literal $role:ident $handler:path, $summary:literal;)*) => {
        /// Every route of the coordinator.
        pub const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method), path: $path, role: Role::$role, summary: $summary,
            handler: || $method($handler),
        }),*];
    };
}
routes! {
    get "/livez" Public health::livez, "The process answers";
    get "/readyz" Public health::readyz, "Commits succeed and leases are given";
    get "/metrics" Public health::metrics, "Counters as OpenMetrics text";
    get "/api/v1/openapi.json" Public openapi::serve, "This document";
    get "/api/v1/network" Public health::network, "Name, key, versions and limits of this network";
    post "/api/v1/login/challenge" Public login::challenge, "A challenge to sign";
    post "/api/v1/login" Public login::login, "A bearer token for a signed challenge";
    post "/api/v1/open" Account login::open, "A one-time link that signs a browser in";
    get "/open/{secret}" Public login::follow, "Signs a browser in";
    post "/api/v1/accounts" Public accounts::create, "Publishes an account";
    get "/api/v1/accounts/{id}" Member accounts::show, "An account and its balances";
    get "/api/v1/accounts/{id}/statement" Account accounts::statement, "Transfers of an account";
    get "/api/v1/accounts/{id}/keys" Public journal::keys, "Statements about an account's keys: rotations, bindings, revocations";
    post "/api/v1/accounts/{id}/rotate" Key accounts::rotate, "Moves an account to a new key";
    post "/api/v1/accounts/{id}/revoke" Account accounts::revoke, "Withdraws a host";
    post "/api/v1/hosts" Public hosts::join, "Binds a host to its owner";
    get "/api/v1/hosts" Member hosts::list, "Hosts of an owner";
    get "/api/v1/hosts/{id}" Member hosts::show, "A host";
    put "/api/v1/blobs/{digest}" Member blobs::upload, "Stores bytes under their digest";
    get "/api/v1/blobs/{digest}" Member blobs::download, "Bytes or a range of them";
    post "/api/v1/quote" Account jobs::quote, "The most a job can cost";
    post "/api/v1/jobs" Account jobs::submit, "Submits a job";
    get "/api/v1/jobs" Member jobs::list, "Jobs, newest first";
    get "/api/v1/jobs/{id}" Member jobs::show, "A job";
    get "/api/v1/jobs/{id}/manifest" Member jobs::manifest, "The manifest as signed";
    get "/api/v1/jobs/{id}/keys" Member jobs::keys, "How the key that signed the manifest came to be its submitter's";
    get "/api/v1/jobs/{id}/why" Member jobs::why, "Why tasks wait";
    get "/api/v1/jobs/{id}/tasks" Member jobs::tasks, "Decided tasks";
    get "/api/v1/jobs/{id}/tasks/{task}" Account jobs::task, "A task with its replicas";
    get "/api/v1/jobs/{id}/tasks/{task}/output" Member jobs::output, "The output of a decided task";
    get "/api/v1/jobs/{id}/tasks/{task}/log" Account jobs::log, "What a run of a decided task wrote to standard error";
    get "/api/v1/jobs/{id}/results" Member results::results, "Results in the order of their decisions";
    get "/api/v1/jobs/{id}/receipts/{task}" Member jobs::receipts, "Evidence for a decided task";
    post "/api/v1/jobs/{id}/cancel" Account jobs::cancel, "Stops a job";
    post "/api/v1/work" Host work::work, "Reports and the next leases";
    get "/api/v1/transfers" Account accounts::transfers, "Transfers of a job or an account";
    get "/api/v1/journal" Public journal::journal, "What operators did, and why";
    get "/api/v1/suspensions" Public journal::suspensions, "What gets no leases, and why";
    get "/api/v1/events" Member events::stream, "Server-sent events";
    post "/api/v1/admin/grant" Operator admin::grant, "Grants credit";
    post "/api/v1/admin/suspend" Operator admin::suspend, "Stops leases of an account, module, job or host";
    post "/api/v1/admin/lift" Operator admin::lift, "Lifts a suspension";
    post "/api/v1/admin/approve" Operator admin::approve, "Lets an account in";
    get "/api/v1/admin/audit" Operator admin::audit, "Examines the ledger over the whole database";
    get "/static/style.css" Public pages::style, "The style sheet";
    get "/" Public pages::network, "The network, for people";
    get "/jobs" Public pages::jobs, "Jobs, for people";
    get "/jobs/{id}" Public pages::job, "A job, for people";
    get "/jobs/{id}/tasks/{task}" Public pages::task, "A task, for people";
    get "/accounts/{id}" Public pages::account, "An account's credit, for its owner";
    get "/open" Public pages::sign_in, "How to sign in";
}
