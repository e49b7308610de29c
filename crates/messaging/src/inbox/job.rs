//! A row of the inbox, as its consumers see it.

use chrono::{DateTime, Utc};
use contracts::{EntityType, EventType, Headers, Queue, SCHEMA_VERSION};
use serde_json::value::RawValue;
use sqlx::types::Json;
use uuid::Uuid;

/// One row, taken or claimed.
#[derive(Debug)]
pub struct Job {
    pub queue: Queue,
    pub event_id: Uuid,
    pub event_type: String,
    /// As stored. A consumer dead-letters a type that it does not know.
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
    /// A `StateChanged<T>` as JSON text.
    pub payload: Box<RawValue>,
    pub headers: Headers,
    /// Why this release cannot decode the row, if it cannot. Such a row is dead-lettered and never retried.
    pub undecodable: Option<String>,
    pub occurred_at: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    /// Attempts started, this one included; 1 is the first.
    pub attempts: i32,
    /// An earlier attempt may have had its effect: look it up before trying again.
    pub in_doubt: bool,
    /// The claim under which it runs. A completion under another claim is refused.
    pub claim_id: Uuid,
}

impl Job {
    /// The event's type, if this release knows it.
    pub fn event_type(&self) -> Option<EventType> {
        self.event_type.parse().ok()
    }

    /// The aggregate's type, if this release knows it.
    pub fn aggregate_type(&self) -> Option<EntityType> {
        EntityType::parse(&self.aggregate_type)
    }
}

/// A row as the queries over inbox and log return it. Without its event, what belongs to the event is null.
pub(crate) struct Row {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: Option<String>,
    pub(crate) aggregate_type: Option<String>,
    pub(crate) aggregate_id: Uuid,
    pub(crate) aggregate_version: i32,
    pub(crate) payload: Option<Json<Box<RawValue>>>,
    pub(crate) headers: Option<Json<Box<RawValue>>>,
    pub(crate) occurred_at: Option<DateTime<Utc>>,
    pub(crate) received_at: DateTime<Utc>,
    pub(crate) attempts: i32,
    pub(crate) in_doubt: bool,
}

impl Row {
    /// Never fails: one row that cannot be decoded must not fail the claim of the others.
    pub(crate) fn into_job(self, queue: Queue, claim_id: Uuid) -> Job {
        let (headers, undecodable) = match self.headers.as_ref().map(|headers| decode(headers.0.get())) {
            Some((headers, undecodable)) => (headers, undecodable),
            None => (Headers::default(), Some("the event is not in the outbox".to_owned())),
        };
        Job {
            queue,
            event_id: self.event_id,
            event_type: self.event_type.unwrap_or_default(),
            aggregate_type: self.aggregate_type.unwrap_or_default(),
            aggregate_id: self.aggregate_id,
            aggregate_version: self.aggregate_version,
            payload: self.payload.map_or_else(|| RawValue::NULL.to_owned(), |payload| payload.0),
            headers,
            undecodable,
            occurred_at: self.occurred_at.unwrap_or(self.received_at),
            received_at: self.received_at,
            attempts: self.attempts,
            in_doubt: self.in_doubt,
            claim_id,
        }
    }
}

/// The headers, and why this release cannot read them.
fn decode(text: &str) -> (Headers, Option<String>) {
    match serde_json::from_str::<Headers>(text) {
        Ok(headers) if headers.schema_is_known() => (headers, None),
        Ok(headers) => {
            let version = headers.schema_version.unwrap_or_default();
            let reason = format!("schema version {version} is unknown to this release, which reads {SCHEMA_VERSION}");
            (headers, Some(reason))
        }
        Err(error) => (Headers::default(), Some(format!("undecodable headers: {error}"))),
    }
}
