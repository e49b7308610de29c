//! Makes a job of a stored row without a database, for the targets in `fuzz/`.

use contracts::{Envelope, Queue};
use serde_json::value::RawValue;
use sqlx::types::Json;
use uuid::Uuid;

use crate::inbox::{Job, Row};

/// The job of an event whose headers and payload are these texts. `None`: the headers are not JSON, which their column refuses.
pub fn job(queue: Queue, event: &Envelope, headers: String, payload: Option<String>) -> Option<Job> {
    let row = Row {
        event_id: event.event_id,
        event_type: Some(event.event_type.clone()),
        aggregate_type: Some(event.aggregate_type.clone()),
        aggregate_id: event.aggregate_id,
        aggregate_version: event.aggregate_version,
        payload,
        headers: Some(Json(RawValue::from_string(headers).ok()?)),
        occurred_at: Some(event.occurred_at),
        received_at: event.occurred_at,
        attempts: 1,
        in_doubt: false,
    };
    Some(row.into_job(queue, Uuid::nil()))
}
