//! Claiming jobs, and giving back what was claimed.
//!
//! All jobs of a worker share the lease of the worker's row in `messaging.workers`. A claim is a row as well, so the jobs
//! of a worker that died are found without an index over the jobs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::Queue;
use futures_util::FutureExt;
use runtime::database::{in_transaction, interval};
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::job::{Job, Row};

/// Who claims, and under which id.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// `UUIDv7`, greater than those of the worker's earlier claims.
    pub id: Uuid,
    pub owner: &'a str,
    /// The server on which the worker has its lease. Another one gives nothing.
    pub timeline: &'a str,
    /// No job that could start is due earlier.
    pub bound: DateTime<Utc>,
    pub limit: i64,
    /// Whether to find out what the claim leaves, so that the bound can move.
    pub find_left: bool,
}

/// What a claim got.
#[derive(Debug)]
pub struct Claimed {
    /// `false`: the queue is paused, its dependency is down, the lease of the worker is about to expire, or it is a lease of
    /// another server. Then nothing is known about the jobs.
    pub looked: bool,
    /// The server that was asked.
    pub timeline: String,
    pub jobs: Vec<Job>,
    /// When the first of the due jobs was due that the claim left, because it had enough, or because another transaction
    /// holds it. That transaction may give it back.
    pub first_left: Option<DateTime<Utc>>,
    /// Jobs of an ordered queue that are due before their turn.
    pub out_of_turn: Vec<Uuid>,
}

/// The lease of a worker that keeps its heartbeat never has less than this left. With less it starts nothing.
pub(super) const HEALTHY: Duration = Duration::from_secs(10);

/// How long a probe may take before another job probes in its place.
pub(super) const PROBE_WITHIN: Duration = Duration::from_secs(60);

/// A row that a claim returns. Without a job there is one row, in which all that belongs to a job is null.
pub(super) struct ClaimRow {
    pub(super) look: bool,
    pub(super) timeline: String,
    pub(super) first_left: Option<DateTime<Utc>>,
    pub(super) out_of_turn: Option<Vec<Uuid>>,
    pub(super) event_id: Option<Uuid>,
    pub(super) aggregate_id: Option<Uuid>,
    pub(super) aggregate_version: Option<i32>,
    pub(super) received_at: Option<DateTime<Utc>>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) is_first: Option<bool>,
    pub(super) attempts: Option<i32>,
    pub(super) deaths: Option<i16>,
    pub(super) probes: Option<i32>,
    pub(super) in_doubt: Option<bool>,
    pub(super) event_type: Option<String>,
    pub(super) aggregate_type: Option<String>,
    pub(super) payload: Option<String>,
    pub(super) headers: Option<Json<Box<RawValue>>>,
    pub(super) occurred_at: Option<DateTime<Utc>>,
}

/// The statement of a claim. `$found` are the common table expressions that find and lock the jobs, the last of them `found`;
/// `$out_of_turn` is the array of the jobs that are due before their turn.
macro_rules! claim_statement {
    ($executor:expr, $queue:expr, $claim:expr, $found:literal, $out_of_turn:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            ClaimRow,
            r#"
        with alive as materialized (
            -- The lock makes a reclaim of this worker's jobs wait, so that it sees this claim too.
            select from messaging.workers
            where workers.queue = $1 and owner = $3 and expires_at > clock_timestamp() + $7
            for key share
        ), outage as materialized (
            select next_probe_at from messaging.outages where queue = $1
        ), may as materialized (
            select timeline, timeline = $8 and exists (select from alive)
                   and not exists (select from messaging.queues where name = $1 and paused_at is not null)
                   and not exists (select from outage where next_probe_at > clock_timestamp()) as look
            from messaging.timeline() as timeline
        ), "# + $found + r#", probe as (
            -- Only one worker gets it: the others wait for its lock, and then find another time in the row.
            update messaging.outages set next_probe_at = clock_timestamp() + $9
            where queue = $1 and next_probe_at <= clock_timestamp() and exists (select from found)
            returning failures
        ), due as materialized (
            select * from found
            where not exists (select from outage)
               or exists (select from probe) and event_id = (select event_id from found limit 1)
        ), left_over as (
            select min(run_at) as first_left
            from messaging.inbox
            where $6 and queue = $1 and run_at >= $2 and run_at <= (select clock_timestamp()) and status in ('ready', 'in_doubt')
              and (select look from may) and event_id not in (select event_id from due)
        ), claim as (
            insert into messaging.claims (claim_id, queue, owner, event_ids)
            select $5, $1, $3, array_agg(event_id) from due having count(*) > 0
        ), started as (
            update messaging.inbox as job
            set status = 'running', attempts = attempts + 1, claim_id = $5,
                started_at = case when deaths = 0 then clock_timestamp() end
            from due
            where job.queue = $1 and job.event_id = any(array(select event_id from due)) and job.event_id = due.event_id
            returning job.event_id, job.aggregate_id, job.aggregate_version, received_at, run_at, started_at, attempts,
                      deaths, due.status = 'in_doubt' as in_doubt,
                      -- Each attempt that ended, and each end of a worker, has left its error.
                      attempts = 1 and due.status = 'ready' and last_error is null as is_first
        )
        select look as "look!", timeline as "timeline!", first_left, "# + $out_of_turn + r#" as out_of_turn,
               started.event_id as "event_id?", started.aggregate_id as "aggregate_id?",
               started.aggregate_version as "aggregate_version?", received_at as "received_at?", started_at as "started_at?",
               is_first as "is_first?", attempts as "attempts?",
               deaths as "deaths?", (select failures from probe) as probes, in_doubt as "in_doubt?", event_type as "event_type?",
               aggregate_type as "aggregate_type?", payload_text as "payload?", headers as "headers?: _", occurred_at as "occurred_at?"
        from may cross join left_over left join started on true
        left join lateral (
            select event_type, aggregate_type, payload_text, headers, occurred_at
            from messaging.events where event_id = started.event_id limit 1
        ) as event on true
        order by run_at
        "#,
            $queue.as_str(),
            $claim.bound,
            $claim.owner,
            $claim.limit,
            $claim.id,
            $claim.find_left,
            interval(HEALTHY),
            $claim.timeline,
            interval(PROBE_WITHIN)
            $(, $argument)*
        )
        .fetch_all($executor)
        .await
    };
}
pub(super) use claim_statement;

