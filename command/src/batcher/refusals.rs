//! 503 for a command that was not executed. The client may repeat it.

use axum::http::StatusCode;
use runtime::ApiError;

use super::{Batched, PLACES};

/// Counts a command that was not executed. Refusals are not logged one by one: they come in thousands.
pub(super) fn count<K: Batched>(why: &'static str) {
    metrics::counter!("commands_not_executed_total", "kind" => K::NAME, "why" => why).increment(1);
}

pub(super) fn full<K: Batched>() -> ApiError {
    count::<K>("queue_full");
    unavailable("TOO_MANY_COMMANDS", &format!("{PLACES} commands are waiting already; this one was not executed"))
}

pub(super) fn not_started<K: Batched>() -> ApiError {
    count::<K>("deadline");
    unavailable("COMMAND_NOT_STARTED", "the command waited for too long and was not executed")
}

pub(super) fn stopping() -> ApiError {
    ApiError::unavailable("the service is stopping")
}

fn unavailable(code: &'static str, what: &str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, format!("{what}; try again"))
}
