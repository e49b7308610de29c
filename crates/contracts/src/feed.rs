//! An event as the event feed and webhooks show it to others.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::envelope::SCHEMA_VERSION;
use crate::transition::EntityType;

/// An event: something has happened to an order, a return, a refund, an invoice or a credit note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventDocument {
    /// `UUIDv7`, the same in every delivery. A receiver remembers it to recognise a repeat.
    pub id: Uuid,
    #[serde(rename = "type")]
    #[schema(example = "order.paid")]
    pub event_type: String,
    pub timestamp: DateTime<Utc>,
    /// Of the payload: another one where a member was removed or has another meaning. `docs/asyncapi.yml` describes each.
    #[schema(example = 1)]
    pub schema_version: u32,
    /// Send it as `X-Consistency-Token` with a GET: what is read is not older than the event.
    pub consistency_token: String,
    pub data: EventData,
}

/// What has happened, and what has become of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventData {
    pub entity_type: EntityType,
    pub entity_id: Uuid,
    /// The entity's version after the change: 1, 2, 3 without a gap. Events of one entity may be put in order by it.
    pub version: i32,
    /// Null at creation.
    pub previous_state: Option<String>,
    pub state: String,
    /// The entity after the change: an `OrderDocument`, `ReturnDocument`, `RefundDocument`, `InvoiceDocument` or `CreditNoteDocument`.
    #[schema(value_type = Object)]
    pub object: Value,
}

/// What names an event.
#[derive(Debug, Clone)]
pub struct EventName<'e> {
    pub id: Uuid,
    pub event_type: &'e str,
    pub timestamp: DateTime<Utc>,
    pub entity_type: &'e str,
    pub entity_id: Uuid,
    pub version: i32,
}

#[derive(Deserialize)]
struct Stored<'e> {
    #[serde(borrow)]
    snapshot: &'e RawValue,
    transition: Step,
}

#[derive(Deserialize)]
struct Step {
    from_state: Option<String>,
    to_state: String,
}

#[derive(Serialize)]
struct Shown<'e> {
    id: Uuid,
    #[serde(rename = "type")]
    event_type: &'e str,
    timestamp: DateTime<Utc>,
    schema_version: u32,
    consistency_token: &'e str,
    data: ShownData<'e>,
}

#[derive(Serialize)]
struct ShownData<'e> {
    entity_type: &'e str,
    entity_id: Uuid,
    version: i32,
    previous_state: Option<String>,
    state: String,
    object: &'e RawValue,
}

impl EventDocument {
    /// The document as JSON text, of a stored payload. Who acted, why and from where is not in it: that is the shop's own.
    pub fn text(name: &EventName<'_>, payload: &str, consistency_token: &str) -> serde_json::Result<String> {
        let Stored { snapshot, transition } = serde_json::from_str(payload)?;
        serde_json::to_string(&Shown {
            id: name.id,
            event_type: name.event_type,
            timestamp: name.timestamp,
            schema_version: SCHEMA_VERSION,
            consistency_token,
            data: ShownData {
                entity_type: name.entity_type,
                entity_id: name.entity_id,
                version: name.version,
                previous_state: transition.from_state,
                state: transition.to_state,
                object: snapshot,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_shown_is_what_the_document_describes() {
        let id = Uuid::from_u128(7);
        let payload = json!({
            "snapshot": { "id": id, "state": "PAID" },
            "transition": { "from_state": "PENDING_PAYMENT", "to_state": "PAID", "actor": "asha", "ip_address": "10.0.0.1" },
        });
        let name = EventName {
            id,
            event_type: "order.paid",
            timestamp: DateTime::UNIX_EPOCH,
            entity_type: "order",
            entity_id: id,
            version: 2,
        };
        let text = EventDocument::text(&name, &payload.to_string(), "order:7@2.x").expect("a payload");
        assert!(!text.contains("asha") && !text.contains("10.0.0.1"), "{text}");
        let shown: EventDocument = serde_json::from_str(&text).expect("the document");
        assert_eq!((shown.data.version, shown.data.entity_type), (2, EntityType::Order));
        assert_eq!(shown.data.object, json!({ "id": id, "state": "PAID" }));
        assert_eq!(serde_json::to_value(&shown).expect("JSON"), serde_json::from_str::<Value>(&text).expect("JSON"));
    }
}
