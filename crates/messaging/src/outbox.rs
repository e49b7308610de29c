//! Adding events to the outbox from a transaction that is already open.
//!
//! The command service writes its events in the statement that makes the change. The workers write theirs here: their
//! effects cause events of their own (`invoice.generated`, `refund.processed`).

use contracts::{EntityType, EventType, Headers, StateChanged, Transition};
use serde_json::value::to_raw_value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

/// The channel on which the relay listens for hints.
pub const CHANNEL: &str = "outbox";

/// An event to write: a document after its change, and the audit row of the change.
#[derive(Debug)]
pub struct NewEvent<'a, T> {
    /// `UUIDv7`.
    pub event_id: Uuid,
    pub event_type: EventType,
    pub headers: &'a Headers,
    pub change: &'a StateChanged<T>,
}

/// Writes the audit row and the outbox row of one change, in the caller's transaction.
///
/// # Errors
/// A unique violation of `state_transitions_pkey` means that this version of the entity was written already.
pub async fn record<T: serde::Serialize>(conn: &mut PgConnection, event: &NewEvent<'_, T>) -> sqlx::Result<()> {
    let transition = &event.change.transition;
    insert_transition(conn, transition).await?;
    let payload = to_raw_value(event.change).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query!(
        r#"
        insert into messaging.outbox
            (event_id, aggregate_type, aggregate_id, aggregate_version, shard, event_type, payload, headers, occurred_at)
        values ($1, $2, $3, $4, messaging.shard_of($3), $5, $6, $7, $8)
        "#,
        event.event_id,
        transition.entity_type.as_str(),
        transition.entity_id,
        transition.version,
        event.event_type.as_str(),
        Json(&payload) as _,
        Json(event.headers) as _,
        transition.created_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_transition(conn: &mut PgConnection, transition: &Transition) -> sqlx::Result<()> {
    debug_assert!(
        matches!(transition.entity_type, EntityType::Invoice | EntityType::CreditNote | EntityType::Refund),
        "orders and returns change through the command service only"
    );
    sqlx::query!(
        r#"
        insert into command.state_transitions
            (entity_type, entity_id, version, from_state, to_state, actor, actor_type, trigger,
             reason, metadata, request_id, trace_id, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        "#,
        transition.entity_type.as_str(),
        transition.entity_id,
        transition.version,
        transition.from_state,
        transition.to_state,
        transition.actor,
        transition.actor_type.as_str(),
        transition.trigger.as_str(),
        transition.reason,
        transition.metadata,
        transition.request_id,
        transition.trace_id,
        transition.created_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}
