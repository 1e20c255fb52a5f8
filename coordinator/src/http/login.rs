//! Logging in: challenge, token, and the one-time link for browsers.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use tallymill_protocol::{Key, Login, Micros, Nonce, Signed};
use utoipa::ToSchema;

use super::auth::{COOKIE, Caller};
use super::model::service::{Challenge, Link, Token};
use super::model::{Cbor, Id};
use super::problem::Problem;
use super::{App, id, message};
use crate::tokens::Purpose;
use crate::{clock, keys};

/// A request for a challenge.
#[derive(Deserialize, ToSchema)]
#[schema(as = ChallengeRequest)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The key that will sign.
    #[schema(value_type = Id)]
    key: String,
    /// `api`, `worker` or `web`.
    #[schema(pattern = "^(api|worker|web)$")]
    purpose: String,
}

/// The address that the caller dialled.
pub fn origin(app: &App, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    app.options.origin.clone().unwrap_or_else(|| format!("{}://{host}", app.options.scheme()))
}

fn draw<const N: usize>() -> Result<[u8; N], Problem> {
    keys::random().map_err(|error| Problem::internal(&error))
}

#[utoipa::path(
    post, path = "/api/v1/login/challenge",
    request_body(content = Ask, description = "Who wants to log in, and what for"),
    responses((status = 200, body = Challenge, description = "Sign this within a minute")),
)]
pub async fn challenge(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Challenge>, Problem> {
    let ask: Ask = super::json(&body)?;
    let key: Key = id("key", &ask.key)?;
    let purpose = Purpose::from_name(&ask.purpose)
        .ok_or_else(|| Problem::field("purpose", "purpose: 'api', 'worker' or 'web'"))?;
    let nonce = Nonce(draw()?);
    let asked =
        app.tokens.challenge((key, purpose), origin(&app, &headers), nonce, clock::now())?;
    Ok(Json(Challenge {
        nonce: asked.nonce.to_string(),
        expiry: asked.expiry.into(),
        audience: Id::of(&app.key.public()),
        origin: asked.origin,
    }))
}

#[utoipa::path(
    post, path = "/api/v1/login",
    request_body(content = Cbor, content_type = "application/cbor", description = "A signed login"),
    responses((status = 200, body = Token, description = "A token for the header Authorization")),
)]
pub async fn login(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Token>, Problem> {
    let session = app.tokens.login(&message::<Signed<Login>>(&body)?, clock::now())?;
    Ok(Json(Token { token: app.tokens.seal(&session), expires: session.expires.into() }))
}

#[utoipa::path(
    post, path = "/api/v1/open",
    responses((status = 200, body = Link, description = "A link that works once, within a minute")),
)]
pub async fn open(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Link>, Problem> {
    let session = caller.session.ok_or_else(super::unexpected)?;
    let secret = draw::<32>()?;
    app.tokens.link(&session, secret, clock::now())?;
    let text = tallymill_protocol::Digest(secret).to_string();
    Ok(Json(Link { path: format!("/open/{text}") }))
}

pub async fn follow(
    State(app): State<Arc<App>>,
    Path(secret): Path<String>,
) -> Result<Response, Problem> {
    let session = app.tokens.follow(&secret, clock::now())?;
    let secure = app.options.origin.as_deref().unwrap_or_else(|| app.options.scheme());
    let secure = secure.starts_with("https");
    let cookie = format!(
        "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{}",
        app.tokens.seal(&session),
        app.options.bounds.session / Micros::SECOND,
        if secure { "; Secure" } else { "" },
    );
    let headers = [
        (header::SET_COOKIE, cookie),
        (header::LOCATION, format!("/accounts/{}", session.key)),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}
