//! Spans with the times of their rows.
//!
//! A row says when its job was started and when it ended, and the page of an order shows that. A span of the same job has the same
//! times, so that a trace and the page never disagree: neither by a claim that took long to arrive, nor by a commit.
//!
//! A `tracing` span starts when it is made. So the times are attributes until the span is exported.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use opentelemetry::Value;
use opentelemetry_sdk::trace::SpanData;
use tracing::Span;

use super::trace::set_attribute;

const STARTED: &str = "row.started_at";
const FINISHED: &str = "row.finished_at";

/// The span has started at this time.
pub fn started_at(span: &Span, at: DateTime<Utc>) {
    set_attribute(span, STARTED, at.timestamp_micros());
}

/// The span ends at this time.
pub fn finished_at(span: &Span, at: DateTime<Utc>) {
    set_attribute(span, FINISHED, at.timestamp_micros());
}

/// Gives a span the times of its row. A span never ends before it has started.
pub(super) fn apply(span: &mut SpanData) {
    let (mut start, mut end) = (None, None);
    span.attributes.retain(|attribute| {
        match attribute.key.as_str() {
            STARTED => start = time(&attribute.value),
            FINISHED => end = time(&attribute.value),
            _ => return true,
        }
        false
    });
    span.start_time = start.unwrap_or(span.start_time);
    span.end_time = end.unwrap_or(span.end_time).max(span.start_time);
}

fn time(value: &Value) -> Option<SystemTime> {
    let Value::I64(micros) = value else { return None };
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(u64::try_from(*micros).ok()?))
}
