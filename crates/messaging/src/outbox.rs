//! Adding events to the outbox from a transaction that is already open.
//!
//! The command service writes its events in the statement that makes the change. The workers write theirs here: their
//! effects cause events of their own (`invoice.generated`).

use contracts::audit::ChainLink;
use contracts::{EntityType, EventType, StateChanged};
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
    pub traceparent: Option<&'a str>,
    pub change: &'a StateChanged<T>,
}

/// Writes the audit row and the outbox row of one change, in the caller's transaction.
///
/// # Errors
/// A unique violation of `state_transitions_pkey` means that this version of the entity was written already.
pub async fn record<T: serde::Serialize>(conn: &mut PgConnection, event: &NewEvent<'_, T>) -> sqlx::Result<()> {
    let transition = &event.change.transition;
    debug_assert!(
        matches!(transition.entity_type, EntityType::Invoice | EntityType::CreditNote),
        "orders and returns change through the command service only, and refunds have a statement of their own"
    );
    let link = ChainLink::of(transition);
    sqlx::query!(
        r#"
        select command.append_transitions(array[jsonb_populate_record(
                   row(null, null, null, null, null, null, null, null, null, null, null, null, null, null, $10::bytea, $11::bytea)::command.new_transition,
                   $1)]),
               messaging.append_events($2, array[$3::uuid], array[$4::uuid], array[$5::integer], array[$6::text],
                   array[$7::jsonb], array[$8::text], array[$9::timestamptz])
        "#,
        Json(transition) as _,
        transition.entity_type.as_str(),
        event.event_id,
        transition.entity_id,
        transition.version,
        event.event_type.as_str(),
        Json(&event.change.snapshot) as _,
        event.traceparent,
        transition.created_at,
        &link.salt[..],
        &link.digest[..],
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}
