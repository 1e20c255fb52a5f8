//! The outermost layer: counts requests; errors that come from below the handlers become problem documents too.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tallymill_protocol::work::MAX_REQUEST;

use super::App;
use super::problem::{Kind, Problem};
use super::rest;

/// Longest text of a foreign error that is passed on, bytes.
const MAX_TEXT: usize = 1_024;

/// Runs a request, sees to it that an error is a problem document or, for people, a page, and counts it.
pub async fn outermost(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get().map_or("none", MatchedPath::as_str).to_owned();
    let response = told(next.run(rest::kept(request)).await).await;
    app.metrics.answered(&method, route, response.status().as_u16());
    if let Some(Kind(kind)) = response.extensions().get() {
        app.metrics.problem(kind);
    }
    response
}

async fn told(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_ours(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = text(body).await;
    let (head, body) = foreign(status, text).into_response().into_parts();
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
fn foreign(status: StatusCode, text: String) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::missing("route"),
        StatusCode::METHOD_NOT_ALLOWED => {
            let problem = Problem::new(status, "method", "this address does not take this method");
            problem.next("use one of the methods in the header Allow")
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("body: longer than {MAX_REQUEST} bytes");
            let problem = Problem::new(status, "too-long", detail).limit(&MAX_REQUEST);
            problem.about("body").next("send less at once; large inputs and outputs go up as blobs")
        }
        status if status.is_server_error() => {
            tracing::error!(status = status.as_u16(), text, "the server failed below a handler");
            Problem::new(status, "internal", "the coordinator failed; its log says why")
        }
        status => Problem::new(status, "bad-request", text),
    }
}
