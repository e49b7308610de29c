//! The endpoints of webhooks, and what came of each delivery. No secret is shown.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::OperationError;

/// Where events are sent to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Endpoint {
    pub id: Uuid,
    pub url: String,
    pub description: Option<String>,
    /// Empty: all.
    #[schema(example = json!(["order.shipped", "refund.processed"]))]
    pub event_types: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Until then the earlier secret signs too.
    pub earlier_secret_until: Option<DateTime<Utc>>,
    /// Nothing is recorded for it nor sent.
    pub disabled_at: Option<DateTime<Utc>>,
    pub disabled_reason: Option<String>,
    /// Nothing could be delivered since. After three days it is disabled.
    pub failing_since: Option<DateTime<Utc>>,
}

/// A list of endpoints.
#[derive(Debug, Serialize, ToSchema)]
pub struct Endpoints {
    /// Newest first.
    pub data: Vec<Endpoint>,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeliveryStatus {
    /// It is due, waits for its next attempt, or for an earlier event of its entity.
    Pending,
    Delivered,
    /// Every attempt has failed.
    Failed,
    /// Its endpoint was deleted.
    Discarded,
}

impl DeliveryStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Delivered => "DELIVERED",
            Self::Failed => "FAILED",
            Self::Discarded => "DISCARDED",
        }
    }
}

/// An event for an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delivery {
    pub event_id: Uuid,
    pub endpoint_id: Uuid,
    pub event_type: String,
    pub entity_id: Uuid,
    pub entity_version: i32,
    #[schema(example = "DELIVERED")]
    pub status: String,
    pub attempts: i32,
    /// Null where it is settled, or waits for an earlier event of its entity.
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub settled_at: Option<DateTime<Utc>>,
}

/// A list of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deliveries {
    /// Newest event first.
    pub data: Vec<Delivery>,
    /// Send it as `before` to get the next page; null on the last page.
    pub next_before: Option<Uuid>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct Attempt {
    /// 1 is the first.
    pub attempt: i32,
    pub at: DateTime<Utc>,
    pub duration_ms: i32,
    /// Of the answer, if there was one.
    pub status_code: Option<i16>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryLog {
    pub delivery: Delivery,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
}

/// All endpoints.
pub async fn endpoints(pool: &PgPool) -> Result<Endpoints, OperationError> {
    let data = sqlx::query_as!(
        Endpoint,
        r#"
        select id, url, description, event_types, created_at, updated_at, previous_until as earlier_secret_until, disabled_at,
               disabled_reason, failing_since
        from messaging.webhook_endpoints where deleted_at is null
        order by created_at desc, id desc limit 1000
        "#
    );
    Ok(Endpoints { data: data.fetch_all(pool).await? })
}

/// One endpoint.
///
/// # Errors
/// There is none of this id.
pub async fn endpoint(pool: &PgPool, id: Uuid) -> Result<Endpoint, OperationError> {
    let found = sqlx::query_as!(
        Endpoint,
        r#"
        select id, url, description, event_types, created_at, updated_at, previous_until as earlier_secret_until, disabled_at,
               disabled_reason, failing_since
        from messaging.webhook_endpoints where deleted_at is null and id = $1
        "#,
        id,
    );
    found.fetch_optional(pool).await?.ok_or(OperationError::WebhookNotFound(id))
}

/// The latest deliveries to an endpoint, before an event if one is named.
///
/// # Errors
/// There is no such endpoint.
pub async fn deliveries(
    pool: &PgPool,
    endpoint_id: Uuid,
    status: Option<DeliveryStatus>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Deliveries, OperationError> {
    endpoint(pool, endpoint_id).await?;
    let mut data = sqlx::query_as!(
        Delivery,
        r#"
        select event_id, endpoint_id, event_type, aggregate_id as entity_id, aggregate_version as entity_version, status, attempts,
               due_at as next_attempt_at, last_error, created_at, settled_at
        from messaging.webhook_deliveries
        where endpoint_id = $1 and ($2::text is null or status = $2) and event_id < coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
        order by event_id desc limit $4
        "#,
        endpoint_id,
        status.map(DeliveryStatus::as_str),
        before,
        limit + 1,
    )
    .fetch_all(pool)
    .await?;
    let page = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = data.len() > page;
    data.truncate(page);
    let next_before = data.last().filter(|_| has_more).map(|last| last.event_id);
    Ok(Deliveries { data, next_before })
}

/// A delivery with its attempts.
///
/// # Errors
/// There is none.
pub async fn delivery(pool: &PgPool, endpoint_id: Uuid, event_id: Uuid) -> Result<DeliveryLog, OperationError> {
    let delivery = sqlx::query_as!(
        Delivery,
        r#"
        select event_id, endpoint_id, event_type, aggregate_id as entity_id, aggregate_version as entity_version, status, attempts,
               due_at as next_attempt_at, last_error, created_at, settled_at
        from messaging.webhook_deliveries where event_id = $1 and endpoint_id = $2
        "#,
        event_id,
        endpoint_id,
    );
    let missing = OperationError::DeliveryNotFound { endpoint_id, event_id };
    let delivery = delivery.fetch_optional(pool).await?.ok_or(missing)?;
    let attempts = sqlx::query_as!(
        Attempt,
        r#"
        select attempt, at, duration_ms, status_code, error from messaging.webhook_attempts
        where event_id = $1 and endpoint_id = $2 order by attempt
        "#,
        event_id,
        endpoint_id,
    );
    Ok(DeliveryLog { delivery, attempts: attempts.fetch_all(pool).await? })
}
