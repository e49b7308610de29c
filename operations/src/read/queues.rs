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
    /// In an ordered queue, jobs of which an earlier version is neither done nor discarded.
    pub blocked: i64,
    /// When the oldest ready job arrived.
    pub oldest_ready: Option<DateTime<Utc>>,
    /// Null unless the queue is paused.
    pub paused_at: Option<DateTime<Utc>>,
    pub paused_by: Option<String>,
    pub paused_reason: Option<String>,
    /// Since when its dependency is down: the mail server, the payment gateway, Chromium, or the invoice store. Null: it works.
    pub outage_since: Option<DateTime<Utc>>,
    /// What the last failed probe reported.
    pub outage_reason: Option<String>,
    /// When the next job finds out whether the dependency works again.
    pub next_probe_at: Option<DateTime<Utc>>,
}

/// All queues. Done jobs are history and not counted.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<QueueStatus>> {
    sqlx::query_as!(
        QueueStatus,
        r#"
        select name as "name!", ready as "ready!", running as "running!", in_doubt as "in_doubt!", dead as "dead!",
               blocked as "blocked!", oldest_ready, paused_at, paused_by, paused_reason, outage_since as "outage_since?",
               outage_reason as "outage_reason?", next_probe_at as "next_probe_at?"
        from messaging.queue_backlog
        order by name
        "#
    )
    .fetch_all(pool)
    .await
}
