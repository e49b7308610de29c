//! The events that did not go out with the others.

use std::time::Duration;

use messaging::leases::Leases;
use runtime::database::{interval, limited};
use sqlx::PgPool;
use uuid::Uuid;

/// Open exceptions of one shard at which its relay stops: something is wrong with more than single events.
pub(crate) const MOST_PER_SHARD: i64 = 10_000;

/// An event that did not go out.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) event_id: Uuid,
    pub(crate) error: String,
    /// Why it is parked, or `None` to retry it after `delay`.
    pub(crate) parked: Option<&'static str>,
    pub(crate) delay: Duration,
    /// Whether it counts as an attempt.
    pub(crate) is_attempt: bool,
}

/// Logs and stores that an event did not go out.
pub(crate) async fn record(pool: &PgPool, leases: &Leases, failed: &Failed) -> sqlx::Result<()> {
    match failed.parked {
        Some(reason) => {
            metrics::counter!("outbox_parked_total", "reason" => reason).increment(1);
            tracing::error!(alert = true, event.id = %failed.event_id, reason, error = %failed.error, "event parked");
        }
        None => {
            tracing::warn!(event.id = %failed.event_id, error = %failed.error, retry_in = ?failed.delay, "event not published");
        }
    }
    limited(insert(pool, leases, failed)).await
}

/// A relay that has lost the shard's lease changes nothing.
async fn insert(pool: &PgPool, leases: &Leases, failed: &Failed) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with held as materialized (
            select shard
            from messaging.shard_leases as lease join unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch) using (shard, epoch)
            where consumer = 'relay' and messaging.timeline() = $3
            order by shard
            for share of lease
        )
        insert into messaging.outbox_exceptions as exception
            (event_id, position, shard, aggregate_id, aggregate_version, status, attempts, last_error, next_attempt_at,
             parked_at, parked_reason)
        select event_id, position, shard, aggregate_id, aggregate_version, case when $4::text is null then 'WAITING' else 'PARKED' end,
               $8, $5, case when $4 is null then clock_timestamp() + $6 end, case when $4 is not null then clock_timestamp() end, $4
        from messaging.outbox join held using (shard)
        where event_id = $7
        on conflict (event_id) do update
        set status = excluded.status, attempts = exception.attempts + excluded.attempts, last_error = excluded.last_error,
            next_attempt_at = excluded.next_attempt_at, parked_at = excluded.parked_at, parked_reason = excluded.parked_reason
        where exception.status <> 'SKIPPED'
        "#,
        &leases.shards,
        &leases.epochs,
        leases.timeline,
        failed.parked,
        failed.error,
        interval(failed.delay),
        failed.event_id,
        i32::from(failed.is_attempt),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Lets events go whose earlier events are gone: the statement that resolved these may not have seen them. What another statement
/// has locked it leaves for the next time.
pub(crate) async fn tend(pool: &PgPool, leases: &Leases) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with free as materialized (
            select event_id from messaging.outbox_exceptions as held
            where shard = any($1) and status = 'HELD' and not exists (
                select from messaging.outbox_exceptions as earlier
                where earlier.aggregate_id = held.aggregate_id and earlier.status <> 'SKIPPED'
                  and earlier.aggregate_version < held.aggregate_version)
            for update skip locked
        )
        update messaging.outbox_exceptions as held set status = 'WAITING', next_attempt_at = clock_timestamp()
        from free where held.event_id = free.event_id
        "#,
        &leases.shards,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The shards with too many open exceptions.
pub(crate) async fn full(pool: &PgPool, leases: &Leases) -> sqlx::Result<Vec<i16>> {
    sqlx::query_scalar!(
        r#"
        select shard from messaging.outbox_exceptions
        where shard = any($1) and status <> 'SKIPPED'
        group by shard having count(*) >= $2
        order by shard
        "#,
        &leases.shards,
        MOST_PER_SHARD,
    )
    .fetch_all(pool)
    .await
}
