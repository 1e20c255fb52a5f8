//! Who may call what, how often, and with how much: the table that the router and the OpenAPI document are built from.
//!
//! A route that has no row does not exist, so none can be forgotten. Ownership of a single job or account is checked
//! where the row is read; the role here is what a caller must be at the very least.

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post, put};
use tallymill_protocol::work::MAX_REQUEST;
use tallymill_protocol::{Message as _, SignedBytes};

use crate::http::{
    App, accounts, admin, blobs, events, health, hosts, jobs, journal, keep, login, openapi, pages,
    results, work,
};
use crate::rates::Class;

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

/// How much a caller may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nothing is read.
    None,
    /// So many bytes.
    Most(usize),
    /// A blob, which is stored as it comes: `Bounds::blob`, and the account's room.
    Blob,
}

impl Body {
    /// Most bytes that are kept in memory.
    #[must_use]
    pub const fn most(self) -> usize {
        match self {
            Self::None | Self::Blob => 0,
            Self::Most(bytes) => bytes,
        }
    }
}

const NONE: Body = Body::None;
/// JSON of some fields.
const TEXT: Body = Body::Most(16 << 10);
/// A signed statement: the longest has a payload of 1 KiB.
const SIGNED: Body = Body::Most(4 << 10);
/// The longest of signed messages.
const MANIFEST: Body = Body::Most(SignedBytes::MAX);
/// Reports with small outputs.
const REPORTS: Body = Body::Most(MAX_REQUEST);
const BLOB: Body = Body::Blob;

/// One route.
pub struct Route {
    /// HTTP method; a GET answers HEAD as well.
    pub method: &'static str,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Who may call it.
    pub role: Role,
    /// How often.
    pub class: Class,
    /// With how much.
    pub body: Body,
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
    ($($method:ident $path:literal $role:ident $class:ident $body:ident $handler:path, $summary:literal;)*) => {
        /// Every route of the coordinator.
        pub const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method), path: $path, role: Role::$role,
            class: Class::$class, body: $body, summary: $summary,
            handler: || $method($handler),
        }),*];
    };
}
routes! {
    get "/livez" Public Health NONE health::livez, "The process answers";
    get "/readyz" Public Health NONE health::readyz, "Commits succeed and leases are given";
    get "/metrics" Public Read NONE health::metrics, "Counters as OpenMetrics text";
    get "/api/v1/openapi.json" Public Read NONE openapi::serve, "This document";
    get "/api/v1/network" Public Read NONE health::network, "Name, key, versions and limits of this network";
    post "/api/v1/login/challenge" Public Login TEXT login::challenge, "A challenge to sign";
    post "/api/v1/login" Public Login SIGNED login::login, "A bearer token for a signed challenge";
    post "/api/v1/open" Account Submission NONE login::open, "A one-time link that signs a browser in";
    get "/open/{secret}" Public Login NONE login::follow, "Signs a browser in";
    post "/api/v1/accounts" Public Login SIGNED accounts::create, "Publishes an account";
    get "/api/v1/accounts/{id}" Member Read NONE accounts::show, "An account and its balances";
    get "/api/v1/accounts/{id}/statement" Account Read NONE accounts::statement, "Transfers of an account";
    get "/api/v1/accounts/{id}/keys" Public Read NONE journal::keys, "Statements about an account's keys: rotations, bindings, revocations";
    post "/api/v1/accounts/{id}/rotate" Key Submission SIGNED accounts::rotate, "Moves an account to a new key";
    post "/api/v1/accounts/{id}/revoke" Account Submission SIGNED accounts::revoke, "Withdraws a host";
    post "/api/v1/hosts" Public Login SIGNED hosts::join, "Binds a host to its owner";
    get "/api/v1/hosts" Member Read NONE hosts::list, "Hosts of an owner";
    get "/api/v1/hosts/{id}" Member Read NONE hosts::show, "A host";
    put "/api/v1/blobs/{digest}" Member Upload BLOB blobs::upload, "Stores bytes under their digest";
    get "/api/v1/blobs/{digest}" Member Read NONE blobs::download, "Bytes or a range of them";
    post "/api/v1/quote" Account Submission MANIFEST jobs::quote, "The most a job can cost";
    post "/api/v1/jobs" Account Submission MANIFEST jobs::submit, "Submits a job";
    get "/api/v1/jobs" Member Read NONE jobs::list, "Jobs, newest first";
    get "/api/v1/jobs/{id}" Member Read NONE jobs::show, "A job";
    get "/api/v1/jobs/{id}/manifest" Member Read NONE jobs::manifest, "The manifest as signed";
    get "/api/v1/jobs/{id}/keys" Member Read NONE jobs::keys, "How the key that signed the manifest came to be its submitter's";
    get "/api/v1/jobs/{id}/why" Member Read NONE jobs::why, "Why tasks wait";
    get "/api/v1/jobs/{id}/tasks" Member Read NONE jobs::tasks, "Decided tasks";
    get "/api/v1/jobs/{id}/tasks/{task}" Account Read NONE jobs::task, "A task with its replicas";
    get "/api/v1/jobs/{id}/tasks/{task}/output" Member Read NONE jobs::output, "The output of a decided task";
    get "/api/v1/jobs/{id}/tasks/{task}/log" Account Read NONE jobs::log, "What a run of a decided task wrote to standard error";
    get "/api/v1/jobs/{id}/results" Member Read NONE results::results, "Results in the order of their decisions";
    get "/api/v1/jobs/{id}/receipts/{task}" Member Read NONE jobs::receipts, "Evidence for a decided task";
    post "/api/v1/jobs/{id}/cancel" Account Submission TEXT jobs::cancel, "Stops a job";
    post "/api/v1/jobs/{id}/keep" Account Submission TEXT keep::keep, "Keeps a job's results";
    post "/api/v1/jobs/{id}/release" Account Submission NONE keep::release, "Keeps a job's results no longer";
    get "/api/v1/jobs/{id}/holds" Member Read NONE keep::holds, "Who keeps a job's results, and why";
    post "/api/v1/work" Host Work REPORTS work::work, "Reports and the next leases";
    get "/api/v1/transfers" Account Read NONE accounts::transfers, "Transfers of a job or an account";
    get "/api/v1/journal" Public Read NONE journal::journal, "What operators did, and why";
    get "/api/v1/suspensions" Public Read NONE journal::suspensions, "What gets no leases, and why";
    get "/api/v1/events" Member Read NONE events::stream, "Server-sent events";
    post "/api/v1/admin/grant" Operator Submission TEXT admin::grant, "Grants credit";
    post "/api/v1/admin/suspend" Operator Submission TEXT admin::suspend, "Stops leases of an account, module, job or host";
    post "/api/v1/admin/lift" Operator Submission TEXT admin::lift, "Lifts a suspension";
    post "/api/v1/admin/approve" Operator Submission TEXT admin::approve, "Lets an account in";
    get "/api/v1/admin/audit" Operator Read NONE admin::audit, "Examines the ledger over the whole database";
    get "/static/style.css" Public Read NONE pages::style, "The style sheet";
    get "/" Public Read NONE pages::network, "The network, for people";
    get "/jobs" Public Read NONE pages::jobs, "Jobs, for people";
    get "/jobs/{id}" Public Read NONE pages::job, "A job, for people";
    get "/jobs/{id}/tasks/{task}" Public Read NONE pages::task, "A task, for people";
    get "/accounts/{id}" Public Read NONE pages::account, "An account's credit, for its owner";
    get "/open" Public Read NONE pages::sign_in, "How to sign in";
}
