//! Acts on all that a filter matches: how far they are, and what came of them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::OperationError;

/// An act on all that a filter matches.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BulkAct {
    pub id: Uuid,
    /// `REPLAY`, `RETRY` or `DISCARD`.
    pub act: String,
    /// What it acts on: the selection of a replay, or the filter of dead jobs.
    #[schema(value_type = Object)]
    pub selection: Value,
    /// How many there were when it began.
    pub matched: i64,
    /// Whether all of them were counted; else there were more than `matched`.
    pub is_counted: bool,
    /// The most rows in a second. Null: as fast as it goes.
    pub per_second: Option<i32>,
    /// `RUNNING`, `DONE`, `CANCELLED` or `FAILED`.
    pub status: String,
    /// Rows changed so far. It may end below `matched`: what was mended by other means meanwhile is left alone.
    pub acted: i64,
    /// Why its last batch was not done, or why it failed.
    pub waits_for: Option<String>,
    pub actor: String,
    /// `CLI`, `REST` or `CONSOLE`.
    pub source: String,
    pub reason: String,
    pub request_id: Option<String>,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// A list.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkActs {
    /// Newest first.
    pub data: Vec<BulkAct>,
}

/// Reads acts by a condition.
macro_rules! acts {
    ($condition:literal, $argument:expr) => {
        sqlx::query_as!(
            BulkAct,
            r#"
            select id, act, selection, matched, is_counted, per_second, status, acted, waits_for, actor, source, reason, request_id,
                   created_at, finished_at
            from messaging.bulk_acts
            "# + $condition,
            $argument,
        )
    };
}

/// The newest acts.
pub async fn list(pool: &PgPool, limit: i64) -> Result<BulkActs, OperationError> {
    let data = acts!("order by created_at desc limit $1", limit).fetch_all(pool).await?;
    Ok(BulkActs { data })
}

/// The act with this id.
pub async fn get(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<BulkAct>> {
    acts!("where id = $1", id).fetch_optional(pool).await
}
