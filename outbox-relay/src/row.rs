//! One event on its way out: its retries, and its place in the trace.

use std::time::Duration;

use runtime::backoff::Backoff;

/// The wait before an event that the broker or the database refused is retried.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

/// The wait that follows the given number of attempts.
pub(crate) fn retry_delay(attempts: i32) -> Duration {
    RETRY.delay(u32::try_from(attempts).unwrap_or(1))
}

/// Adds the relay's span to the trace of an event, if the trace is sampled.
pub(crate) fn trace_published(traceparent: Option<&str>) {
    if traceparent.is_none_or(|parent| !parent.ends_with("-01")) {
        return;
    }
    let span = tracing::info_span!("relay.event.publish");
    runtime::telemetry::continue_trace(&span, traceparent);
    span.in_scope(|| {});
}
