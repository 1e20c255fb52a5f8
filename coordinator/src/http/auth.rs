//! The guard before every handler: how often, protocol version, bearer token, role.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tallymill_protocol::{AccountId, HostId, Key, PROTOCOL_VERSION, speaks};

use super::problem::Problem;
use super::{App, neighbourhood};
use crate::authz::{Role, Route};
use crate::clock;
use crate::rates::{Class, Who};
use crate::tokens::{Purpose, Session, TokenError};

/// Header that names the caller's protocol version.
pub const VERSION_HEADER: &str = "tallymill-protocol";
/// Cookie that holds a browser's token.
pub const COOKIE: &str = "tallymill";

/// Who calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller {
    /// The session, if there is one.
    pub session: Option<Session>,
    /// The account whose current key logged in.
    pub account: Option<AccountId>,
    /// The host that logged in as a worker. Where the role is [`Role::Host`] the engine decides whether it has joined: a
    /// call that only waits must not cost a read of the database.
    pub host: Option<HostId>,
    /// Whether the account is an operator's.
    pub operator: bool,
}

impl Caller {
    /// The account, which the route's role promises.
    ///
    /// # Errors
    /// When there is none.
    pub fn account(&self) -> Result<AccountId, Problem> {
        self.account.ok_or_else(|| Problem::forbidden("only accounts may do this"))
    }

    /// Whether the caller is this account or an operator.
    #[must_use]
    pub fn is(&self, account: AccountId) -> bool {
        self.operator || self.account == Some(account)
    }

    fn has(&self, role: Role) -> bool {
        match role {
            Role::Public => true,
            Role::Key => self.session.is_some(),
            Role::Member => self.account.is_some() || self.host.is_some(),
            Role::Account => self.account.is_some(),
            Role::Host => self.host.is_some(),
            Role::Operator => self.operator,
        }
    }
}

/// Lets a request through when its caller does not call too often, and its version and role are right, with its [`Caller`]
/// attached.
pub async fn guard(
    State((app, route)): State<(Arc<App>, &'static Route)>,
    request: Request,
    next: Next,
) -> Response {
    // Apart from its body a request can be shared between threads.
    let (mut parts, body) = request.into_parts();
    match admit(&app, route, &parts).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whether a path asks its callers for the protocol version they speak.
pub fn asks_version(path: &str) -> bool {
    path.starts_with("/api/") && path != "/api/v1/openapi.json"
}

/// Whether this is a browser that follows a link: it cannot send the header, and it only reads.
fn follows_link(request: &Parts) -> bool {
    let accept = request.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let person = accept.is_some_and(|accept| accept.contains("text/html"));
    request.method == "GET" && person && !request.headers.contains_key(VERSION_HEADER)
}

async fn admit(app: &App, route: &Route, request: &Parts) -> Result<Caller, Problem> {
    let role = route.role;
    let session = token(&request.headers).map(|token| app.tokens.unseal(token, clock::now()));
    // Before anything that costs more than this.
    app.limits.check(route.class, who(route.class, session.as_ref(), request))?;
    if asks_version(request.uri.path()) && !follows_link(request) {
        version(&request.headers)?;
    }
    let session = match session {
        Some(Ok(session)) => session,
        None | Some(Err(_)) if role == Role::Public => return Ok(Caller::default()),
        None => return Err(login_first()),
        Some(Err(error)) => return Err(error.into()),
    };
    // A browser carries its cookie to forms of other sites too, so it may only read.
    if session.purpose == Purpose::Web && request.method != "GET" {
        return Err(Problem::forbidden("a browser's session only reads"));
    }
    let caller = caller(app, role, session).await?;
    if caller.has(role) {
        return Ok(caller);
    }
    let detail = format!("this needs the role {role:?}, which key {} does not have", session.key);
    Err(Problem::forbidden(&detail).next("publish the account or join the host first"))
}

/// Whose calls this one is counted with. A token that is not taken is none.
fn who(class: Class, session: Option<&Result<Session, TokenError>>, request: &Parts) -> Who {
    if let Some(Ok(session)) = session
        && class != Class::Login
    {
        return Who::Key(session.key);
    }
    let from = request.extensions.get::<ConnectInfo<SocketAddr>>();
    let place = from.and_then(|from| neighbourhood::of(from.ip()));
    place.map_or(Who::Nowhere, Who::Place)
}

fn login_first() -> Problem {
    let (status, detail) = (StatusCode::UNAUTHORIZED, "this needs a bearer token");
    Problem::new(status, "login", detail).next("ask for a challenge and log in")
}

fn version(headers: &HeaderMap) -> Result<(), Problem> {
    let text = headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok());
    if text.and_then(|text| text.parse().ok()).is_some_and(speaks) {
        return Ok(());
    }
    let detail = format!("header {VERSION_HEADER}: this coordinator speaks {PROTOCOL_VERSION}");
    let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "protocol", detail);
    Err(problem.limit(&PROTOCOL_VERSION).next("send the header, or update this client"))
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    bearer.or_else(|| {
        let pairs = text(header::COOKIE)?.split("; ");
        pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == COOKIE).map(|p| p.1)
    })
}

async fn caller(app: &App, role: Role, session: Session) -> Result<Caller, Problem> {
    if session.purpose == Purpose::Worker {
        let host = HostId::from(session.key);
        let known = role == Role::Host || joined(app, host).await?;
        let host = known.then_some(host);
        return Ok(Caller { session: Some(session), host, ..Caller::default() });
    }
    let account = account_of(app, session.key).await?;
    let operator = account.is_some_and(|account| app.options.operators.contains(&account));
    Ok(Caller { session: Some(session), account, operator, host: None })
}

/// Whether a host has joined and was not withdrawn.
///
/// # Errors
/// When the database cannot be read.
pub async fn joined(app: &App, host: HostId) -> Result<bool, Problem> {
    Ok(app.store.host(host).await?.is_some_and(|row| row.revoked_at.is_none()))
}

async fn account_of(app: &App, key: Key) -> Result<Option<AccountId>, Problem> {
    Ok(app.store.account_by_key(key).await?.map(|row| row.id))
}
