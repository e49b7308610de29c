//! One event on its way out: its retries, and its span.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::backoff::Backoff;
use runtime::telemetry::{self, Cause, Message, Sent};

/// The wait before an event that the broker or the database refused is retried.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

/// The wait that follows the given number of attempts.
pub(crate) fn retry_delay(attempts: i32) -> Duration {
    RETRY.delay(u32::try_from(attempts).unwrap_or(1))
}

/// Records the span of an event that was sent, if its trace is recorded. The first time belongs to the trace of the command. What was an
/// exception has been tried before, or is replayed.
pub(crate) fn trace_sent(
    message: Message<'_>,
    traceparent: Option<&str>,
    is_new: bool,
    (started, ended): (DateTime<Utc>, DateTime<Utc>),
    error: Option<&'static str>,
) {
    let cause = if is_new { Cause::Parent(traceparent) } else { Cause::Link(traceparent) };
    telemetry::record_sent(&Sent { message, cause, started, ended, error });
}
