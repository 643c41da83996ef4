//! Logs, spans, and the export of spans to an OpenTelemetry collector.
//!
//! Guarantees: without a collector a message's spans cost one branch. With a collector each message has a span, with
//! its steps as children. The `traceparent` header connects it to the caller's trace.

use anyhow::Context as _;
use async_nats::HeaderMap;
use inferbus_pipeline::{Identity, SPAN_TARGET};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry};

use crate::config::{LogFormat, LogSettings};
use crate::limits;

/// Keeps the exporter alive. [`Telemetry::finish`] exports the remaining spans.
#[must_use]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Sets up logs on standard error, and span export if an OTLP endpoint is configured.
    pub fn start(settings: &LogSettings) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(&settings.filter).with_context(|| {
            format!(
                "the log filter `{}` is not valid: write for example `info` or `inferbus=debug,info`",
                settings.filter
            )
        })?;
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
        let lines = match settings.format {
            LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let not_spans = FilterFn::new(|metadata| metadata.target() != SPAN_TARGET);
        let registry = Registry::default().with(lines.with_filter(filter).with_filter(not_spans));
        let Some(endpoint) = &settings.otlp_endpoint else {
            registry.init();
            return Ok(Self(None));
        };
        let provider = exporter(endpoint)?;
        let only_spans = FilterFn::new(|metadata| metadata.target() == SPAN_TARGET);
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("inferbus")).with_filter(only_spans);
        registry.with(spans).init();
        Ok(Self(Some(provider)))
    }

    /// Exports the buffered spans. Blocks up to the exporter's time limit.
    pub fn finish(self) {
        if let Some(provider) = self.0
            && let Err(fault) = provider.shutdown()
        {
            tracing::warn!(%fault, "cannot export the last spans");
        }
    }
}

/// `endpoint` is the collector's base address, like OTEL_EXPORTER_OTLP_ENDPOINT.
fn exporter(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let traces = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder().with_http().with_endpoint(traces).build().with_context(|| {
        format!("cannot export spans to `{endpoint}`: check OTEL_EXPORTER_OTLP_ENDPOINT, or unset it")
    })?;
    let resource = Resource::builder().with_service_name("inferbus").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The span of one message, a child of the sender's span if the headers contain one.
pub fn message_span(identity: &Identity, headers: Option<&HeaderMap>) -> Span {
    let span = tracing::info_span!(
        target: SPAN_TARGET, "message",
        model = %identity.model, version = %identity.version, code = Empty, otel.status_code = Empty
    );
    if !span.is_disabled()
        && let Some(headers) = headers
    {
        // Only an entered span rejects a parent, and this span is new.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Incoming(headers)));
    }
    span
}

/// Marks a message's span as failed.
pub fn mark_failed(span: &Span, code: u16) {
    // Unsigned numbers would be exported as text.
    span.record("code", i64::from(code));
    span.record("otel.status_code", "ERROR");
}

/// Writes trace headers into a reply: this worker's span if recorded, else the sender's headers.
pub fn trace_into(headers: &mut HeaderMap, span: &Span, incoming: Option<&HeaderMap>) {
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut Outgoing(headers));
        return;
    }
    for name in ["traceparent", "tracestate"] {
        if let Some(value) = incoming.and_then(|incoming| incoming.get(name)) {
            Outgoing(headers).set(name, value.to_string());
        }
    }
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    /// The sender chooses the length of its trace state. Longer values are dropped, so the reply always fits.
    fn set(&mut self, key: &str, value: String) {
        if value.len() <= limits::TRACE_HEADER {
            self.0.insert(key, value);
        }
    }
}
