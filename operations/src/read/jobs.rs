//! Jobs: the rows of the inbox.

use chrono::{DateTime, Utc};
use contracts::Queue;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::OperationError;

/// Rows, newest first, in which a list looks for jobs that are done or discarded: of its queue, or in equal parts of all. No index
/// has the status.
const NEWEST: i64 = 10_000;
/// Open jobs of each queue, and of those that wait, that run and that are dead, in which a list looks.
const OPEN: i64 = 10_000;

/// The states of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum JobStatus {
    Ready,
    Running,
    InDoubt,
    Dead,
    /// In an ordered queue, an earlier version of its aggregate is neither done nor discarded.
    Blocked,
    Done,
    /// Dead, and closed by an operator.
    Discarded,
}

impl JobStatus {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::InDoubt => "in_doubt",
            Self::Dead => "dead",
            Self::Blocked => "blocked",
            Self::Done => "done",
            Self::Discarded => "discarded",
        }
    }

    const fn is_open(self) -> bool {
        !matches!(self, Self::Done | Self::Discarded)
    }
}

/// A job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Job {
    pub queue: String,
    pub event_id: Uuid,
    /// Empty when the event is no longer in the outbox; the next field as well.
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
    /// `ready`, `running`, `in_doubt`, `dead`, `blocked`, `done` or `discarded`.
    pub status: String,
    pub received_at: DateTime<Utc>,
    pub attempts: i32,
    /// The job does not run before this time. Null for a blocked job, which waits for an earlier one.
    pub run_at: Option<DateTime<Utc>>,
    /// The worker that runs it.
    pub lease_owner: Option<String>,
    /// The lease of that worker; all its jobs share it.
    pub leased_until: Option<DateTime<Utc>>,
    /// The claim under which it runs or ran last.
    pub claim_id: Option<Uuid>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub queue: Option<Queue>,
    /// Empty: dead jobs and jobs in doubt.
    pub statuses: Vec<JobStatus>,
    pub limit: i64,
    pub event_type: Option<String>,
    /// The last error contains it, in upper or lower case.
    pub error: Option<String>,
    /// They came at this time or later.
    pub since: Option<DateTime<Utc>>,
}

/// A list of jobs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Jobs {
    /// The database's clock.
    pub at: DateTime<Utc>,
    /// Latest arrivals first.
    pub jobs: Vec<Job>,
}

/// Reads jobs with their events. The query selects rows of the inbox, each with the lease of its worker.
macro_rules! jobs {
    ($pool:expr, $query:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Job,
            "with job as (" + $query + r#")
            select job.queue as "queue!", job.event_id as "event_id!", coalesce(event_type, '') as "event_type!",
                   coalesce(aggregate_type, '') as "aggregate_type!", job.aggregate_id as "aggregate_id!",
                   job.aggregate_version as "aggregate_version!", status as "status!", received_at as "received_at!",
                   attempts as "attempts!", run_at as "run_at?", lease_owner as "lease_owner?",
                   leased_until as "leased_until?", claim_id as "claim_id?", started_at as "started_at?",
                   finished_at as "finished_at?", last_error as "last_error?", result as "result?"
            from job left join messaging.outbox as event on event.event_id = job.event_id
            order by job.event_id desc, job.queue
            "#
            $(, $argument)*
        )
        .fetch_all($pool)
        .await
    };
}

/// Lists jobs, latest arrivals first. Those that are done or discarded are looked for among the newest of each queue.
pub async fn list(pool: &PgPool, filter: &Filter) -> Result<Jobs, OperationError> {
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    let default = [JobStatus::Dead, JobStatus::InDoubt];
    let statuses = if filter.statuses.is_empty() { &default[..] } else { &filter.statuses };
    let names = |is_open| -> Vec<String> {
        let chosen = statuses.iter().filter(|status| status.is_open() == is_open);
        chosen.map(|status| status.as_str().to_owned()).collect()
    };
    let (open, settled) = (names(true), names(false));
    let queues = one_or_all(filter.queue);
    let mut jobs = if open.is_empty() { Vec::new() } else { list_open(pool, &queues, &open, filter).await? };
    if !settled.is_empty() {
        jobs.extend(list_settled(pool, &queues, &settled, filter).await?);
        jobs.sort_by(|a, b| b.event_id.cmp(&a.event_id).then_with(|| a.queue.cmp(&b.queue)));
        jobs.truncate(usize::try_from(filter.limit).unwrap_or(0));
    }
    Ok(Jobs { at, jobs })
}

