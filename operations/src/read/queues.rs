//! The consumer queues.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

/// A queue. The counts end at 10,000 open jobs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QueueStatus {
    pub name: String,
    pub ready: i64,
    pub running: i64,
    pub in_doubt: i64,
    pub dead: i64,
    /// When the oldest ready job arrived.
    pub oldest_ready: Option<DateTime<Utc>>,
    /// Null unless the queue is paused.
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
        from messaging.queue_backlog
        order by name
        "#
    )
    .fetch_all(pool)
    .await
}
