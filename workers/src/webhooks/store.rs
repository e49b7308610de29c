//! The SQL over `messaging.webhook_endpoints`, `webhook_deliveries` and `webhook_attempts`.

mod bounds;
mod claim;

use std::time::Duration;

use chrono::{DateTime, Utc};
use messaging::log::Headline;
use runtime::database::interval;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::sender::Attempt;

pub(super) use bounds::Bounds;
pub(super) use claim::{Claimed, Room, claim};

/// Records deliveries, for every endpoint that wants these events. Returns how many are new.
pub(super) async fn record(pool: &PgPool, events: &[&Headline]) -> sqlx::Result<u64> {
    if events.is_empty() {
        return Ok(0);
    }
    let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
    let types: Vec<&str> = events.iter().map(|event| event.event_type.as_str()).collect();
    let aggregates: Vec<Uuid> = events.iter().map(|event| event.aggregate_id).collect();
    let versions: Vec<i32> = events.iter().map(|event| event.aggregate_version).collect();
    let times: Vec<DateTime<Utc>> = events.iter().map(|event| event.occurred_at).collect();
    let inserted = sqlx::query!(
        r#"
        insert into messaging.webhook_deliveries (event_id, endpoint_id, event_type, aggregate_id, aggregate_version)
        select event_id, endpoint.id, event_type, aggregate_id, aggregate_version
        from unnest($1::uuid[], $2::text[], $3::uuid[], $4::int[], $5::timestamptz[])
            as event (event_id, event_type, aggregate_id, aggregate_version, occurred_at)
        join messaging.webhook_endpoints as endpoint
            on deleted_at is null and disabled_at is null and occurred_at >= created_at
               and (event_types = '{}' or event_type = any(event_types))
        on conflict do nothing
        "#,
        &ids,
        &types as &[&str],
        &aggregates,
        &versions,
        &times,
    );
    Ok(inserted.execute(pool).await?.rows_affected())
}

/// Settles a delivery. What another claim has taken meanwhile stays as it is.
pub(super) async fn delivered(
    conn: &mut PgConnection,
    claimed: &Claimed,
    attempt: &Attempt,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    note(conn, claimed, attempt, at).await?;
    let settled = sqlx::query!(
        r#"
        update messaging.webhook_deliveries
        set status = 'DELIVERED', due_at = null, claim_id = null, last_error = null, settled_at = $4
        where event_id = $1 and endpoint_id = $2 and claim_id = $3
        "#,
        claimed.event_id,
        claimed.endpoint_id,
        claimed.claim_id,
        at,
    );
    if settled.execute(&mut *conn).await?.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!(
        "update messaging.webhook_endpoints set failing_since = null where id = $1 and failing_since is not null",
        claimed.endpoint_id,
    )
    .execute(&mut *conn)
    .await?;
    let Claimed { endpoint_id, aggregate_id, .. } = claimed;
    make_next_due(conn, *endpoint_id, *aggregate_id).await
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failed<'f> {
    pub(super) error: &'f str,
    /// `None`: it was the last attempt.
    pub(super) wait: Option<Duration>,
    /// The endpoint says that it is gone for good.
    pub(super) gone: bool,
    pub(super) give_up_after: Duration,
}

/// Puts a delivery off, or gives it up. Returns why the endpoint was disabled, if it was.
pub(super) async fn failed(
    conn: &mut PgConnection,
    claimed: &Claimed,
    attempt: &Attempt,
    failed: &Failed<'_>,
    at: DateTime<Utc>,
) -> sqlx::Result<Option<String>> {
    // The endpoint first, as those do who delete it.
    sqlx::query!("select from messaging.webhook_endpoints where id = $1 for no key update", claimed.endpoint_id)
        .fetch_optional(&mut *conn)
        .await?;
    note(conn, claimed, attempt, at).await?;
    let updated = sqlx::query!(
        r#"
        update messaging.webhook_deliveries
        set status = case when $4::interval is null then 'FAILED' else 'PENDING' end, due_at = clock_timestamp() + $4::interval,
            claim_id = null, last_error = $5, settled_at = case when $4::interval is null then $6::timestamptz end
        where event_id = $1 and endpoint_id = $2 and claim_id = $3
        "#,
        claimed.event_id,
        claimed.endpoint_id,
        claimed.claim_id,
        failed.wait.map(interval) as _,
        failed.error,
        at,
    );
    if updated.execute(&mut *conn).await?.rows_affected() == 0 {
        return Ok(None);
    }
    let reason = if failed.gone {
        Some("it answered 410 Gone".to_owned())
    } else {
        let since = sqlx::query_scalar!(
            r#"
            update messaging.webhook_endpoints set failing_since = coalesce(failing_since, $2)
            where id = $1 and disabled_at is null
            returning failing_since < $2::timestamptz - $3::interval as "too_long!"
            "#,
            claimed.endpoint_id,
            at,
            interval(failed.give_up_after) as _,
        );
        let too_long = since.fetch_optional(&mut *conn).await?.unwrap_or(false);
        too_long.then(|| format!("nothing could be delivered for three days; the last error was: {}", failed.error))
    };
    if failed.wait.is_none() {
        let Claimed { endpoint_id, aggregate_id, .. } = claimed;
        make_next_due(conn, *endpoint_id, *aggregate_id).await?;
    }
    let Some(reason) = reason else { return Ok(None) };
    let disabled = sqlx::query!(
        r#"
        update messaging.webhook_endpoints set disabled_at = $2, disabled_reason = $3, updated_at = $2
        where id = $1 and disabled_at is null
        "#,
        claimed.endpoint_id,
        at,
        reason,
    );
    Ok((disabled.execute(conn).await?.rows_affected() > 0).then_some(reason))
}

async fn note(conn: &mut PgConnection, claimed: &Claimed, attempt: &Attempt, at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into messaging.webhook_attempts (event_id, endpoint_id, attempt, at, duration_ms, status_code, error)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict do nothing
        "#,
        claimed.event_id,
        claimed.endpoint_id,
        claimed.attempts,
        at,
        i32::try_from(attempt.duration.as_millis()).unwrap_or(i32::MAX),
        attempt.status.and_then(|status| i16::try_from(status.as_u16()).ok()),
        attempt.error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The next version of an entity that waits has its turn now. In a statement of its own, after the settled one was locked: see
/// the claim.
async fn make_next_due(conn: &mut PgConnection, endpoint_id: Uuid, aggregate_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update messaging.webhook_deliveries as next set due_at = clock_timestamp()
        from (
            select event_id, endpoint_id from messaging.webhook_deliveries
            where endpoint_id = $1 and aggregate_id = $2 and status = 'PENDING'
            order by aggregate_version limit 1
        ) as first
        where next.event_id = first.event_id and next.endpoint_id = first.endpoint_id and next.due_at is null
        "#,
        endpoint_id,
        aggregate_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}
