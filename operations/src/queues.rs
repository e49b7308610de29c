//! The consumer queues: how they stand, pausing, resuming.

use chrono::{DateTime, Utc};
use contracts::Queue;
use runtime::database::in_transaction;
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use super::acts::{self, Kind, Operator};
use super::{Acted, OperationError, hints};

/// A queue.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QueueStatus {
    pub name: String,
    pub ready: i64,
    pub running: i64,
    pub in_doubt: i64,
    pub dead: i64,
    /// When the oldest job arrived that is ready.
    pub oldest_ready: Option<DateTime<Utc>>,
    /// Null unless it is paused.
    pub paused_at: Option<DateTime<Utc>>,
    pub paused_by: Option<String>,
    pub paused_reason: Option<String>,
}

/// All queues. Done jobs are history and not counted.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<QueueStatus>> {
    sqlx::query_as!(
        QueueStatus,
        r#"
        select name as "name!", ready as "ready!", running as "running!", in_doubt as "in_doubt!", dead as "dead!", oldest_ready,
               paused_at, paused_by, paused_reason
        from messaging.queue_backlog order by name
        "#
    )
    .fetch_all(pool)
    .await
}

/// Lets nobody begin a job of the queue until it is resumed; what runs is finished. Who paused first, and why, stays.
pub async fn pause(pool: &PgPool, queue: Queue, operator: Operator) -> Result<Acted, OperationError> {
    act(pool, queue, operator, Kind::Pause).await
}

/// Ends a pause.
pub async fn resume(pool: &PgPool, queue: Queue, operator: Operator) -> Result<Acted, OperationError> {
    let acted = act(pool, queue, operator, Kind::Resume).await?;
    hints::wake_consumers(pool, queue).await;
    Ok(acted)
}

async fn act(pool: &PgPool, queue: Queue, operator: Operator, kind: Kind) -> Result<Acted, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let rows_changed = match kind {
                Kind::Pause => set_paused(conn, queue, &operator).await?,
                _ => set_resumed(conn, queue).await?,
            };
            acts::record(conn, &operator, kind, json!({ "queue": queue }), rows_changed).await?;
            Ok(Acted { rows_changed })
        })
    })
    .await
}

async fn set_paused(conn: &mut PgConnection, queue: Queue, operator: &Operator) -> sqlx::Result<u64> {
    let paused = sqlx::query!(
        r#"
        update messaging.queues set paused_at = clock_timestamp(), paused_by = $2, paused_reason = $3
        where name = $1 and paused_at is null
        "#,
        queue.as_str(),
        operator.actor(),
        operator.reason(),
    )
    .execute(conn)
    .await?;
    Ok(paused.rows_affected())
}

async fn set_resumed(conn: &mut PgConnection, queue: Queue) -> sqlx::Result<u64> {
    let resumed = sqlx::query!(
        r#"
        update messaging.queues set paused_at = null, paused_by = null, paused_reason = null
        where name = $1 and paused_at is not null
        "#,
        queue.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(resumed.rows_affected())
}
