//! The keys of callers. None shows the key itself: the database does not have it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::OperationError;

/// One key.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct KeyStatus {
    pub id: Uuid,
    /// The actor in the audit.
    pub name: String,
    pub role: String,
    pub customer_id: Option<String>,
    /// The start of the key, by which it is found.
    pub prefix: String,
    /// CIDR blocks; empty: it may be used from everywhere.
    pub networks: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub expires_at: Option<DateTime<Utc>>,
    /// From then on it is refused; in the future after a rotation.
    pub revoked_at: Option<DateTime<Utc>>,
    pub revoked_by: Option<String>,
    /// To the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Whether it is accepted now.
    pub is_valid: bool,
}

/// A list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Keys {
    /// Newest first.
    pub data: Vec<KeyStatus>,
}

/// The latest keys, with `valid_only` without those that are revoked or expired.
pub async fn list(pool: &PgPool, valid_only: bool, limit: i64) -> Result<Keys, OperationError> {
    let data = sqlx::query_as!(
        KeyStatus,
        r#"
        select id, name, role, customer_id, 'ak_live_' || prefix as "prefix!", networks, created_at, created_by, expires_at, revoked_at,
               revoked_by, last_used_at, is_valid as "is_valid!"
        from access.api_keys
        cross join lateral (select coalesce(revoked_at > clock_timestamp(), true) and coalesce(expires_at > clock_timestamp(), true)
                                   as is_valid) as now
        where is_valid or not $1
        order by created_at desc
        limit $2
        "#,
        valid_only,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(Keys { data })
}
