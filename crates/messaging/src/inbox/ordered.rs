//! Ordered queues: a version of an aggregate starts only when all earlier ones are done or discarded in that queue.
//!
//! A job that is claimed before its turn is *blocked*: it has no due time, so no claim comes across it again, however many
//! jobs wait behind a dead one. The commit that settles its predecessor makes it due.

use contracts::Queue;
use runtime::database::interval;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::Job;
use super::claim::{Claim, ClaimRow, Claimed, HEALTHY, PROBE_WITHIN, claim_statement, claimed};

/// Due jobs that a claim looks at beyond its limit, because some may be out of turn.
const BEYOND: i64 = 100;

/// Whether a queue is ordered.
pub async fn is_ordered(pool: &PgPool, queue: Queue) -> sqlx::Result<bool> {
    sqlx::query_scalar!("select ordered from messaging.queues where name = $1", queue.as_str()).fetch_one(pool).await
}

/// Claims due jobs of an ordered queue whose turn it is, and names some of those that are due before their turn;
/// [`block`] takes them out of the way of the next claim.
///
/// What is settled stays settled, so the claim needs no lock to see whose turn it is.
pub async fn claim_in_order(executor: impl PgExecutor<'_>, queue: Queue, claim: Claim<'_>) -> sqlx::Result<Claimed> {
    let rows = claim_statement!(
        executor,
        queue,
        claim,
        r#"seen as materialized (
            select event_id, run_at,
                   coalesce((select settled @> int4range(1, job.aggregate_version)
                             from messaging.ordered_aggregates as aggregate
                             where aggregate.queue = $1 and aggregate.aggregate_id = job.aggregate_id),
                            job.aggregate_version = 1) as is_next
            from messaging.inbox as job
            where queue = $1 and run_at >= $2 and run_at <= (select clock_timestamp()) and status in ('ready', 'in_doubt')
              and (select look from may)
            order by run_at
            limit $4::bigint + $10
        ), found as materialized (
            select job.event_id, status
            from seen
            join messaging.inbox as job
                on job.queue = $1 and job.event_id = any(array(select event_id from seen)) and job.event_id = seen.event_id
            where is_next and status in ('ready', 'in_doubt') and job.run_at <= clock_timestamp()
            order by seen.run_at
            limit $4
            for update of job skip locked
        )"#,
        "(select array_agg(event_id) from seen where not is_next)",
        BEYOND
    )?;
    let claimed = claimed(rows, queue, claim.id);
    let jobs = claimed.jobs.into_iter().map(|job| Job { ordered: true, ..job });
    Ok(Claimed { jobs: jobs.collect(), ..claimed })
}

/// Blocks jobs that are due before their turn. Returns how many: the turn of some may have come meanwhile.
///
/// The rows of their aggregates stay locked until the commit. A worker that completes a predecessor waits for that in
/// [`settle`], and then finds the blocked job.
pub async fn block(executor: impl PgExecutor<'_>, queue: Queue, event_ids: &[Uuid]) -> sqlx::Result<u64> {
    let blocked = sqlx::query!(
        r#"
        with early as materialized (
            select job.event_id, aggregate_id
            from unnest($2::uuid[]) as early (event_id)
            join messaging.inbox as job on job.queue = $1 and job.event_id = any($2) and job.event_id = early.event_id
        ), locked as (
            insert into messaging.ordered_aggregates as aggregate (queue, aggregate_id, settled)
            select distinct $1, aggregate_id, '{}'::int4multirange from early
            order by aggregate_id
            on conflict (queue, aggregate_id) do update set settled = aggregate.settled
            returning aggregate_id, settled
        )
        update messaging.inbox as job set status = 'blocked', run_at = null
        from early join locked using (aggregate_id)
        where job.queue = $1 and job.event_id = any($2) and job.event_id = early.event_id and status = 'ready'
          and not settled @> int4range(1, aggregate_version)
        "#,
        queue.as_str(),
        event_ids,
    )
    .execute(executor)
    .await?;
    Ok(blocked.rows_affected())
}

/// Records versions of aggregates as settled (done or discarded) in the transaction that ends their jobs, and makes the
/// next ones due. Returns how many of these were blocked.
pub async fn settle(conn: &mut PgConnection, queue: Queue, versions: &[(Uuid, i32)]) -> sqlx::Result<u64> {
    let (aggregate_ids, versions): (Vec<Uuid>, Vec<i32>) = versions.iter().copied().unzip();
    // In the order of the ids, as `block` does: two transactions that lock several aggregates must not deadlock.
    sqlx::query!(
        r#"
        insert into messaging.ordered_aggregates as aggregate (queue, aggregate_id, settled)
        select $1, aggregate_id, range_agg(int4range(version, version + 1))
        from unnest($2::uuid[], $3::int[]) as ended (aggregate_id, version)
        group by aggregate_id
        order by aggregate_id
        on conflict (queue, aggregate_id) do update set settled = aggregate.settled + excluded.settled
        "#,
        queue.as_str(),
        &aggregate_ids,
        &versions,
    )
    .execute(&mut *conn)
    .await?;
    // A statement of its own: it sees what was blocked while the first one waited for the locks. Each `limit` makes Postgres
    // look rows up one by one; it would otherwise read all aggregates while there are few.
    let released = sqlx::query!(
        r#"
        with next as materialized (
            select ended.aggregate_id, upper(settled_range) as version
            from unnest($2::uuid[]) as ended (aggregate_id)
            cross join lateral (
                select settled from messaging.ordered_aggregates as aggregate
                where aggregate.queue = $1 and aggregate.aggregate_id = ended.aggregate_id
                limit 1
            ) as its
            cross join unnest(settled) as settled_range
            where settled_range @> 1
        ), released as materialized (
            select event_id
            from next
            cross join lateral (
                select event_id from messaging.inbox as job
                where job.queue = $1 and job.aggregate_id = next.aggregate_id and job.aggregate_version = next.version
                  and run_at is null
                limit 1
            ) as blocked
        )
        update messaging.inbox as job set status = 'ready', run_at = messaging.due_now($1)
        from released
        where job.queue = $1 and job.event_id = any(array(select event_id from released))
          and job.event_id = released.event_id and status = 'blocked'
        "#,
        queue.as_str(),
        &aggregate_ids,
    )
    .execute(conn)
    .await?;
    Ok(released.rows_affected())
}
