//! Sending spans to a collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;

/// An OTLP exporter that runs on the process's Tokio runtime and logs once when its collector becomes unreachable.
///
/// The batch processor calls it from a plain thread and blocks there, but reqwest needs Tokio. So every export is a task,
/// and the thread waits for it.
#[derive(Debug)]
pub(super) struct Exporter {
    otlp: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    failing: AtomicBool,
}

impl Exporter {
    pub(super) fn new(endpoint: &str) -> anyhow::Result<Self> {
        let runtime = Handle::try_current().context("telemetry must be started inside the Tokio runtime")?;
        let base = endpoint.trim_end_matches('/');
        let address = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
        let otlp = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&address)
            .build()
            .with_context(|| format!("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint:?}"))?;
        Ok(Self { otlp: Arc::new(otlp), runtime, failing: AtomicBool::new(false) })
    }

    fn report(&self, result: &OTelSdkResult) {
        match (result, self.failing.swap(result.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => {
                tracing::warn!(%error, "the trace collector does not accept spans; they are dropped");
            }
            (Ok(()), true) => tracing::info!("the trace collector accepts spans again"),
            _ => {}
        }
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let otlp = Arc::clone(&self.otlp);
        let sent = self.runtime.spawn(async move { otlp.export(batch).await }).await;
        let result = sent.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        self.report(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(otlp) = Arc::get_mut(&mut self.otlp) {
            otlp.set_resource(resource);
        }
    }
}
