//! Where the spans of a coordinator go: by OTLP over plain HTTP to a collector that the environment names.
//!
//! The variables are OpenTelemetry's own. Without `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` nothing
//! is sent, since most verbs are no services.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Variables of which one says where to send.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// How long the last spans may take to leave.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sends what is left when it is dropped.
pub struct Traces(Option<SdkTracerProvider>);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|it| it.shutdown_with_timeout(PATIENCE)) {
            tracing::warn!("the last spans may be lost: {error}");
        }
    }
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn provider() -> Option<SdkTracerProvider> {
    let off = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|it| it.eq_ignore_ascii_case("true"));
    if off || !ENDPOINTS.into_iter().any(is_set) {
        return None;
    }
    let exporter = match SpanExporter::builder().with_http().build() {
        Ok(exporter) => exporter,
        Err(error) => {
            crate::ui::note(format!("warning: no spans are sent: {error}"));
            return None;
        }
    };
    let resource = Resource::builder();
    let resource = match is_set("OTEL_SERVICE_NAME") {
        true => resource,
        false => resource.with_service_name("tallymill"),
    };
    let provider = SdkTracerProvider::builder().with_resource(resource.build());
    Some(provider.with_batch_exporter(exporter).build())
}

/// What takes the spans of the coordinator, and of nothing that it is built of, and what sends the last of them.
/// It must be asked for before there is a runtime: its client brings one.
pub fn layer<S>() -> (impl Layer<S>, Traces)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let provider = provider();
    let layer = provider.as_ref().map(|provider| {
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tallymill"));
        let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false);
        layer.with_filter(Targets::new().with_target("tallymill_coordinator", LevelFilter::INFO))
    });
    (layer, Traces(provider))
}
