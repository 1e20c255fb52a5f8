//! Spans of what a coordinator does: a request, a batch of the engine's thread, its commit. Nobody follows them unless the
//! program was built with the feature `otel` and told where to send them.

use axum::http::HeaderMap;
use tracing::Span;

/// The span of a request to the route with this template; no field of it is what a client made up.
pub fn request(method: &'static str, route: &str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
    );
    link(&span, headers);
    span
}

/// Notes the span of the client that caused this one. It is a link and no parent: who calls decides neither what is kept of
/// this process nor under which trace.
#[cfg(feature = "otel")]
fn link(span: &Span, headers: &HeaderMap) {
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;
    let mut parents = headers.get_all("traceparent").iter();
    if let (Some(parent), None) = (parents.next(), parents.next())
        && let Some(context) = parent.to_str().ok().and_then(context)
    {
        span.add_link(context);
    }
}

#[cfg(not(feature = "otel"))]
const fn link(_: &Span, _: &HeaderMap) {}

/// Reads a `traceparent` of version 00, which has one form and one length.
#[cfg(feature = "otel")]
fn context(text: &str) -> Option<opentelemetry::trace::SpanContext> {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        parts.next().filter(|part| part.len() == length && part.bytes().all(digit))
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    if version != "00" || text.len() != 55 {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(all(test, feature = "otel"))]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_of_the_one_form_is_read() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let read = context(&format!("00-{trace}-{span}-01")).unwrap();
        assert_eq!(read.trace_id().to_string(), trace);
        assert!(read.is_remote() && read.is_sampled());
        for wrong in [
            format!("01-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-x"),
            format!("00-{trace}-{span}"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-+{}-{span}-01", &trace[1..]),
            String::new(),
        ] {
            assert!(context(&wrong).is_none(), "{wrong}");
        }
    }
}
