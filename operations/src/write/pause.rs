//! Pausing and resuming a queue.

use contracts::Queue;
use runtime::database::in_transaction;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::record::{Action, Operator, record};
use super::{Changed, hints};
use crate::OperationError;

/// Stops the consumers of a queue from starting jobs until it is resumed; running jobs finish. A queue that is already
/// paused keeps its first operator and reason.
pub async fn pause(pool: &PgPool, queue: Queue, operator: Operator) -> Result<Changed, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let rows_changed = set_paused(conn, queue, &operator).await?;
            record(conn, &operator, Action::Pause, json!({ "queue": queue }), rows_changed).await?;
            Ok(Changed { rows_changed })
        })
    })
    .await
}

/// Ends a pause.
pub async fn resume(pool: &PgPool, queue: Queue, operator: Operator) -> Result<Changed, OperationError> {
    let changed = in_transaction(pool, move |conn| {
        Box::pin(async move {
            let rows_changed = set_resumed(conn, queue).await?;
            record(conn, &operator, Action::Resume, json!({ "queue": queue }), rows_changed).await?;
            Ok::<_, OperationError>(Changed { rows_changed })
        })
    })
    .await?;
    hints::wake_consumers(pool, queue).await;
    Ok(changed)
}

async fn set_paused(conn: &mut PgConnection, queue: Queue, operator: &Operator) -> sqlx::Result<u64> {
    let paused = sqlx::query!(
        r#"
        update messaging.queues
        set paused_at = clock_timestamp(), paused_by = $1, paused_reason = $2
        where name = $3 and paused_at is null
        "#,
        operator.actor(),
        operator.reason(),
        queue.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(paused.rows_affected())
}

async fn set_resumed(conn: &mut PgConnection, queue: Queue) -> sqlx::Result<u64> {
    let resumed = sqlx::query!(
        r#"
        update messaging.queues
        set paused_at = null, paused_by = null, paused_reason = null
        where name = $1 and paused_at is not null
        "#,
        queue.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(resumed.rows_affected())
}
