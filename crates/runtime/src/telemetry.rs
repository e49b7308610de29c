//! Logs and traces.

mod export;
mod json;

use std::io::IsTerminal;
use std::sync::Once;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::{LogFormat, TelemetryConfig};
use crate::request_id::current_request_id;
use crate::{metrics, tls};

/// How long the end of the process may wait for the last spans to be exported.
const FLUSH_AT_MOST: Duration = Duration::from_secs(5);

/// Holds the spans that must be exported before the process ends.
#[derive(Debug)]
#[must_use = "the last spans are exported by shutdown()"]
pub struct TelemetryGuard {
    traces: SdkTracerProvider,
}

impl TelemetryGuard {
    /// Exports the last spans, for at most 5 s.
    pub fn shutdown(self) {
        if let Err(error) = self.traces.shutdown_with_timeout(FLUSH_AT_MOST) {
            tracing::warn!(%error, "the last spans may be lost");
        }
    }
}

/// Installs logs, traces, metrics and TLS for the process. Only the settings of the first call apply, so tests may call
/// it repeatedly.
///
/// # Errors
/// When the log filter does not parse. An unreachable collector is not an error: only traces are lost.
pub fn init(service: &'static str, config: &TelemetryConfig) -> anyhow::Result<TelemetryGuard> {
    tls::install();
    let filter = EnvFilter::try_new(&config.log_filter)
        .with_context(|| format!("LOG={:?} is not a log filter; try info, or info,sqlx=warn", config.log_filter))?;
    let (traces, export_error) = tracer_provider(service, config);
    let spans = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer(service))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    let logs = match config.log_format {
        LogFormat::Json => {
            fmt::layer().fmt_fields(fmt::format::JsonFields::new()).event_format(json::JsonLines { service }).boxed()
        }
        LogFormat::Pretty => fmt::layer().with_target(false).with_ansi(std::io::stdout().is_terminal()).boxed(),
    };
    // An error means that a subscriber is installed already; logs go there.
    let first = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(shows_no_event))
        .with(spans)
        .with(logs)
        .try_init()
        .is_ok();
    if first {
        log_panics();
    }
    if let Some(error) = export_error {
        tracing::warn!(error, "traces are not exported");
    }
    metrics::install();
    Ok(TelemetryGuard { traces })
}

/// Whether this is no log line of lapin that shows a whole message: an event with the customer's name and address. It shows those that
/// the broker returns in warnings, and all others in traces. No log filter brings them back.
fn shows_no_event(line: &tracing::Metadata<'_>) -> bool {
    let target = line.target();
    !target.starts_with("lapin") || *line.level() <= LevelFilter::INFO && target != "lapin::returned_messages"
}

fn tracer_provider(service: &'static str, config: &TelemetryConfig) -> (SdkTracerProvider, Option<String>) {
    let resource = Resource::builder().with_service_name(service).build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let exporter = config.otlp_endpoint.as_deref().map(export::Exporter::new);
    match exporter {
        Some(Ok(exporter)) => {
            let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
            (builder.with_sampler(sampler).with_batch_exporter(exporter).build(), None)
        }
        // Without a collector, spans still get ids, for logs and stored rows, but record nothing.
        none_or_error => {
            let error = none_or_error.and_then(Result::err).map(|error| format!("{error:#}"));
            (builder.with_sampler(Sampler::AlwaysOff).build(), error)
        }
    }
}

/// Logs a panic like any other error, with the request in which it happened.
fn log_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let message = crate::tasks::panic_message(panic.payload());
            let location = panic.location().map(ToString::to_string);
            let request_id = current_request_id().map(|id| id.to_string());
            tracing::error!(error = message, location, request_id, "panic");
        }));
    });
}

/// The W3C `traceparent` of the current span, to be sent or stored with the work that it causes.
pub fn traceparent() -> Option<String> {
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
}

/// The current trace's id, 32 hexadecimal digits.
pub fn trace_id() -> Option<String> {
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| span.trace_id().to_string())
}

/// Makes `span` a child of the remote span that `traceparent` names. Must be called before the span is entered. An
/// invalid `traceparent` is ignored, as W3C Trace Context requires.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    let Some(parent) = traceparent.and_then(parse_traceparent) else { return };
    // An error means that no subscriber records spans.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

/// W3C Trace Context, level 1: `version-traceid-spanid-flags`, lower-case hexadecimal.
fn parse_traceparent(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = [(version, 2), (trace, 32), (span, 16), (flags, 2)].into_iter().all(|(part, length)| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    if !well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

pub(crate) fn set_attribute(span: &Span, key: &'static str, value: impl Into<Value>) {
    span.set_attribute(key, value);
}

pub(crate) fn mark_failed(span: &Span) {
    span.set_status(Status::error(""));
}

#[cfg(test)]
mod tests;
