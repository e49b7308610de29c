//! What runs by the clock: when each schedule is due, which instance leads it, and how its last run ended.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;
use utoipa::ToSchema;

/// All schedules.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Schedules {
    /// The database's clock.
    pub at: DateTime<Utc>,
    pub schedules: Vec<ScheduleStatus>,
}

/// A schedule.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ScheduleStatus {
    #[schema(example = "partition_maintenance")]
    pub name: String,
    /// Minute, hour, day of month, month, day of week.
    #[schema(example = "0 * * * *")]
    pub cron: String,
    /// The time zone of the expression.
    #[schema(example = "UTC")]
    pub timezone: String,
    /// Null when the schedule is switched off. While a run is open, the time at which that run was due.
    pub next_due_at: Option<DateTime<Utc>>,
    /// The instance that runs the schedule. Null: none does at the moment.
    pub leader: Option<String>,
    /// The latest run, running or finished. Null: there was none yet.
    #[schema(nullable = true)]
    pub last_run: Option<ScheduleRun>,
}

/// A run of a schedule.
#[derive(Debug, Clone, Serialize, serde::Deserialize, ToSchema)]
pub struct ScheduleRun {
    /// The due time that this run is for.
    pub due_at: DateTime<Utc>,
    /// Earlier due times that passed without a run and are not caught up.
    pub missed: i32,
    /// `running`, `waiting` for its next attempt, `done`, or `failed` for good.
    pub status: String,
    /// Attempts started.
    pub attempt: i32,
    /// The instance of the last attempt.
    pub owner: String,
    /// Start of the last attempt.
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// When the next attempt is due.
    pub retry_at: Option<DateTime<Utc>>,
    /// The error of the last failed attempt.
    pub error: Option<String>,
    /// What the run reports to have done.
    pub result: Option<Value>,
}

/// The first run of a schedule that was due at this time or later.
pub(super) async fn run_since(pool: &PgPool, name: &str, due_at: DateTime<Utc>) -> sqlx::Result<Option<ScheduleRun>> {
    sqlx::query_as!(
        ScheduleRun,
        r#"
        select due_at, missed, status, attempt, owner, started_at, finished_at, retry_at, error, result
        from messaging.schedule_runs where name = $1 and due_at >= $2 order by due_at limit 1
        "#,
        name,
        due_at,
    )
    .fetch_optional(pool)
    .await
}

/// All schedules, also those of past releases.
pub async fn list(pool: &PgPool) -> sqlx::Result<Schedules> {
    let rows = sqlx::query!(
        r#"
        select name, cron, timezone, next_due_at,
               case when leased_until > clock_timestamp() then lease_owner end as leader,
               (select to_jsonb(run) from messaging.schedule_runs as run
                where run.name = schedule.name order by due_at desc limit 1) as "last_run: Json<ScheduleRun>"
        from messaging.schedules as schedule order by name
        "#
    )
    .fetch_all(pool)
    .await?;
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    let schedules = rows.into_iter().map(|row| ScheduleStatus {
        name: row.name,
        cron: row.cron,
        timezone: row.timezone,
        next_due_at: row.next_due_at,
        leader: row.leader,
        last_run: row.last_run.map(|run| run.0),
    });
    Ok(Schedules { at, schedules: schedules.collect() })
}