/// Claims due jobs; none while the queue is paused, when the lease of the worker is about to expire, or when it is a lease of
/// another server. During an outage one worker claims one job, the probe, when the time for it has come.
pub async fn claim(executor: impl PgExecutor<'_>, queue: Queue, claim: Claim<'_>) -> sqlx::Result<Claimed> {
    let rows = claim_statement!(
        executor,
        queue,
        claim,
        r#"found as materialized (
            select event_id, status
            from messaging.inbox
            where queue = $1 and run_at >= $2 and run_at <= (select clock_timestamp()) and status in ('ready', 'in_doubt')
              and (select look from may)
            order by run_at
            limit $4
            for update skip locked
        )"#,
        "null::uuid[]"
    )?;
    Ok(claimed(rows, queue, claim.id))
}

pub(super) fn claimed(rows: Vec<ClaimRow>, queue: Queue, claim_id: Uuid) -> Claimed {
    let looked = rows.first().is_some_and(|row| row.look);
    let timeline = rows.first().map(|row| row.timeline.clone()).unwrap_or_default();
    let first_left = rows.first().and_then(|row| row.first_left);
    let out_of_turn = rows.first().and_then(|row| row.out_of_turn.clone()).unwrap_or_default();
    let jobs = rows.into_iter().filter_map(|row| {
        let (deaths, probes, started_at, is_first) = (row.deaths?, row.probes, row.started_at, row.is_first?);
        let row = Row {
            event_id: row.event_id?,
            event_type: row.event_type,
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id?,
            aggregate_version: row.aggregate_version?,
            payload: row.payload,
            headers: row.headers,
            occurred_at: row.occurred_at,
            received_at: row.received_at?,
            attempts: row.attempts?,
            in_doubt: row.in_doubt?,
        };
        Some(Job { started_at, is_first, deaths, probes, ..row.into_job(queue, claim_id) })
    });
    Claimed { looked, timeline, jobs: jobs.collect(), first_left, out_of_turn }
}

/// Makes the jobs of dead workers available again. They come back as `in_doubt`, because the dead worker may have had its
/// effect.
///
/// No attempt is charged: if one of the jobs has killed the process, the others are innocent. All of them are suspects now, and
/// run alone until an attempt ends. So a process that dies again dies of the job that it had started alone.
///
/// The dead are removed in a statement of its own, which waits for a claim that is being made: the second one sees it.
pub async fn reclaim_expired(pool: &PgPool, queue: Queue) -> sqlx::Result<u64> {
    in_transaction(pool, move |conn| reclaim(conn, queue).boxed()).await
}

