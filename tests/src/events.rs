//! Events that no command has caused, for tests of what carries them.

use contracts::{EntityType, Envelope, Headers};
use runtime::{Clock, Ids};
use serde_json::json;
use serde_json::value::to_raw_value;
use uuid::Uuid;

/// A new event of always the same order.
pub fn event() -> Envelope {
    Envelope {
        event_id: Ids::system().next(),
        event_type: "order.created".to_owned(),
        aggregate_type: EntityType::Order,
        aggregate_id: Uuid::from_u128(7),
        aggregate_version: 1,
        occurred_at: Clock::system().now(),
        headers: Headers::default(),
        payload: to_raw_value(&json!({})).expect("JSON"),
    }
}
