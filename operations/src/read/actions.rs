//! What operators did: who, when, why.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::OperationError;

/// Actions shown of one event or aggregate.
const SHOWN_OF_ONE: i64 = 100;

/// One operator action.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OperatorAction {
    pub id: i64,
    pub acted_at: DateTime<Utc>,
    pub actor: String,
    /// `CLI`, `REST` or `CONSOLE`.
    pub source: String,
    /// `REPLAY`, `SKIP`, `RELEASE`, `RETRY`, `DISCARD`, `PAUSE`, `RESUME`, `CREATE_KEY`, `ROTATE_KEY` or `REVOKE_KEY`.
    pub action: String,
    /// The request, and in `event_ids` the events that were changed.
    #[schema(value_type = Object)]
    pub target: Value,
    pub reason: String,
    pub rows_changed: i64,
    pub request_id: Option<String>,
}

/// A list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Actions {
    /// Newest first.
    pub data: Vec<OperatorAction>,
}

/// The latest actions.
pub async fn list(pool: &PgPool, limit: i64) -> Result<Actions, OperationError> {
    let data = sqlx::query_as!(
        OperatorAction,
        r#"
        select id, acted_at, actor, source, action, target, reason, rows_changed, request_id
        from messaging.operator_actions
        order by id desc
        limit $1
        "#,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(Actions { data })
}

/// The actions that changed any of these events, oldest first.
pub(super) async fn of_events(pool: &PgPool, event_ids: &[Uuid]) -> sqlx::Result<Vec<OperatorAction>> {
    let event_ids: Vec<String> = event_ids.iter().map(Uuid::to_string).collect();
    sqlx::query_as!(
        OperatorAction,
        r#"
        select id, acted_at, actor, source, action, target, reason, rows_changed, request_id
        from messaging.operator_actions
        where target -> 'event_ids' ?| $1
        order by id
        limit $2
        "#,
        &event_ids,
        SHOWN_OF_ONE,
    )
    .fetch_all(pool)
    .await
}
