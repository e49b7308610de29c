//! Events without a command, for tests of relay and inbox.

use anyhow::Result;
use contracts::{EntityType, Envelope, Headers};
use runtime::{Clock, Ids};
use serde_json::json;
use serde_json::value::to_raw_value;
use sqlx::PgConnection;
use uuid::Uuid;

/// A new event. All events belong to the same order.
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

/// Writes an event of an order to the outbox, as a command does. The test decides when the transaction ends.
pub async fn record(conn: &mut PgConnection, order: Uuid, version: i32) -> Result<()> {
    sqlx::query(
        "select messaging.append_events('order', array[$1], array[$2], array[$3], array['order.paid'], array['{}'::jsonb],
                                        array['{}'::jsonb], array[now()])",
    )
    .bind(Ids::system().next())
    .bind(order)
    .bind(version)
    .execute(conn)
    .await?;
    Ok(())
}
