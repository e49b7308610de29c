//! Jobs: the rows of the inbox.

use chrono::{DateTime, Utc};
use contracts::Queue;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::OperationError;

/// The states of a job.
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
    pub(crate) const fn as_str(self) -> &'static str {
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
    /// The job does not run before this time.
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
    /// Empty: dead jobs and jobs in doubt.
    pub statuses: Vec<JobStatus>,
    pub limit: i64,
}

/// A list of jobs.
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
    let names: Vec<String> = statuses.iter().map(|status| status.as_str().to_owned()).collect();
    // The condition with $3 matches the partial indexes, which hold everything but done jobs.
    let jobs = sqlx::query_as!(
        Job,
        r#"
        select queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, status, received_at, attempts,
               run_at, lease_owner, leased_until, fence, started_at, finished_at, last_error, result
        from messaging.inbox
        where status = any($1) and ($2::text is null or queue = $2)
          and ($3::boolean or status in ('ready', 'in_doubt') or status = 'running' or status = 'dead')
        order by event_id desc, queue
        limit $4
        "#,
        &names,
        filter.queue.map(Queue::as_str),
        statuses.contains(&JobStatus::Done),
        filter.limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(Jobs { at, jobs })
}

/// The jobs of these events, in all queues.
pub(crate) async fn of_events(pool: &PgPool, event_ids: &[Uuid]) -> sqlx::Result<Vec<Job>> {
    let queues = Queue::ALL.map(|queue| queue.as_str().to_owned());
    sqlx::query_as!(
        Job,
        r#"
        select queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, status, received_at, attempts,
               run_at, lease_owner, leased_until, fence, started_at, finished_at, last_error, result
        from messaging.inbox
        where queue = any($1) and event_id = any($2)
        order by queue
        "#,
        &queues,
        event_ids,
    )
    .fetch_all(pool)
    .await
}
