//! Logs and traces.

mod json;
mod trace;
mod sampling;
mod times;
mod export;
mod http;
mod messages;

use std::io::IsTerminal;
use std::sync::{Once, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::{LogFormat, TelemetryConfig, TracesConfig};
use crate::request_id::current_request_id;
use crate::{metrics, tls};

pub(crate) use http::{HttpRequest, http_served};
pub use http::{http_answered, http_call, http_failed};
pub use messages::{Message, MessagingSystem, Sent, job_received, record_sent, take_messages};
pub use times::{finished_at, started_at};
pub use trace::{Cause, fail, follow, is_recorded, link, set_attribute, trace_id, traceparent};

/// How long the end of the process may wait for the last spans to be exported.
const FLUSH_AT_MOST: Duration = Duration::from_secs(5);

/// For spans whose times are known only afterwards. Empty while no traces are exported.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

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
    let (traces, export_error) = tracer_provider(service, &config.traces);
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
        if config.traces.endpoint.is_some() && export_error.is_none() {
            // It is empty, because only the first call gets here.
            let _ = TRACER.set(traces.tracer(service));
        }
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

fn tracer_provider(service: &'static str, config: &TracesConfig) -> (SdkTracerProvider, Option<String>) {
    let builder = SdkTracerProvider::builder().with_resource(resource(service, config));
    let exporter = config.endpoint.as_deref().map(|endpoint| export::Exporter::new(endpoint, config));
    match exporter {
        Some(Ok(exporter)) => {
            (builder.with_sampler(sampling::sampler(config)).with_batch_exporter(exporter).build(), None)
        }
        // Without a collector, spans still get ids, for logs and stored rows, but record nothing.
        none_or_error => {
            let error = none_or_error.and_then(Result::err).map(|error| format!("{error:#}"));
            (builder.with_sampler(Sampler::AlwaysOff).build(), error)
        }
    }
}

/// Who exports.
fn resource(service: &'static str, config: &TracesConfig) -> Resource {
    let attributes = config.resource_attributes.iter().flat_map(|pairs| pairs.0.clone());
    let attributes: Vec<_> = attributes.map(|(name, value)| KeyValue::new(name, value)).collect();
    let named = attributes.iter().find(|attribute| attribute.key.as_str() == "service.name");
    let named = named.map(|attribute| attribute.value.to_string());
    let name = config.service_name.clone().or(named).unwrap_or_else(|| service.to_owned());
    Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(attributes)
        .with_service_name(name)
        .build()
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

#[cfg(test)]
mod tests;