async fn reclaim(conn: &mut PgConnection, queue: Queue) -> sqlx::Result<u64> {
    let dead = sqlx::query!(
        "delete from messaging.workers where queue = $1 and expires_at < clock_timestamp() returning owner, oldest_claim",
        queue.as_str(),
    )
    .fetch_all(&mut *conn)
    .await?;
    if dead.is_empty() {
        return Ok(0);
    }
    let (owners, oldest): (Vec<String>, Vec<Uuid>) = dead.into_iter().map(|row| (row.owner, row.oldest_claim)).unzip();
    let reclaimed = sqlx::query!(
        r#"
        with lost as materialized (
            select claim_id, dead.owner, unnest(event_ids) as event_id
            from unnest($1::text[], $2::uuid[]) as dead (owner, oldest_claim)
            cross join lateral (
                select claim_id, event_ids from messaging.claims
                where claims.owner = dead.owner and claims.queue = $3
                  and claim_id between oldest_claim and 'ffffffff-ffff-ffff-ffff-ffffffffffff'
                offset 0
            ) as claims
        )
        update messaging.inbox as job
        set status = 'in_doubt', run_at = messaging.due_now($3), attempts = attempts - 1,
            deaths = deaths + case when started_at is null then 0 else 1 end,
            last_error = 'the worker ' || owner || ' let its lease expire'
        from lost
        where job.queue = $3 and job.event_id = any(array(select event_id from lost)) and job.event_id = lost.event_id
          and job.claim_id = lost.claim_id and status = 'running'
        "#,
        &owners,
        &oldest,
        queue.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(reclaimed.rows_affected())
}

/// Ends a worker: gives the jobs of these claims that still run back to the queue. The attempt does not count, because the
/// job did not fail. They come back as `in_doubt`, because the effect may have happened.
pub async fn release(pool: &PgPool, queue: Queue, owner: &str, claims: &[Uuid]) -> sqlx::Result<u64> {
    let released = sqlx::query!(
        r#"
        with ended as (
            delete from messaging.workers where queue = $1 and owner = $2
        ), mine as materialized (
            select claim_id, unnest(event_ids) as event_id from messaging.claims where claim_id = any($3)
        )
        update messaging.inbox as job
        set status = 'in_doubt', run_at = messaging.due_now($1), attempts = attempts - 1,
            last_error = 'the worker ' || $2 || ' was stopped'
        from mine
        where job.queue = $1 and job.event_id = any(array(select event_id from mine)) and job.event_id = mine.event_id
          and job.claim_id = mine.claim_id and status = 'running'
        "#,
        queue.as_str(),
        owner,
        claims,
    )
    .execute(pool)
    .await?;
    Ok(released.rows_affected())
}

/// Gives back the jobs of one claim that still run under it, or only the job of one event. Without an event no job of the
/// claim was started, and no attempt counts.
pub async fn give_back(pool: &PgPool, queue: Queue, claim: Uuid, only: Option<Uuid>) -> sqlx::Result<u64> {
    let given_back = sqlx::query!(
        r#"
        with mine as materialized (
            select unnest(event_ids) as event_id from messaging.claims where claim_id = $2
        )
        update messaging.inbox as job
        set status = 'in_doubt', run_at = messaging.due_now($1), last_error = 'the database did not answer its worker',
            attempts = attempts - case when $3::uuid is null then 1 else 0 end
        from mine
        where job.queue = $1 and job.event_id = any(array(select event_id from mine)) and job.event_id = mine.event_id
          and job.claim_id = $2 and status = 'running'
          and ($3::uuid is null or job.event_id = $3)
        "#,
        queue.as_str(),
        claim,
        only,
    )
    .execute(pool)
    .await?;
    Ok(given_back.rows_affected())
}

/// Notes that a suspect has been started, alone. From now on the death of the process is its own. `false` when the job runs
/// under another claim.
pub async fn start_alone(pool: &PgPool, job: &Job) -> sqlx::Result<bool> {
    let started = sqlx::query!(
        r#"
        update messaging.inbox set started_at = clock_timestamp()
        where queue = $1 and event_id = $2 and claim_id = $3 and status = 'running'
        "#,
        job.queue.as_str(),
        job.event_id,
        job.claim_id,
    )
    .execute(pool)
    .await?;
    Ok(started.rows_affected() == 1)
}

/// Locks a claimed job in the caller's transaction. `false` when the worker's lease is about to expire or has expired, or when
/// the job runs under another claim: a worker that was asleep must not begin what cannot be undone.
pub async fn hold(conn: &mut PgConnection, job: &Job) -> sqlx::Result<bool> {
    let held = sqlx::query_scalar!(
        r#"
        select 1 as "held!" from messaging.inbox as job
        where queue = $1 and event_id = $2 and claim_id = $3 and status = 'running'
          and exists (select from messaging.claims join messaging.workers using (queue, owner)
                      where claims.claim_id = $3 and expires_at > clock_timestamp() + $4)
        for update of job
        "#,
        job.queue.as_str(),
        job.event_id,
        job.claim_id,
        interval(HEALTHY),
    )
    .fetch_optional(conn)
    .await?;
    Ok(held.is_some())
}
