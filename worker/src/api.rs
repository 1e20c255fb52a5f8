//! The coordinator's HTTP API as a worker uses it.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tallymill_protocol::cbor::Text;
use tallymill_protocol::{Digest, Key, Login, Message, Micros, Nonce, PROTOCOL_VERSION};
use tallymill_transport::{TransportError, Ways};

use crate::signer::{Signer, SignerError};

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Its address makes no sense, or nobody can vouch for it.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// No answer.
    #[error("the coordinator at {origin} is unreachable: {cause}")]
    Unreachable {
        /// Where it was looked for.
        origin: String,
        /// What the network said.
        cause: String,
    },
    /// It answered that it cannot or will not.
    #[error("the coordinator refused ({status}): {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its own words.
        detail: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// An answer that makes no sense.
    #[error("the coordinator's answer is not understood: {0}")]
    Answer(String),
    /// The login could not be signed.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl ApiError {
    /// Whether the same call may work later without anybody changing anything.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(*status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// Whether the coordinator understood the call and calls its content wrong.
    #[must_use]
    pub const fn blames_content(&self) -> bool {
        matches!(self, Self::Refused { status: 400 | 413 | 422, .. })
    }
}

/// A client of one coordinator.
#[derive(Debug)]
pub struct Api {
    ways: Ways,
    token: Mutex<Option<String>>,
}

