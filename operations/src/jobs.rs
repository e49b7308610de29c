//! Jobs: the rows of the inbox. Listing them, and retrying dead ones.

use chrono::{DateTime, Utc};
use contracts::Queue;
use runtime::database::in_transaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::acts::{self, Kind, Operator};
use super::{Acted, OperationError, hints};

/// Jobs retried in one transaction.
const BATCH: i64 = 500;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum JobStatus {
    Ready,
    Running,
    InDoubt,
    Dead,
    Done,
}

impl JobStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::InDoubt => "in_doubt",
            Self::Dead => "dead",
            Self::Done => "done",
        }
    }
}

/// A job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Job {
    pub queue: String,
    pub event_id: Uuid,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
    /// `ready`, `running`, `in_doubt`, `dead` or `done`.
    pub status: String,
    pub received_at: DateTime<Utc>,
    pub attempts: i32,
    /// Not before.
    pub run_at: DateTime<Utc>,
    pub lease_owner: Option<String>,
    pub leased_until: Option<DateTime<Utc>>,
    pub fence: i64,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
}

/// Which jobs to list.
#[derive(Debug, Clone)]
pub struct Filter {
    pub queue: Option<Queue>,
    /// Empty: dead ones and those in doubt.
    pub statuses: Vec<JobStatus>,
    pub limit: i64,
}

/// Some jobs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Jobs {
    /// The database's clock.
    pub at: DateTime<Utc>,
    /// Latest arrivals first.
    pub jobs: Vec<Job>,
}

/// Lists jobs, latest arrivals first.
pub async fn list(pool: &PgPool, filter: &Filter) -> Result<Jobs, OperationError> {
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    let default = [JobStatus::Dead, JobStatus::InDoubt];
    let statuses = if filter.statuses.is_empty() { &default[..] } else { &filter.statuses };
    // The last condition names the partial indexes; only history is not in one.
    let names: Vec<String> = statuses.iter().map(|status| status.as_str().to_owned()).collect();
    let jobs = sqlx::query_as!(
        Job,
        r#"
        select queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, status, received_at, attempts,
               run_at, lease_owner, leased_until, fence, started_at, finished_at, last_error, result
        from messaging.inbox
        where status = any($1) and ($2::text is null or queue = $2)
          and ($4::boolean or status in ('ready', 'in_doubt') or status = 'running' or status = 'dead')
        order by event_id desc, queue
        limit $3
        "#,
        &names,
        filter.queue.map(Queue::as_str),
        filter.limit,
        statuses.contains(&JobStatus::Done),
    )
    .fetch_all(pool)
    .await?;
    Ok(Jobs { at, jobs })
}

/// The jobs of these events, in all queues.
pub(super) async fn of_events(pool: &PgPool, event_ids: &[Uuid]) -> sqlx::Result<Vec<Job>> {
    let queues = Queue::ALL.map(|queue| queue.as_str().to_owned());
    sqlx::query_as!(
        Job,
        r#"
        select queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, status, received_at, attempts,
               run_at, lease_owner, leased_until, fence, started_at, finished_at, last_error, result
        from messaging.inbox where queue = any($1) and event_id = any($2) order by queue
        "#,
        &queues,
        event_ids,
    )
    .fetch_all(pool)
    .await
}

/// Which dead jobs to retry: those of some events, of a queue, or all. What is given narrows it down.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Dead {
    pub event_ids: Vec<Uuid>,
    pub queue: Option<Queue>,
    pub all: bool,
}

/// Gives dead jobs all their attempts back. They come back in doubt, so that an effect which happened after all is
/// found and not repeated.
///
/// # Errors
/// When nothing is selected, or an event has no dead job; then nothing is retried.
pub async fn retry(pool: &PgPool, dead: &Dead, operator: &Operator) -> Result<Acted, OperationError> {
    if dead.event_ids.is_empty() && dead.queue.is_none() && !dead.all {
        return Err(OperationError::Invalid("selection", "must name ids, a queue, or all".to_owned()));
    }
    let mut jobs = of_events(pool, &dead.event_ids).await?;
    jobs.retain(|job| dead.queue.is_none_or(|queue| queue.as_str() == job.queue));
    for event_id in &dead.event_ids {
        let mut own = jobs.iter().filter(|job| job.event_id == *event_id).peekable();
        if own.peek().is_none() {
            return Err(OperationError::JobNotFound(*event_id, dead.queue));
        }
        if !own.any(|job| job.status == JobStatus::Dead.as_str()) {
            return Err(OperationError::JobNotDead(*event_id));
        }
    }
    let mut rows_changed = 0;
    loop {
        let retried = retry_batch(pool, dead.clone(), operator.clone()).await?;
        rows_changed += retried;
        if i64::try_from(retried).is_ok_and(|retried| retried < BATCH) {
            break;
        }
    }
    for queue in Queue::ALL {
        if dead.queue.is_none_or(|wanted| wanted == queue) {
            hints::wake_consumers(pool, queue).await;
        }
    }
    Ok(Acted { rows_changed })
}

async fn retry_batch(pool: &PgPool, dead: Dead, operator: Operator) -> Result<u64, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let retried = set_in_doubt(conn, &dead).await?;
            let rows = retried.len() as u64;
            if rows > 0 {
                let target = json!({ "selection": dead, "event_ids": retried });
                acts::record(conn, &operator, Kind::Retry, target, rows).await?;
            }
            Ok(rows)
        })
    })
    .await
}

async fn set_in_doubt(conn: &mut PgConnection, dead: &Dead) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"
        with picked as materialized (
            select queue, event_id from messaging.inbox
            where status = 'dead' and (cardinality($1::uuid[]) = 0 or event_id = any($1)) and ($2::text is null or queue = $2)
            order by finished_at
            limit $3
            for update
        )
        update messaging.inbox as job
        set status = 'in_doubt', attempts = 0, run_at = clock_timestamp(), finished_at = null
        from picked
        where job.queue = picked.queue and job.event_id = picked.event_id
        returning job.event_id
        "#,
        &dead.event_ids,
        dead.queue.map(Queue::as_str),
        BATCH,
    )
    .fetch_all(conn)
    .await
}
