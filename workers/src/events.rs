//! The event that a job consumes, and the one that it causes.

use chrono::{DateTime, Utc};
use contracts::{ActorType, EntityType, EventType, StateChanged, Transition, Trigger};
use messaging::inbox::Job;
use messaging::outbox::{self, NewEvent};
use messaging::worker::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use uuid::Uuid;

/// The document in a job's event. A retry cannot make an undecodable event decodable, so its job is dead.
pub(crate) fn snapshot<T: DeserializeOwned>(job: &Job) -> Result<T, Failure> {
    serde_json::from_str::<StateChanged<T>>(job.payload.get())
        .map(|change| change.snapshot)
        .map_err(|error| Failure::Dead(format!("undecodable {} event: {error}", job.event_type)))
}

/// The trace that an event continues which `job` causes: that of this span, or of the job's own event.
pub(crate) fn traceparent(job: &Job) -> Option<String> {
    runtime::telemetry::traceparent().or_else(|| job.headers.traceparent.clone())
}

/// A change that a job has made, with the event that tells of it.
#[derive(Debug)]
pub(crate) struct Caused<T> {
    pub(crate) event_id: Uuid,
    pub(crate) traceparent: Option<String>,
    pub(crate) change: StateChanged<T>,
}

/// Writes the audit row and the event of a change, in the caller's transaction.
pub(crate) async fn record<T: Serialize>(
    conn: &mut PgConnection,
    event_id: Uuid,
    event_type: EventType,
    traceparent: Option<&str>,
    change: &StateChanged<T>,
) -> sqlx::Result<()> {
    outbox::record(conn, &NewEvent { event_id, event_type, traceparent, change }).await
}

/// The audit row of a change that `job` made.
pub(crate) fn transition(
    job: &Job,
    entity_type: EntityType,
    entity_id: Uuid,
    version: i32,
    from_state: Option<&str>,
    to_state: &str,
    at: DateTime<Utc>,
) -> Transition {
    Transition {
        entity_type,
        entity_id,
        version,
        from_state: from_state.map(ToOwned::to_owned),
        to_state: to_state.to_owned(),
        actor: "system".to_owned(),
        actor_type: ActorType::System,
        trigger: Trigger::BackgroundJob,
        reason: None,
        metadata: serde_json::json!({ "cause": job.event_id, "attempt": job.attempts }),
        ip_address: None,
        request_id: job.headers.request_id.clone(),
        trace_id: runtime::telemetry::trace_id(),
        created_at: at,
    }
}