impl Api {
    /// A client for the coordinator at `url`, or for any of those at several with commas between; over https it trusts the
    /// authorities in `ca` too.
    ///
    /// # Errors
    /// When it is not an http(s) address, or those authorities cannot be read.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, ApiError> {
        let ways = Ways::new(url, ca, |client| {
            client
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(70))
                // Coordinators end a connection after half a minute without a request; not one that is just taken for another.
                .pool_idle_timeout(Duration::from_secs(20))
                // Half of it by default, which a call that waits does not live to see where one probe of its connection is lost.
                .tcp_user_timeout(Duration::from_secs(60))
                .redirect(reqwest::redirect::Policy::none())
        })?;
        Ok(Self { ways, token: Mutex::new(None) })
    }

    /// Scheme, host and port, as a login names them.
    #[must_use]
    pub fn origin(&self) -> String {
        self.ways.origin()
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.ways.request(method, path);
        request.header("tallymill-protocol", PROTOCOL_VERSION.to_string())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let sent = self.ways.send(request).await.map_err(|error| self.unreachable(&error))?;
        if sent.status().is_success() {
            return Ok(sent);
        }
        Err(refusal(sent).await)
    }

    fn unreachable(&self, error: &reqwest::Error) -> ApiError {
        let cause = tallymill_transport::explain(error).unwrap_or_else(|| {
            // The innermost cause is the one a person can act on.
            let mut cause: &dyn std::error::Error = error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            cause.to_string()
        });
        ApiError::Unreachable { origin: self.origin(), cause }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        let bytes = self.body(self.send(request).await?, 1 << 20).await?;
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Answer(error.to_string()))
    }

    async fn body(&self, response: Response, limit: usize) -> Result<Vec<u8>, ApiError> {
        let (mut bytes, mut stream) = (Vec::new(), response.bytes_stream());
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| self.unreachable(&error))?);
            if bytes.len() > limit {
                return Err(ApiError::Answer(format!("it is longer than {limit} bytes")));
            }
        }
        Ok(bytes)
    }

    /// What the coordinator says of its network.
    pub(crate) async fn network(&self) -> Result<Value, ApiError> {
        self.json(self.request(Method::GET, "/api/v1/network")).await
    }

    /// Posts a signed statement as CBOR.
    pub(crate) async fn post_statement(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Value, ApiError> {
        let request = self.request(Method::POST, path).header("content-type", "application/cbor");
        let response = self.send(request.body(body)).await?;
        let bytes = self.body(response, 1 << 20).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn login(&self, signer: &Signer, audience: Key) -> Result<String, ApiError> {
        let key = Key::from(signer.host());
        let ask = json!({ "key": key.to_string(), "purpose": "worker" });
        let (origin, path) = (self.origin(), "/api/v1/login/challenge");
        let answer: Value = self.json(self.request(Method::POST, path).json(&ask)).await?;
        let login = Login {
            format: 1,
            audience,
            origin: Text(origin),
            purpose: Text("worker".into()),
            nonce: parsed::<Nonce>(&answer, "nonce")?,
            expiry: Micros(number(&answer, "expiry")?),
            signer: key,
        };
        let signed = signer.login(login).await?.to_bytes();
        let answer = self.post_statement("/api/v1/login", signed).await?;
        let token = answer["token"].as_str().ok_or_else(|| missing("token"))?.to_owned();
        *self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }

    /// The token of the last login. Whether it has ended is for the coordinator to say: its clock counts, not this one.
    fn held_token(&self) -> Option<String> {
        self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(crate) fn forget_token(&self) {
        *self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }
}

/// A logged-in view of the API: it signs in when it must, and once more when its token is not taken.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) api: std::sync::Arc<Api>,
    pub(crate) signer: Signer,
    pub(crate) audience: Key,
}

impl Session {
    async fn call(&self, make: impl Fn() -> RequestBuilder) -> Result<Response, ApiError> {
        for again in [true, false] {
            let token = match self.api.held_token() {
                Some(token) => token,
                None => self.api.login(&self.signer, self.audience).await?,
            };
            match self.api.send(make().bearer_auth(token)).await {
                Err(ApiError::Refused { status: 401, .. }) if again => self.api.forget_token(),
                Err(error @ ApiError::Unreachable { .. }) => {
                    // An answer to a long body can be lost with the connection, a 401 among them: a login is short.
                    self.api.forget_token();
                    return Err(error);
                }
                done => return done,
            }
        }
        Err(ApiError::Answer("it never takes the token it gave".into()))
    }

    /// Posts a message and reads another.
    pub(crate) async fn exchange<M: Message>(
        &self,
        path: &str,
        body: Bytes,
    ) -> Result<M, ApiError> {
        let make = || {
            let request = self.api.request(Method::POST, path);
            request.header("content-type", "application/cbor").body(body.clone())
        };
        self.read(self.call(make).await?).await
    }

    /// Gets a message.
    pub(crate) async fn message<M: Message>(&self, path: &str) -> Result<M, ApiError> {
        self.read(self.call(|| self.api.request(Method::GET, path)).await?).await
    }

    async fn read<M: Message>(&self, response: Response) -> Result<M, ApiError> {
        let bytes = self.api.body(response, M::MAX).await?;
        M::from_bytes(&bytes).map_err(|error| ApiError::Answer(error.to_string()))
    }

    /// A blob's bytes, or those of one range of it.
    pub(crate) async fn blob(
        &self,
        digest: &Digest,
        range: Option<(u64, u64)>,
    ) -> Result<impl Stream<Item = Result<Bytes, reqwest::Error>> + use<>, ApiError> {
        let path = format!("/api/v1/blobs/{digest}");
        let make = || {
            let request = self.api.request(Method::GET, &path);
            match range {
                Some((from, to)) => request.header("range", format!("bytes={from}-{}", to - 1)),
                None => request,
            }
        };
        let response = self.call(make).await?;
        if range.is_some() && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(ApiError::Answer("a range was asked for and the whole blob came".into()));
        }
        Ok(response.bytes_stream())
    }

    /// Uploads a blob.
    pub(crate) async fn upload(&self, digest: &Digest, bytes: Bytes) -> Result<(), ApiError> {
        let path = format!("/api/v1/blobs/{digest}");
        let make = || self.api.request(Method::PUT, &path).body(bytes.clone());
        self.call(make).await.map(drop)
    }
}

async fn refusal(response: Response) -> ApiError {
    let status = response.status();
    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let retry_after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let problem: Value = response.json().await.unwrap_or(Value::Null);
    let words = ["detail", "next"].map(|field| problem[field].as_str());
    let detail = match words {
        [Some(detail), Some(next)] => format!("{detail}; {next}"),
        [Some(detail), None] => detail.to_owned(),
        _ => status.canonical_reason().unwrap_or("no reason given").to_owned(),
    };
    ApiError::Refused { status: status.as_u16(), detail, retry_after }
}

fn missing(field: &str) -> ApiError {
    ApiError::Answer(format!("its field {field:?} is missing or not what it should be"))
}

/// An id in a JSON answer.
pub(crate) fn parsed<T: std::str::FromStr>(answer: &Value, field: &str) -> Result<T, ApiError> {
    answer[field].as_str().and_then(|text| text.parse().ok()).ok_or_else(|| missing(field))
}

/// A number in a JSON answer: a decimal string, or a plain number where it is small.
pub(crate) fn number(answer: &Value, field: &str) -> Result<u64, ApiError> {
    let value = &answer[field];
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or_else(|| value.as_u64()).ok_or_else(|| missing(field))
}
