//! The outermost layer: counts requests; errors that come from below the handlers become problem documents too.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Frame, SizeHint};
use tracing::Instrument as _;

use super::App;
use super::problem::{Kind, Problem};
use super::rest;
use crate::authz::ROUTES;
use crate::connections::{LEAST_RATE, Pace};
use crate::metrics::known_method;
use crate::trace;

/// Longest text of a foreign error that is passed on, bytes.
const MAX_TEXT: usize = 1_024;

/// Runs a request, sees to it that an error is a problem document or, for people, a page, and counts it.
pub async fn outermost(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get().map_or("none", MatchedPath::as_str).to_owned();
    let most = most(&method, &route);
    let late = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| Paced::over(body, app.options.bounds.stall, &late));
    let span = trace::request(known_method(&method), &route, request.headers());
    let response = next.run(rest::kept(request)).instrument(span.clone()).await;
    let late = late.load(Ordering::Relaxed);
    let response = if late { too_slow().into_response() } else { told(response, most).await };
    span.record("http.response.status_code", response.status().as_u16());
    app.metrics.answered(&method, route, response.status().as_u16());
    if let Some(Kind(kind)) = response.extensions().get() {
        app.metrics.problem(kind);
    }
    response
}

/// Longest body that this route takes.
fn most(method: &Method, route: &str) -> usize {
    let all = ROUTES.iter().filter(|it| it.path == route);
    all.filter(|it| method.as_str().eq_ignore_ascii_case(it.method)).map(|it| it.body.most()).sum()
}

fn too_slow() -> Problem {
    let detail = format!("body: came at less than {LEAST_RATE} bytes a second");
    let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", detail);
    problem
        .about("body")
        .limit(&LEAST_RATE)
        .next("send it again, in smaller pieces where the connection is slow")
}

/// A request's body, which has to come.
struct Paced {
    body: Body,
    stall: Duration,
    /// Once it was waited for.
    pace: Option<Pace>,
    late: Arc<AtomicBool>,
}

impl Paced {
    /// `late` is set when the body is given up: what reads it only sees that it ended early.
    fn over(body: Body, stall: Duration, late: &Arc<AtomicBool>) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Self { body, stall, pace: None, late: Arc::clone(late) })
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let stall = self.stall;
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            let bytes =
                frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map(Bytes::len);
            if let (Some(bytes), Some(pace)) = (bytes, &mut self.pace) {
                pace.moved(u64::try_from(bytes).unwrap_or(u64::MAX));
            }
            return Poll::Ready(frame);
        }
        ready!(self.pace.get_or_insert_with(Pace::new).poll_over(stall, context));
        self.late.store(true, Ordering::Relaxed);
        let slow = std::io::Error::new(std::io::ErrorKind::TimedOut, "the body came too slowly");
        Poll::Ready(Some(Err(axum::Error::new(slow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn told(response: Response, most: usize) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_ours(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = text(body).await;
    let (head, body) = foreign(status, text, most).into_response().into_parts();
    // What else it says stays, such as the methods that an address takes.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(head.headers);
    parts.extensions.extend(head.extensions);
    Response::from_parts(parts, body)
}

fn is_ours(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind == "application/problem+json" || kind.starts_with("text/html"))
}

async fn text(body: Body) -> String {
    let bytes = to_bytes(body, MAX_TEXT).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// The problem behind an error that the server made before or after a handler.
fn foreign(status: StatusCode, text: String, most: usize) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::missing("route"),
        StatusCode::METHOD_NOT_ALLOWED => {
            let problem = Problem::new(status, "method", "this address does not take this method");
            problem.next("use one of the methods in the header Allow")
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("body: longer than {most} bytes");
            let problem = Problem::new(status, "too-long", detail).limit(&most);
            problem.about("body").next("send less at once; large inputs and outputs go up as blobs")
        }
        status if status.is_server_error() => {
            tracing::error!(status = status.as_u16(), text, "the server failed below a handler");
            Problem::new(status, "internal", "the coordinator failed; its log says why")
        }
        status => Problem::new(status, "bad-request", text),
    }
}
