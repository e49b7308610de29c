//! Events without a command, for tests of relay and inbox.

use anyhow::Result;
use contracts::{EntityType, Envelope, Headers, Queue};
use messaging::inbox;
use runtime::{Clock, Ids};
use serde_json::json;
use serde_json::value::to_raw_value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// A new event. All events belong to the same order.
pub fn event() -> Envelope {
    Envelope {
        event_id: Ids::system().next(),
        event_type: "order.created".to_owned(),
        aggregate_type: EntityType::Order.as_str().to_owned(),
        aggregate_id: Uuid::from_u128(7),
        aggregate_version: 1,
        occurred_at: Clock::system().now(),
        headers: Headers::default(),
        payload: to_raw_value(&json!({})).expect("JSON"),
    }
}

/// Writes an event of an order to the outbox, as a command does. The test decides when the transaction ends. Each version has
/// a type that goes to the notifications.
pub async fn record(conn: &mut PgConnection, order: Uuid, version: i32) -> Result<()> {
    append(conn, &Envelope { aggregate_id: order, aggregate_version: version, ..event() }).await
}

/// Every event so far is in back-off for so many minutes; for none it is due.
pub async fn back_off(pool: &PgPool, minutes: i32) -> Result<()> {
    sqlx::query(
        "insert into messaging.outbox_exceptions
             (event_id, position, shard, aggregate_id, aggregate_version, status, attempts, last_error, next_attempt_at)
         select event_id, position, shard, aggregate_id, aggregate_version, 'WAITING', 1, 'no', clock_timestamp() + make_interval(mins => $1)
         from messaging.outbox",
    )
    .bind(minutes)
    .execute(pool)
    .await?;
    Ok(())
}

/// Writes events to the outbox and puts them into a queue, as a command and the relay do.
pub async fn deliver(pool: &PgPool, queue: Queue, events: &[Envelope]) -> Result<()> {
    for event in events {
        append(&mut *pool.acquire().await?, event).await?;
    }
    inbox::insert(pool, queue, events).await?;
    Ok(())
}

/// Writes an event to the outbox.
pub async fn append(conn: &mut PgConnection, event: &Envelope) -> Result<()> {
    sqlx::query(
        "select messaging.append_events($1, array[$2], array[$3], array[$4], array[$5], array[$6::jsonb], array[$7], array[$8])",
    )
    .bind(&event.aggregate_type)
    .bind(event.event_id)
    .bind(event.aggregate_id)
    .bind(event.aggregate_version)
    .bind(&event.event_type)
    .bind(Json(&event.payload))
    .bind(event.headers.traceparent.as_deref())
    .bind(event.occurred_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// From now on every event has a type that goes to the notifications. So their inbox shows in which order the relay has sent
/// the events of an aggregate; otherwise no queue gets two of them. No workers may run.
pub async fn send_all_to_one_queue(pool: &PgPool) -> Result<()> {
    sqlx::raw_sql(
        "create function public.send_to_notifications() returns trigger language plpgsql as
             $$ begin new.event_type := 'order.created'; return new; end $$;
         create trigger send_to_notifications before insert on messaging.outbox
             for each row execute function public.send_to_notifications()",
    )
    .execute(pool)
    .await?;
    Ok(())
}
