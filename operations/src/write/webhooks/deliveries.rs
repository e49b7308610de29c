//! Deliveries that operators ask for: a test, one again, or all that an endpoint has missed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use messaging::leases::Consumer;
use messaging::log::caught_up;
use runtime::database::in_transaction;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::OperationError;
use crate::read::webhooks::endpoint;
use crate::write::record::{Action, Operator, record};

/// Events that one statement of a recovery looks at.
const RECOVERED_AT_ONCE: i64 = 5_000;

/// How long the workers may take to read the log up to its end: the oldest open transaction holds them up.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// What was started.
#[derive(Debug, Serialize, ToSchema)]
pub struct Started {
    pub endpoint_id: Uuid,
    /// Of the delivery: `GET …/deliveries/{event_id}` says what came of it.
    pub event_id: Uuid,
}

/// Sends a test event, of the type `webhook.test`.
///
/// # Errors
/// There is no such endpoint, or it is disabled.
pub async fn test(
    pool: &PgPool,
    id: Uuid,
    event_id: Uuid,
    at: DateTime<Utc>,
    operator: Operator,
) -> Result<Started, OperationError> {
    if endpoint(pool, id).await?.disabled_at.is_some() {
        return Err(OperationError::WebhookDisabled(id));
    }
    let body = json!({
        "id": event_id, "type": "webhook.test", "timestamp": at, "consistency_token": "",
        "data": { "entity_type": "webhook_endpoint", "entity_id": id, "version": 1, "previous_state": null, "state": "TEST",
                  "object": { "endpoint_id": id, "message": "This is a test. Nothing has happened." } },
    });
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            sqlx::query!(
                r#"
                insert into messaging.webhook_deliveries (event_id, endpoint_id, event_type, aggregate_id, aggregate_version, body)
                select $1, id, 'webhook.test', $1, 1, $3 from messaging.webhook_endpoints where id = $2 and deleted_at is null
                "#,
                event_id,
                id,
                body.to_string(),
            )
            .execute(&mut *conn)
            .await?;
            record(conn, &operator, Action::TestWebhook, json!({ "endpoint_id": id }), 1).await?;
            Ok(Started { endpoint_id: id, event_id })
        })
    })
    .await
}

/// Makes a settled delivery again, or a pending one now.
///
/// # Errors
/// There is no such delivery, or it is under way.
pub async fn redeliver(
    pool: &PgPool,
    endpoint_id: Uuid,
    event_id: Uuid,
    operator: Operator,
) -> Result<Started, OperationError> {
    if endpoint(pool, endpoint_id).await?.disabled_at.is_some() {
        return Err(OperationError::WebhookDisabled(endpoint_id));
    }
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let again = sqlx::query_scalar!(
                r#"
                with known as (
                    select event_id, endpoint_id, claim_id is not null and due_at > clock_timestamp() as is_under_way
                    from messaging.webhook_deliveries where event_id = $1 and endpoint_id = $2 for update
                ), again as (
                    update messaging.webhook_deliveries as delivery
                    set status = 'PENDING', due_at = clock_timestamp(), claim_id = null, settled_at = null, tries = 0
                    from known
                    where delivery.event_id = known.event_id and delivery.endpoint_id = known.endpoint_id and not is_under_way
                )
                select is_under_way as "is_under_way!" from known
                "#,
                event_id,
                endpoint_id,
            );
            match again.fetch_optional(&mut *conn).await? {
                None => return Err(OperationError::DeliveryNotFound { endpoint_id, event_id }),
                Some(true) => return Err(OperationError::DeliveryUnderWay),
                Some(false) => {}
            }
            let target = json!({ "endpoint_id": endpoint_id, "event_ids": [event_id] });
            record(conn, &operator, Action::RedeliverWebhook, target, 1).await?;
            Ok(Started { endpoint_id, event_id })
        })
    })
    .await
}

/// What a recovery has found.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recovered {
    /// Deliveries that will be made: those that had failed, and those that were not recorded while the endpoint was disabled.
    pub deliveries: u64,
}

/// Makes every delivery of events since then that has failed or was never recorded. Run it in a task of its own: of many events it takes
/// longer than a request may.
///
/// # Errors
/// There is no such endpoint, it is disabled, or the workers do not get to the end of the log.
pub async fn recover(
    pool: &PgPool,
    endpoint_id: Uuid,
    since: DateTime<Utc>,
    operator: Operator,
) -> Result<Recovered, OperationError> {
    if endpoint(pool, endpoint_id).await?.disabled_at.is_some() {
        return Err(OperationError::WebhookDisabled(endpoint_id));
    }
    let mut deliveries = 0;
    let mut after =
        sqlx::query_scalar!(r#"select messaging.lowest_event_id($1) as "id!""#, since).fetch_one(pool).await?;
    // What the workers read from now on they record themselves, in the order of the log. What they read while the endpoint was disabled
    // they have passed over, also where their mark is not stored yet.
    let passed = caught_up(pool, Consumer::Webhooks, READ_WITHIN).await?.ok_or(OperationError::LogNotRead)?;
    // In small steps, each its own commit: a step that is made twice changes nothing.
    loop {
        let step = sqlx::query!(
            r#"
            with events as materialized (
                select event_id, event_type, aggregate_id, aggregate_version, position from messaging.outbox
                where event_id > $2 order by event_id limit $3
            ), wanted as materialized (
                select event_id, event_type, aggregate_id, aggregate_version
                from events join messaging.webhook_endpoints as endpoint
                    on endpoint.id = $1 and event_type <> 'snapshot.taken' and (event_types = '{}' or event_type = any(event_types))
                where position <= $4
            ), again as (
                update messaging.webhook_deliveries as known
                set status = 'PENDING', due_at = clock_timestamp(), settled_at = null, tries = 0
                from wanted
                where known.event_id = wanted.event_id and known.endpoint_id = $1 and known.status in ('FAILED', 'DISCARDED')
                returning known.event_id
            ), missed as (
                insert into messaging.webhook_deliveries (event_id, endpoint_id, event_type, aggregate_id, aggregate_version)
                select event_id, $1, event_type, aggregate_id, aggregate_version from wanted
                on conflict do nothing
                returning event_id
            )
            select (select count(*) from events) as "looked_at!",
                   (select count(*) from again) + (select count(*) from missed) as "recovered!",
                   (select event_id from events order by event_id desc limit 1) as last
            "#,
            endpoint_id,
            after,
            RECOVERED_AT_ONCE,
            passed,
        )
        .fetch_one(pool)
        .await?;
        deliveries += u64::try_from(step.recovered).unwrap_or(0);
        match step.last {
            Some(last) if step.looked_at == RECOVERED_AT_ONCE => after = last,
            _ => break,
        }
    }
    let target = json!({ "endpoint_id": endpoint_id, "since": since });
    let mut conn = pool.acquire().await?;
    record(&mut conn, &operator, Action::RecoverWebhook, target, deliveries).await?;
    Ok(Recovered { deliveries })
}
