//! Who looks into which events.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

/// An event that a person looks into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Investigation {
    pub event_id: Uuid,
    pub actor: String,
    pub reason: String,
    pub began_at: DateTime<Utc>,
}

/// Those of these events, oldest first.
pub(crate) async fn of_events(pool: &PgPool, event_ids: &[Uuid]) -> sqlx::Result<Vec<Investigation>> {
    sqlx::query_as!(
        Investigation,
        r#"
        select event_id, actor, reason, began_at from messaging.investigations where event_id = any($1) order by began_at, event_id
        "#,
        event_ids,
    )
    .fetch_all(pool)
    .await
}
