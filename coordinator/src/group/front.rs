//! What every coordinator of a group answers with: the engine of this process, or that of the one that has the seat.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use tallymill_storage::Sitter;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::http::problem::Problem;
use crate::metrics::{MEDIA_TYPE, Metrics};

/// Names the caller of a request that was passed on, as `ADDRESS;HEX`.
const CALLER: HeaderName = HeaderName::from_static("tallymill-caller");
/// Headers of one connection, which end with it (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    // Who asks whether to send a body hears so from this side.
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Longest wait for a connection to another coordinator.
const CONNECT: Duration = Duration::from_secs(2);
/// How long another coordinator's machine may leave what it was sent unacknowledged.
const SILENCE: Duration = Duration::from_secs(20);
/// What callers are told to wait for, seconds: with some tries longer than a takeover takes.
const SOON: u32 = 2;

/// Where requests are answered.
#[derive(Debug, Clone)]
pub(super) enum Serving {
    /// Here.
    Here(Router),
    /// At another coordinator.
    There(There),
    /// Nobody has the seat, or it is just being taken.
    Nobody,
}

/// Another coordinator in its term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct There {
    address: Arc<str>,
    epoch: u64,
}

impl From<Sitter> for There {
    fn from(sitter: Sitter) -> Self {
        Self { address: sitter.address.trim_end_matches('/').into(), epoch: sitter.epoch }
    }
}

impl Serving {
    /// Whether requests go the same way.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nobody, Self::Nobody) => true,
            (Self::There(one), Self::There(other)) => one == other,
            _ => false,
        }
    }
}

/// What passes requests on.
pub(super) struct Front {
    serving: watch::Sender<Serving>,
    client: reqwest::Client,
    secret: [u8; 32],
    metrics: Arc<Metrics>,
}

impl Front {
    pub(super) fn new(
        serving: watch::Sender<Serving>,
        secret: [u8; 32],
        metrics: Arc<Metrics>,
        client: reqwest::ClientBuilder,
    ) -> std::io::Result<Self> {
        let client = client
            .connect_timeout(CONNECT)
            // How long it may be silent is for it to say, which bounds heads, bodies and readers, and for whoever takes its seat.
            .tcp_user_timeout(SILENCE)
            // They end a connection after half a minute without a request; not one that is just taken for another.
            .pool_idle_timeout(Duration::from_secs(20))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Self { serving, client, secret, metrics })
    }

    fn seal(&self, caller: SocketAddr) -> String {
        format!("{caller};{}", blake3::keyed_hash(&self.secret, caller.to_string().as_bytes()))
    }

    /// Who called, if another coordinator says so.
    fn unseal(&self, headers: &HeaderMap) -> Option<SocketAddr> {
        let (caller, seal) = headers.get(CALLER)?.to_str().ok()?.split_once(';')?;
        // Hashes compare in constant time.
        let right = blake3::keyed_hash(&self.secret, caller.as_bytes());
        (blake3::Hash::from_hex(seal).ok()? == right).then(|| caller.parse().ok())?
    }
}

/// A router that answers everything as whoever has the seat does.
pub(super) fn router(front: Front) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(front))
}

async fn answer(State(front): State<Arc<Front>>, mut request: Request) -> Response {
    let passed_on = front.unseal(request.headers());
    request.headers_mut().remove(CALLER);
    let serving = front.serving.borrow().clone();
    match serving {
        Serving::Here(router) => {
            if let Some(caller) = passed_on {
                request.extensions_mut().insert(ConnectInfo(caller));
            }
            match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
        Serving::There(there) => match request.uri().path() {
            "/livez" => "alive\n".into_response(),
            "/readyz" => format!("ready: {} serves\n", there.address).into_response(),
            "/metrics" => figures(&front),
            // From one that thinks this one has the seat: not passed round in circles.
            _ if passed_on.is_some() => away(),
            _ => pass_on(&front, &there, request).await,
        },
        Serving::Nobody => match request.uri().path() {
            "/livez" => "alive\n".into_response(),
            "/metrics" => figures(&front),
            _ => away(),
        },
    }
}

fn figures(front: &Front) -> Response {
    match front.metrics.text(false, 0, None) {
        Ok(text) => ([(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}

fn away() -> Response {
    let detail = "no coordinator of this network serves just now; one takes over within seconds";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
    let mut response = problem.next("send the same request again").into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(SOON));
    response
}

/// Passes a request on, and its answer back, as long as the other one has the seat: one that was stopped answers nothing.
async fn pass_on(front: &Front, there: &There, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    let caller = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|it| front.seal(it.0));
    let mut headers = end_to_end(parts.headers);
    if let Some(caller) = caller.and_then(|it| HeaderValue::try_from(it).ok()) {
        headers.insert(CALLER, caller);
    }
    let mut sent =
        front.client.request(parts.method, format!("{}{target}", there.address)).headers(headers);
    if !axum::body::HttpBody::is_end_stream(&body) {
        sent = sent.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let gone = gone(front.serving.subscribe(), there.clone());
    let answered = tokio::select! {
        answered = sent.send() => answered,
        () = gone => return away(),
    };
    match answered {
        Ok(answered) => pass_back(answered, self::gone(front.serving.subscribe(), there.clone())),
        Err(error) => {
            tracing::debug!(error = %super::Told(&error), "the one that serves gave no answer");
            away()
        }
    }
}

fn pass_back(
    answered: reqwest::Response,
    gone: impl Future<Output = ()> + Send + 'static,
) -> Response {
    let (status, headers) = (answered.status(), end_to_end(answered.headers().clone()));
    let body = Body::from_stream(answered.bytes_stream().take_until(Box::pin(gone)));
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

/// Ends when requests no longer go there.
async fn gone(mut serving: watch::Receiver<Serving>, there: There) {
    let there = Serving::There(there);
    // A sender that is gone means the same.
    drop(serving.wait_for(|now| !now.is(&there)).await);
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    // A connection may name more that is its own.
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().chain(&HOP_BY_HOP).for_each(|name| drop(headers.remove(name)));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_connection_ends_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Own"),
            ("x-own", "1"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("host", "mill.example"),
            ("authorization", "Bearer a"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let kept = end_to_end(headers);
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(kept.contains_key("host") && kept.contains_key("authorization"));
    }

    #[test]
    fn a_caller_is_known_by_the_seal_of_those_who_share_the_key() {
        let front = |secret| {
            let (serving, _) = watch::channel(Serving::Nobody);
            let client = tallymill_transport::plain().unwrap();
            Front::new(serving, [secret; 32], Arc::default(), client).unwrap()
        };
        let caller: SocketAddr = "203.0.113.7:4711".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(front(1).unseal(&headers), None);
        headers.insert(CALLER, front(1).seal(caller).try_into().unwrap());
        assert_eq!(front(1).unseal(&headers), Some(caller));
        assert_eq!(front(2).unseal(&headers), None, "another network's");
        let other = front(1).seal("203.0.113.8:4711".parse().unwrap());
        let (_, seal) = other.split_once(';').unwrap();
        headers.insert(CALLER, format!("{caller};{seal}").try_into().unwrap());
        assert_eq!(front(1).unseal(&headers), None, "the seal of another one");
    }
}
