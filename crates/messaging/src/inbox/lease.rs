//! The lease of a worker: one row for all its jobs of a queue. It belongs to one server.

use std::time::Duration;

use contracts::Queue;
use runtime::database::interval;
use sqlx::PgPool;
use uuid::Uuid;

/// The lease of a worker on the jobs of one queue.
#[derive(Debug, Clone, Copy)]
pub struct WorkerLease<'a> {
    pub owner: &'a str,
    /// None of its running jobs has an earlier claim, and no later claim will.
    pub oldest_claim: Uuid,
    pub lasts: Duration,
}

/// Extends the lease of a worker that has it on the server `timeline`. On another server it does nothing: there
/// [`start_lease`] must come first. Returns the server that was asked.
pub async fn extend_lease(pool: &PgPool, queue: Queue, lease: WorkerLease<'_>, timeline: &str) -> sqlx::Result<String> {
    sqlx::query_scalar!(
        r#"
        with here as materialized (
            select timeline from messaging.timeline() as timeline
        ), extended as (
            insert into messaging.workers (queue, owner, expires_at, oldest_claim)
            select $1, $2, clock_timestamp() + $3, $4 from here where timeline = $5
            on conflict (queue, owner) do update set expires_at = excluded.expires_at, oldest_claim = excluded.oldest_claim
        )
        select timeline as "timeline!" from here
        "#,
        queue.as_str(),
        lease.owner,
        interval(lease.lasts),
        lease.oldest_claim,
        timeline,
    )
    .fetch_one(pool)
    .await
}

/// Starts the lease of a worker on the server that answers. Returns that server, and how many jobs it gave back.
///
/// After a failover to a replica that lacks the last commits, jobs run there under the worker's claims that it has ended
/// long ago. They are given back: all under its claims but those of the events in `at_work`.
pub async fn start_lease(
    pool: &PgPool,
    queue: Queue,
    lease: WorkerLease<'_>,
    at_work: &[Uuid],
) -> sqlx::Result<(String, i64)> {
    let started = sqlx::query!(
        r#"
        with lost as materialized (
            select claim_id, unnest(event_ids) as event_id
            from messaging.workers
            cross join lateral (
                select claim_id, event_ids from messaging.claims
                where claims.queue = $1 and claims.owner = $2
                  and claim_id between oldest_claim and 'ffffffff-ffff-ffff-ffff-ffffffffffff'
                offset 0
            ) as claims
            where queue = $1 and owner = $2
        ), given_back as (
            update messaging.inbox as job
            set status = 'in_doubt', run_at = messaging.due_now($1),
                last_error = 'the database lost what the worker ' || $2 || ' had recorded'
            from lost
            where job.queue = $1 and job.event_id = any(array(select event_id from lost)) and job.event_id = lost.event_id
              and job.claim_id = lost.claim_id and status = 'running' and job.event_id <> all($5)
            returning 1
        ), started as (
            insert into messaging.workers (queue, owner, expires_at, oldest_claim) values ($1, $2, clock_timestamp() + $3, $4)
            on conflict (queue, owner) do update set expires_at = excluded.expires_at, oldest_claim = excluded.oldest_claim
        )
        select messaging.timeline() as "timeline!", count(*) as "given_back!" from given_back
        "#,
        queue.as_str(),
        lease.owner,
        interval(lease.lasts),
        lease.oldest_claim,
        at_work,
    )
    .fetch_one(pool)
    .await?;
    Ok((started.timeline, started.given_back))
}
