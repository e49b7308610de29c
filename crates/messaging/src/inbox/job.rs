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
    /// Grows with every claim. A completion under an older fence is refused.
    pub fence: i64,
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

/// A row as the queries over inbox and log return it.
pub(crate) struct Row {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: Uuid,
    pub(crate) aggregate_version: i32,
    pub(crate) payload: Json<Box<RawValue>>,
    pub(crate) headers: Json<Box<RawValue>>,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) received_at: DateTime<Utc>,
    pub(crate) attempts: i32,
    pub(crate) in_doubt: bool,
    pub(crate) fence: i64,
}

impl Row {
    /// Never fails: one row that cannot be decoded must not fail the claim of the others.
    pub(crate) fn into_job(self, queue: Queue) -> Job {
        let (headers, undecodable) = match serde_json::from_str::<Headers>(self.headers.get()) {
            Ok(headers) if headers.schema_is_known() => (headers, None),
            Ok(headers) => {
                let version = headers.schema_version.unwrap_or_default();
                let reason =
                    format!("schema version {version} is unknown to this release, which reads {SCHEMA_VERSION}");
                (headers, Some(reason))
            }
            Err(error) => (Headers::default(), Some(format!("undecodable headers: {error}"))),
        };
        Job {
            queue,
            event_id: self.event_id,
            event_type: self.event_type,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            aggregate_version: self.aggregate_version,
            payload: self.payload.0,
            headers,
            undecodable,
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            attempts: self.attempts,
            in_doubt: self.in_doubt,
            fence: self.fence,
        }
    }
}
