//! Skipping an event: it is never delivered, and its order, return, document or refund continues without it.

use runtime::database::in_transaction;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::record::{Action, Operator, record};
use super::{Changed, hints};
use crate::OperationError;

/// Skips an event that is not published.
///
/// # Errors
/// [`OperationError::EventNotFound`], and [`OperationError::EventNotSkippable`] for an event that is published or skipped.
pub async fn skip(pool: &PgPool, event_id: Uuid, operator: Operator) -> Result<Changed, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let shard = lock_skippable(conn, event_id).await?;
            set_skipped(conn, event_id, shard).await?;
            record(conn, &operator, Action::Skip, json!({ "event_ids": [event_id] }), 1).await?;
            Ok::<_, OperationError>(())
        })
    })
    .await?;
    hints::wake_relays(pool).await;
    Ok(Changed { rows_changed: 1 })
}

/// Locks the event, checks that it can be skipped, and returns its shard.
async fn lock_skippable(conn: &mut PgConnection, id: Uuid) -> Result<i16, OperationError> {
    let row = sqlx::query!(
        "select shard, published_at, parked_reason from messaging.outbox where event_id = $1 for update",
        id
    )
    .fetch_optional(conn)
    .await?
    .ok_or(OperationError::EventNotFound(id))?;
    let refused = |why| Err(OperationError::EventNotSkippable { id, why });
    match (row.published_at, row.parked_reason.as_deref()) {
        (Some(_), _) => refused("it is published"),
        (None, Some("SKIPPED")) => refused("it is already skipped"),
        (None, _) => Ok(row.shard),
    }
}

/// The events behind the skipped one lie below the relay's low-water mark, so the relay is asked for a full sweep of the
/// shard.
async fn set_skipped(conn: &mut PgConnection, event_id: Uuid, shard: i16) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with sweep as (
            update messaging.shard_leases set sweeps = sweeps + 1 where shard = $1
        )
        update messaging.outbox
        set parked_at = coalesce(parked_at, clock_timestamp()), parked_reason = 'SKIPPED', next_attempt_at = null
        where event_id = $2
        "#,
        shard,
        event_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}
