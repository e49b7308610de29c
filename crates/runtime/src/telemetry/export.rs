//! Sending spans to a collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::http::HeaderMap;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;

use super::times;
use crate::config::{OtlpProtocol, TracesConfig};

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
    pub(super) fn new(endpoint: &str, config: &TracesConfig) -> anyhow::Result<Self> {
        let runtime = Handle::try_current().context("telemetry must be started inside the Tokio runtime")?;
        let headers = config.headers.as_ref().map(|headers| headers.headers().clone()).unwrap_or_default();
        let base = endpoint.trim_end_matches('/');
        let built = match config.protocol {
            OtlpProtocol::HttpProtobuf => over_http(base, &headers),
            OtlpProtocol::Grpc => over_grpc(base, headers),
        };
        let otlp = built.with_context(|| format!("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint:?}"))?;
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

/// The address is the base, or that of the traces.
fn over_http(base: &str, headers: &HeaderMap) -> Result<opentelemetry_otlp::SpanExporter, ExporterBuildError> {
    let address = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
    // The exporter decodes the values, which are decoded already.
    let encoded = |value: &str| value.replace('%', "%25");
    let headers = headers.iter().filter_map(|(name, value)| Some((name.to_string(), encoded(value.to_str().ok()?))));
    opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(address)
        .with_headers(headers.collect())
        .build()
}

fn over_grpc(base: &str, headers: HeaderMap) -> Result<opentelemetry_otlp::SpanExporter, ExporterBuildError> {
    let builder = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(base)
        .with_metadata(MetadataMap::from_headers(headers));
    if base.starts_with("http://") {
        return builder.build();
    }
    builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots()).build()
}

impl SpanExporter for Exporter {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(times::apply);
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