/// The name of this queue, or those of all queues.
pub(crate) fn one_or_all(queue: Option<Queue>) -> Vec<String> {
    queue.map_or_else(|| names_of(&Queue::ALL), |queue| names_of(&[queue]))
}

fn names_of(queues: &[Queue]) -> Vec<String> {
    queues.iter().map(ToString::to_string).collect()
}

async fn list_open(pool: &PgPool, queues: &[String], statuses: &[String], filter: &Filter) -> sqlx::Result<Vec<Job>> {
    jobs!(
        pool,
        r#"
        select * from (
            select open.* from unnest($1::text[]) as chosen (queue)
            cross join lateral (
                (select * from messaging.waiting_jobs as waiting where waiting.queue = chosen.queue and status = any($2) limit $7)
                union all
                (select * from messaging.running_jobs as running where running.queue = chosen.queue and 'running' = any($2) limit $7)
                union all
                (select * from messaging.blocked_jobs as blocked where blocked.queue = chosen.queue and 'blocked' = any($2) limit $7)
            ) as open
            where ($4::text is null or position(lower($4) in lower(last_error)) > 0) and ($5::timestamptz is null or received_at >= $5)
              and ($6::text is null or $6 = (select found.event_type from messaging.outbox as found where found.event_id = open.event_id))
            union all
            -- The newest first, and it ends at the first so many that match: each of the others would be looked up. None came after it
            -- died.
            select dead.* from unnest($1::text[]) as chosen (queue)
            cross join lateral (
                select letter.queue, job.event_id, job.aggregate_id, job.aggregate_version, job.received_at, job.run_at, job.status, job.attempts,
                       job.deaths, job.claim_id, job.started_at, job.finished_at, job.last_error, job.result, null::text, null::timestamptz
                from (select queue, event_id from messaging.dead_letters
                      where dead_letters.queue = chosen.queue and 'dead' = any($2)
                        and ($4 is null or position(lower($4) in lower(last_error)) > 0) and ($5 is null or died_at >= $5)
                      order by event_id desc limit $7) as letter
                cross join lateral (
                    select * from messaging.inbox
                    where inbox.event_id = letter.event_id and inbox.queue = letter.queue and status = 'dead' limit 1
                ) as job
                where ($5 is null or received_at >= $5)
                  and ($6 is null or $6 = (select found.event_type from messaging.outbox as found where found.event_id = job.event_id))
                limit $3
            ) as dead
        ) as listed
        order by event_id desc, queue
        limit $3
        "#,
        queues,
        statuses,
        filter.limit,
        filter.error.as_deref(),
        filter.since,
        filter.event_type.as_deref(),
        OPEN,
    )
}

async fn list_settled(
    pool: &PgPool,
    queues: &[String],
    statuses: &[String],
    filter: &Filter,
) -> sqlx::Result<Vec<Job>> {
    jobs!(
        pool,
        r#"
        select matching.*, null::text as lease_owner, null::timestamptz as leased_until
        from unnest($1::text[]) as chosen (queue)
        cross join lateral (
            -- It ends at the first so many that match.
            select newest.* from (
                select * from messaging.inbox where inbox.queue = chosen.queue and run_at is not null order by run_at desc limit $2::bigint / cardinality($1)
            ) as newest
            where status = any($3)
              and ($5::text is null or position(lower($5) in lower(last_error)) > 0) and ($6::timestamptz is null or received_at >= $6)
              and ($7::text is null or $7 = (select found.event_type from messaging.outbox as found where found.event_id = newest.event_id))
            limit $4
        ) as matching
        order by event_id desc, matching.queue
        limit $4
        "#,
        queues,
        NEWEST,
        statuses,
        filter.limit,
        filter.error.as_deref(),
        filter.since,
        filter.event_type.as_deref(),
    )
}

/// The jobs of these events, in all queues.
pub(crate) async fn of_events(pool: &PgPool, event_ids: &[Uuid]) -> sqlx::Result<Vec<Job>> {
    let queues = names_of(&Queue::ALL);
    jobs!(
        pool,
        r#"
        select inbox.*, claim.owner as lease_owner, worker.expires_at as leased_until
        from messaging.inbox
        left join messaging.claims as claim on status = 'running' and claim.claim_id = inbox.claim_id
        left join messaging.workers as worker on worker.queue = inbox.queue and worker.owner = claim.owner
        where inbox.queue = any($1) and event_id = any($2)
        "#,
        &queues,
        event_ids,
    )
}
