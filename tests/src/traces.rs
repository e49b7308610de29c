//! Tracing for the tests: every request and job gets real trace ids, as in a process with telemetry.

use std::sync::Once;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Prints logs if `LOG` is set, as in `LOG=debug cargo test`.
///
/// Not `runtime::telemetry::init`: its panic hook turns the message of a failed assertion into a log line.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tracer = SdkTracerProvider::builder().build().tracer("tests");
        let spans = tracing_opentelemetry::layer().with_tracer(tracer).with_filter(EnvFilter::new("info"));
        let logs = std::env::var("LOG")
            .ok()
            .map(|filter| tracing_subscriber::fmt::layer().with_test_writer().with_filter(EnvFilter::new(filter)));
        // It fails only if a test has installed its own subscriber.
        let _ = tracing_subscriber::registry().with(spans).with(logs).try_init();
    });
}
