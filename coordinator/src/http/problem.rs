//! Errors at the HTTP edge: RFC 9457 problem documents that name field, limit and next step.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tallymill_engine::Refusal;

use super::model::ProblemDocument;
use crate::blobs::BlobError;
use crate::claims::Removed;
use crate::pipeline::Unavailable;
use crate::rates::{Rate, TooOften};
use crate::tokens::TokenError;

/// The kind of a problem, beside its response.
#[derive(Debug, Clone, Copy)]
pub struct Kind(pub &'static str);

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    name: &'static str,
    detail: String,
    field: Option<String>,
    limit: Option<String>,
    next: Option<&'static str>,
    /// Seconds after which to send the request again.
    after: Option<u16>,
}

impl Problem {
    /// A problem with this status, name and detail.
    #[must_use]
    pub fn new(status: StatusCode, name: &'static str, detail: impl Into<String>) -> Self {
        let after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { status, name, detail: detail.into(), field: None, limit: None, next: None, after }
    }

    /// The request is not what it must be: 400, with the field.
    #[must_use]
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail).about(field)
    }

    /// There is no such thing, or the caller may not know of it: 404.
    #[must_use]
    pub fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {what}"))
    }

    /// The caller may not: 403.
    #[must_use]
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Names the field, parameter or header it is about.
    #[must_use]
    pub fn about(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// Names the limit that was passed.
    #[must_use]
    pub fn limit(self, limit: &impl ToString) -> Self {
        Self { limit: Some(limit.to_string()), ..self }
    }

    /// Says what to do.
    #[must_use]
    pub fn next(self, next: &'static str) -> Self {
        Self { next: Some(next), ..self }
    }

    /// Plain HTTP came where TLS is spoken: 400.
    #[must_use]
    pub fn plain_http() -> Self {
        let detail = "this port speaks https, and plain HTTP came";
        Self::new(StatusCode::BAD_REQUEST, "plain-http", detail)
            .next("dial https:// and not http://")
    }

    /// The whole answer as it is sent where no server stands between; the connection ends behind it.
    #[must_use]
    pub fn into_http(self) -> String {
        let status = self.status;
        let body = serde_json::to_string(&self.document()).unwrap_or_default();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn document(self) -> ProblemDocument {
        ProblemDocument {
            r#type: format!("urn:tallymill:problem:{}", self.name),
            title: self.name.replace('-', " "),
            status: self.status.as_u16(),
            detail: self.detail,
            field: self.field,
            limit: self.limit,
            next: self.next.map(str::to_owned),
        }
    }

    /// Status, name, detail and next step, for a page.
    #[must_use]
    pub fn told(self) -> (StatusCode, &'static str, String, &'static str) {
        (self.status, self.name, self.detail, self.next.unwrap_or_default())
    }

    /// A disk or a database that fails now, logged here: 503, since what was asked for may be there in a moment.
    #[must_use]
    pub fn passing(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, cause = ?error.source(), "a request failed for now");
        let detail = "the coordinator cannot read its disk now; its log says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            .next("send the same request again")
    }

    /// A failure inside, logged here and told without details: 500.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, cause = ?error.source(), "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the coordinator failed; its log says why",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, after) = (self.status, self.name, self.after);
        let mut response = (status, Json(self.document())).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response.extensions_mut().insert(Kind(name));
        if let Some(after) = after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        response
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string())
            .next("send the same request again")
    }
}

impl From<TooOften> for Problem {
    fn from(TooOften { rate: Rate { steady, burst }, after }: TooOften) -> Self {
        let detail = format!("more than {steady} such calls a second, after {burst} at once");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-often", detail);
        let problem =
            problem.limit(&steady).next("send the same request after the time in Retry-After");
        Self { after: Some(u16::try_from(after).unwrap_or(u16::MAX)), ..problem }
    }
}

impl From<tallymill_storage::ReadError> for Problem {
    fn from(error: tallymill_storage::ReadError) -> Self {
        match error {
            tallymill_storage::ReadError::Database(_) => Self::passing(&error),
            tallymill_storage::ReadError::Corrupt(_) => Self::internal(&error),
        }
    }
}

impl From<Removed> for Problem {
    fn from(error: Removed) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string())
            .next("send the same request again")
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let status = match error {
            TokenError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        };
        Self::new(status, "login", error.to_string()).next("ask for a new challenge and log in")
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        let detail = error.to_string();
        match error {
            BlobError::Mismatch { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "digest", detail).about("digest")
            }
            BlobError::TooLong { limit } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", detail).limit(&limit)
            }
            BlobError::Broken(_) => Self::field("body", detail),
            BlobError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", detail)
                    .next("tell the operator, or try again later")
            }
            BlobError::Io(error) => Self::passing(&error),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let with = |status, name| Self::new(status, name, detail.clone());
        match refusal {
            Refusal::UnknownAccount(_) | Refusal::UnknownHost(_) | Refusal::UnknownJob(_) => {
                with(StatusCode::NOT_FOUND, "not-found")
            }
            Refusal::Field { field, .. } => Self::field(field, detail),
            Refusal::Manifest(error) => Self::field(error.field, detail),
            Refusal::Coordinator(_) => Self::field("coordinators", detail),
            Refusal::Policy { .. } => Self::field("policy", detail),
            Refusal::Network { .. } => Self::field("network", detail),
            Refusal::Price(_) => Self::field("limits", detail),
            Refusal::Budget { needed, .. } => Self::field("budget", detail).limit(&needed.micros()),
            Refusal::Ledger(_) => with(StatusCode::PAYMENT_REQUIRED, "credit")
                .next("ask an operator for a grant, or lower the limits or the budget"),
            Refusal::Limit { limit, .. } => {
                with(StatusCode::TOO_MANY_REQUESTS, "limit").limit(&limit)
            }
            Refusal::HostTaken(_) => with(StatusCode::CONFLICT, "conflict"),
            Refusal::OnceConflict(_) => with(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key"),
            _ => with(StatusCode::FORBIDDEN, "forbidden"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unavailable_says_when_to_come_back() {
        let response = Problem::from(Unavailable).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn another_body_under_the_same_key_is_422() {
        let response = Problem::from(Refusal::OnceConflict("k".into())).into_response();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
}
