//! Claiming jobs under a lease, keeping the lease, and taking back what was claimed.

use std::time::Duration;

use contracts::Queue;
use runtime::database::interval;
use serde_json::value::RawValue;
use sqlx::PgExecutor;
use sqlx::types::Json;

use super::job::{Job, Row};

/// Claims up to `limit` rows for `owner`; none while the queue is paused. The lease runs on the database's clock.
pub async fn claim(
    executor: impl PgExecutor<'_>,
    queue: Queue,
    owner: &str,
    limit: i64,
    lease: Duration,
) -> sqlx::Result<Vec<Job>> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        with picked as materialized (
            select event_id, status
            from messaging.inbox
            where queue = $1 and status in ('ready', 'in_doubt') and run_at <= clock_timestamp()
              and not exists (select from messaging.queues where name = $1 and paused_at is not null)
            order by run_at
            limit $2
            for update skip locked
        )
        update messaging.inbox as job
        set status = 'running', attempts = attempts + 1, fence = fence + 1, lease_owner = $3,
            leased_until = clock_timestamp() + $4, started_at = clock_timestamp()
        from picked
        where job.queue = $1 and job.event_id = picked.event_id
        returning job.event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
                  payload as "payload: Json<Box<RawValue>>", headers as "headers: Json<Box<RawValue>>",
                  occurred_at, received_at, attempts, picked.status = 'in_doubt' as "in_doubt!", fence
        "#,
        queue.as_str(),
        limit,
        owner,
        interval(lease),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_job(queue)).collect())
}

/// Extends a lease. `false` when the caller no longer holds it.
pub async fn extend_lease(executor: impl PgExecutor<'_>, job: &Job, lease: Duration) -> sqlx::Result<bool> {
    let extended = sqlx::query!(
        r#"
        update messaging.inbox set leased_until = clock_timestamp() + $1
        where queue = $2 and event_id = $3 and fence = $4 and status = 'running'
        "#,
        interval(lease),
        job.queue.as_str(),
        job.event_id,
        job.fence,
    )
    .execute(executor)
    .await?;
    Ok(extended.rows_affected() == 1)
}

/// Makes the jobs of dead workers available again. The attempt that the worker started counts.
///
/// They come back as `in_doubt`, because the dead worker may have had its effect.
pub async fn reclaim_expired(executor: impl PgExecutor<'_>, queue: Queue) -> sqlx::Result<u64> {
    let reclaimed = sqlx::query!(
        r#"
        update messaging.inbox
        set status = 'in_doubt', run_at = clock_timestamp(), lease_owner = null, leased_until = null,
            last_error = 'the worker ' || lease_owner || ' let its lease expire'
        where queue = $1 and status = 'running' and leased_until < clock_timestamp()
        "#,
        queue.as_str(),
    )
    .execute(executor)
    .await?;
    Ok(reclaimed.rows_affected())
}

/// Gives the jobs that `owner` still holds back to the queue when its process ends. The attempt does not count, because
/// the job did not fail. They come back as `in_doubt`, because the effect may have happened.
pub async fn release(executor: impl PgExecutor<'_>, queue: Queue, owner: &str) -> sqlx::Result<u64> {
    let released = sqlx::query!(
        r#"
        update messaging.inbox
        set status = 'in_doubt', run_at = clock_timestamp(), attempts = attempts - 1, lease_owner = null,
            leased_until = null, last_error = 'the worker ' || lease_owner || ' was stopped'
        where queue = $1 and status = 'running' and lease_owner = $2
        "#,
        queue.as_str(),
        owner,
    )
    .execute(executor)
    .await?;
    Ok(released.rows_affected())
}
