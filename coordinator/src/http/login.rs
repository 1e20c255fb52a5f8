//! Logging in: challenge, token, and the one-time link for browsers.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tallymill_protocol::{Key, Login, Nonce, Signed};

use super::auth::{COOKIE, Caller};
use super::problem::Problem;
use super::{App, id, message};
use crate::tokens::Purpose;
use crate::{clock, keys};

/// A request for a challenge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    key: String,
    purpose: String,
}

/// The address that the caller dialled.
pub fn origin(app: &App, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    app.options.origin.clone().unwrap_or_else(|| format!("http://{host}"))
}

fn draw<const N: usize>() -> Result<[u8; N], Problem> {
    keys::random().map_err(|error| Problem::internal(&error))
}

pub async fn challenge(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let ask: Ask = super::json(&body)?;
    let key: Key = id("key", &ask.key)?;
    let purpose = Purpose::from_name(&ask.purpose)
        .ok_or_else(|| Problem::field("purpose", "purpose: 'api', 'worker' or 'web'"))?;
    let nonce = Nonce(draw()?);
    let asked =
        app.tokens.challenge((key, purpose), origin(&app, &headers), nonce, clock::now())?;
    Ok(Json(json!({
        "nonce": asked.nonce.to_string(), "expiry": asked.expiry.0.to_string(),
        "audience": app.key.public().to_string(), "origin": asked.origin,
    })))
}

pub async fn login(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Value>, Problem> {
    let session = app.tokens.login(&message::<Signed<Login>>(&body)?, clock::now())?;
    Ok(Json(json!({
        "token": app.tokens.seal(&session), "expires": session.expires.0.to_string(),
    })))
}

pub async fn open(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let session = caller.session.ok_or_else(super::unexpected)?;
    let secret = draw::<32>()?;
    app.tokens.link(&session, secret, clock::now())?;
    let text = tallymill_protocol::Digest(secret).to_string();
    Ok(Json(json!({ "path": format!("/open/{text}") })))
}

pub async fn follow(
    State(app): State<Arc<App>>,
    Path(secret): Path<String>,
) -> Result<Response, Problem> {
    let session = app.tokens.follow(&secret, clock::now())?;
    let secure = app.options.origin.as_deref().is_some_and(|o| o.starts_with("https:"));
    let cookie = format!(
        "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age=3600{}",
        app.tokens.seal(&session),
        if secure { "; Secure" } else { "" },
    );
    let headers = [
        (header::SET_COOKIE, cookie),
        (header::LOCATION, format!("/accounts/{}", session.key)),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}
