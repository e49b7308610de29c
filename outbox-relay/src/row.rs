//! One row on its way out: its retries, its parking, and its place in the trace.

use std::time::Duration;

use runtime::backoff::Backoff;
use runtime::database::limited;
use sqlx::PgPool;

use crate::low_water::LowWater;
use crate::shards::Leases;
use crate::store::{self, Failed};

/// The wait before a row that the broker or the database refused is retried.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

/// The wait that follows the given number of attempts.
pub(crate) fn retry_delay(attempts: i32) -> Duration {
    RETRY.delay(u32::try_from(attempts).unwrap_or(1))
}

/// Logs and stores that a row did not go out. The relay looks for it again when its wait is over.
pub(crate) async fn record_failure(
    pool: &PgPool,
    leases: &Leases,
    low_water: &mut LowWater,
    failed: &Failed,
) -> sqlx::Result<()> {
    match failed.parked {
        Some(reason) => {
            metrics::counter!("outbox_parked_total", "reason" => reason).increment(1);
            tracing::error!(alert = true, event.id = %failed.event_id, reason, error = %failed.error, "outbox row parked");
        }
        None => {
            tracing::warn!(event.id = %failed.event_id, error = %failed.error, retry_in = ?failed.delay, "outbox row not published");
        }
    }
    low_water.sweep_in(failed.delay);
    limited(store::mark_failed(pool, leases, failed)).await
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
