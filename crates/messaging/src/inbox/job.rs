//! A row of the inbox, as its consumers see it.

use chrono::{DateTime, Utc};
use contracts::{EntityType, EventType, Headers, Queue, SCHEMA_VERSION};
use serde_json::value::RawValue;
use sqlx::types::Json;
use uuid::Uuid;

use crate::unknown;

/// One row, taken or claimed.
#[derive(Debug)]
pub struct Job {
    pub queue: Queue,
    pub event_id: Uuid,
    pub event_type: String,
    /// As stored.
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
    /// A `StateChanged<T>` as JSON text.
    pub payload: Box<RawValue>,
    pub headers: Headers,
    /// Why no release can decode the row, if none can. Such a row is dead-lettered and never retried.
    pub undecodable: Option<String>,
    /// What of the event this release does not know, and what to do about it. A later release knows it, and may be running
    /// already, so such a row is tried again for a while; see [`unknown`].
    pub unknown: Option<String>,
    pub occurred_at: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    /// When this attempt was started. Null for a job that must wait until it is alone.
    pub started_at: Option<DateTime<Utc>>,
    /// Nothing has been tried before, not even what costs no attempt.
    pub is_first: bool,
    /// Attempts started, this one included; 1 is the first.
    pub attempts: i32,
    /// Worker processes that died while they had started it.
    pub deaths: i16,
    /// The failed probes so far, if it is to find out whether the dependency of its queue works again.
    pub probes: Option<i32>,
    /// An earlier attempt may have had its effect: look it up before trying again.
    pub in_doubt: bool,
    /// The claim under which it runs. A completion under another claim is refused.
    pub claim_id: Uuid,
    /// Its queue is ordered: the next version of the aggregate waits for it.
    pub ordered: bool,
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

    /// Whether a process may have died of it. Then nothing else runs beside it.
    pub const fn is_suspect(&self) -> bool {
        self.deaths > 0
    }
}

/// A row as the queries over inbox and log return it. Without its event, what belongs to the event is null.
pub(crate) struct Row {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: Option<String>,
    pub(crate) aggregate_type: Option<String>,
    pub(crate) aggregate_id: Uuid,
    pub(crate) aggregate_version: i32,
    pub(crate) payload: Option<String>,
    pub(crate) headers: Option<Json<Box<RawValue>>>,
    pub(crate) occurred_at: Option<DateTime<Utc>>,
    pub(crate) received_at: DateTime<Utc>,
    pub(crate) attempts: i32,
    pub(crate) in_doubt: bool,
}

impl Row {
    /// Never fails: one row that cannot be decoded must not fail the claim of the others.
    pub(crate) fn into_job(mut self, queue: Queue, claim_id: Uuid) -> Job {
        let (headers, undecodable) = match self.headers.as_ref().map(|headers| decode(headers.0.get())) {
            Some(Ok(headers)) => (headers, None),
            Some(Err(reason)) => (Headers::default(), Some(reason)),
            None => (Headers::default(), Some("the event is not in the outbox".to_owned())),
        };
        let (payload, undecodable) = match self.payload.take().map(RawValue::from_string) {
            Some(Ok(payload)) => (payload, undecodable),
            Some(Err(error)) => (RawValue::NULL.to_owned(), Some(format!("undecodable payload: {error}"))),
            None => (RawValue::NULL.to_owned(), undecodable),
        };
        let unknown = if undecodable.is_none() { self.unknown(queue, &headers) } else { None };
        Job {
            queue,
            event_id: self.event_id,
            event_type: self.event_type.unwrap_or_default(),
            aggregate_type: self.aggregate_type.unwrap_or_default(),
            aggregate_id: self.aggregate_id,
            aggregate_version: self.aggregate_version,
            payload,
            headers,
            undecodable,
            unknown,
            occurred_at: self.occurred_at.unwrap_or(self.received_at),
            received_at: self.received_at,
            started_at: None,
            is_first: self.attempts <= 1,
            attempts: self.attempts,
            deaths: 0,
            probes: None,
            in_doubt: self.in_doubt,
            claim_id,
            ordered: false,
        }
    }

    /// A release may add types of events and of aggregates, send a known type to another queue, and change the payload; the
    /// last under another schema version.
    fn unknown(&self, queue: Queue, headers: &Headers) -> Option<String> {
        let (event_type, aggregate_type) = (self.event_type.as_deref()?, self.aggregate_type.as_deref()?);
        let takes_it = event_type.parse::<EventType>().map(|event| queue.wants(event));
        let what = match (takes_it, headers.schema_version) {
            (Err(_), _) => format!("events of the type {event_type}"),
            (Ok(false), _) => format!("events of the type {event_type} in the queue {queue}"),
            (Ok(true), Some(version)) if !headers.schema_is_known() => {
                format!("schema version {version} of events of the type {event_type} (it reads {SCHEMA_VERSION})")
            }
            (Ok(true), _) if EntityType::parse(aggregate_type).is_none() => {
                format!("aggregates of the type {aggregate_type}")
            }
            (Ok(true), _) => return None,
        };
        let then = if queue == Queue::Projections { "query, then retry" } else { "the workers, then retry" };
        Some(unknown::reason(&what, then))
    }
}

/// The headers, or why they cannot be read.
fn decode(text: &str) -> Result<Headers, String> {
    serde_json::from_str(text).map_err(|error| format!("undecodable headers: {error}"))
}
