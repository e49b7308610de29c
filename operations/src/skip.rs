//! Giving an event up: it is never delivered, and its order, return, invoice or refund goes on without it.

use runtime::database::in_transaction;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::acts::{self, Kind, Operator};
use super::{Acted, OperationError, hints};

/// Skips an event that has not gone out.
///
/// # Errors
/// [`OperationError::EventNotFound`], and [`OperationError::EventNotSkippable`] for one that is out or skipped.
pub async fn skip(pool: &PgPool, event_id: Uuid, operator: Operator) -> Result<Acted, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let shard = must_be_skippable(conn, event_id).await?;
            set_skipped(conn, event_id, shard).await?;
            acts::record(conn, &operator, Kind::Skip, json!({ "event_ids": [event_id] }), 1).await?;
            Ok::<_, OperationError>(())
        })
    })
    .await?;
    hints::wake_relays(pool).await;
    Ok(Acted { rows_changed: 1 })
}

/// Locks the row and returns its shard.
async fn must_be_skippable(conn: &mut PgConnection, id: Uuid) -> Result<i16, OperationError> {
    let row = sqlx::query!(
        "select shard, published_at, parked_reason from messaging.outbox where event_id = $1 for update",
        id
    )
    .fetch_optional(conn)
    .await?
    .ok_or(OperationError::EventNotFound(id))?;
    let refused = |why| Err(OperationError::EventNotSkippable { id, why });
    match (row.published_at, row.parked_reason.as_deref()) {
        (Some(_), _) => refused("it has been published"),
        (None, Some("SKIPPED")) => refused("it has been skipped"),
        (None, _) => Ok(row.shard),
    }
}

/// What waited behind it stands where the relay does not look any more, so it is asked to look again.
async fn set_skipped(conn: &mut PgConnection, event_id: Uuid, shard: i16) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with swept as (update messaging.shard_leases set sweeps = sweeps + 1 where shard = $2)
        update messaging.outbox
        set parked_at = coalesce(parked_at, clock_timestamp()), parked_reason = 'SKIPPED', next_attempt_at = null
        where event_id = $1
        "#,
        event_id,
        shard,
    )
    .execute(conn)
    .await?;
    Ok(())
}
