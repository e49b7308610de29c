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
/// Batches of one act that are looked at.
const BATCHES: i64 = 1_000;
/// Batches of a bulk act that are looked at.
const BATCHES_OF_BULK: i64 = 20;

/// One operator action.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OperatorAction {
    pub id: i64,
    pub acted_at: DateTime<Utc>,
    pub actor: String,
    /// `CLI`, `REST`, `CONSOLE` or `MCP`.
    pub source: String,
    /// As `REPLAY`, `SKIP`, `RELEASE`, `RETRY`, `DISCARD`, `PAUSE`, `RESUME`, `CREATE_KEY`, `ERASE_CUSTOMER`, `TEST_WEBHOOK` or `REVEAL`.
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

/// Which actions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Matching<'a> {
    pub actor: Option<&'a str>,
    pub action: Option<&'a str>,
    /// The reason or the target contains it, in upper or lower case.
    pub text: Option<&'a str>,
}

/// The latest actions that match, without the ids of the events: a large act has very many.
pub async fn matching(pool: &PgPool, matching: Matching<'_>, limit: i64) -> sqlx::Result<Vec<OperatorAction>> {
    sqlx::query_as!(
        OperatorAction,
        r#"
        select id, acted_at, actor, source, action, target - 'event_ids' as "target!", reason, rows_changed, request_id
        from messaging.operator_actions
        where ($1::text is null or lower(actor) = lower($1)) and ($2::text is null or action = upper($2))
          and ($3::text is null or position(lower($3) in lower(reason)) > 0 or position(lower($3) in lower(target::text)) > 0)
        order by id desc
        limit $4
        "#,
        matching.actor,
        matching.action,
        matching.text,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// The first action of a request that has just been answered.
pub async fn first_of_request(pool: &PgPool, request_id: &str) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        r#"
        select min(id) from messaging.operator_actions
        where request_id = $1 and acted_at > clock_timestamp() - interval '10 minutes'
        "#,
        request_id,
    )
    .fetch_one(pool)
    .await
}

/// The number of the latest action; 0 before the first one.
pub async fn last(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select coalesce(max(id), 0) as "last!" from messaging.operator_actions"#)
        .fetch_one(pool)
        .await
}

/// The first action of a request that came after another action.
pub async fn first_after(pool: &PgPool, last: i64, request_id: &str) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "select min(id) from messaging.operator_actions where id > $1 and request_id = $2",
        last,
        request_id,
    )
    .fetch_one(pool)
    .await
}

/// An action, and the later ones of the same request: a large act is recorded in batches.
pub async fn with_its_batches(pool: &PgPool, id: i64) -> sqlx::Result<Vec<OperatorAction>> {
    sqlx::query_as!(
        OperatorAction,
        r#"
        select batch.id, batch.acted_at, batch.actor, batch.source, batch.action, batch.target, batch.reason, batch.rows_changed,
               batch.request_id
        from messaging.operator_actions as first
        join messaging.operator_actions as batch
          on batch.id = first.id
             or batch.request_id = first.request_id and batch.id > first.id and batch.action = first.action
                and batch.acted_at between first.acted_at and first.acted_at + interval '10 minutes'
        where first.id = $1
        order by batch.id
        limit $2
        "#,
        id,
        BATCHES,
    )
    .fetch_all(pool)
    .await
}

/// The first batches of a bulk act that began at this time.
pub async fn of_bulk(pool: &PgPool, id: Uuid, since: DateTime<Utc>) -> sqlx::Result<Vec<OperatorAction>> {
    sqlx::query_as!(
        OperatorAction,
        r#"
        select id, acted_at, actor, source, action, target, reason, rows_changed, request_id
        from messaging.operator_actions
        where acted_at >= $2 and target ->> 'bulk_act' = $1 and target ? 'event_ids'
        order by acted_at
        limit $3
        "#,
        id.to_string(),
        since,
        BATCHES_OF_BULK,
    )
    .fetch_all(pool)
    .await
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
