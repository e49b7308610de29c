//! What the handlers have in common: reading a job's event, and describing a change made by a worker.

use chrono::{DateTime, Utc};
use contracts::{ActorType, EntityType, Headers, StateChanged, Transition, Trigger};
use messaging::inbox::Job;
use messaging::worker::Failure;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// The document in a job's event. An event that cannot be read will not become readable by trying again.
pub(crate) fn snapshot<T: DeserializeOwned>(job: &Job) -> Result<T, Failure> {
    serde_json::from_str::<StateChanged<T>>(job.payload.get())
        .map(|change| change.snapshot)
        .map_err(|error| Failure::Dead(format!("undecodable {} event: {error}", job.event_type)))
}

/// The headers of an event that this job causes: the same request, this span's trace.
pub(crate) fn headers(job: &Job) -> Headers {
    Headers {
        traceparent: runtime::telemetry::traceparent().or_else(|| job.headers.traceparent.clone()),
        request_id: job.headers.request_id.clone(),
        actor: Some("system".to_owned()),
        schema_version: None,
    }
}

/// The audit row of a change made by a worker.
pub(crate) fn by_worker(
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
