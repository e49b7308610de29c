//! Outages: the dependency of a queue is down, and its jobs wait together.
//!
//! The row in `messaging.outages` stops the claims of every worker of the queue. When its time has come, a claim takes one job,
//! the probe. What becomes of the probe ends the outage or prolongs it.

use std::time::Duration;

use contracts::Queue;
use runtime::database::interval;
use sqlx::{PgConnection, PgPool};

use super::job::Job;

/// Notes that the dependency is down: for `pause` no job of the queue starts. An outage that another job has found stays as it
/// is, unless this job is its probe. Returns whether the outage is new.
pub async fn note_outage(conn: &mut PgConnection, job: &Job, reason: &str, pause: Duration) -> sqlx::Result<bool> {
    let noted = sqlx::query_scalar!(
        r#"
        insert into messaging.outages as outage (queue, reason, failures, next_probe_at)
        values ($1, $2, $3, clock_timestamp() + $4)
        on conflict (queue) do update
        set reason = excluded.reason, failures = excluded.failures, next_probe_at = excluded.next_probe_at
        where $5
        returning xmax = 0 as "is_new!"
        "#,
        job.queue.as_str(),
        reason,
        job.probes.unwrap_or(0) + 1,
        interval(pause),
        job.probes.is_some(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(noted == Some(true))
}

/// The dependency works: all jobs of the queue may start. `false` when there was no outage any more.
pub async fn end_outage(pool: &PgPool, queue: Queue) -> sqlx::Result<bool> {
    let ended = sqlx::query!("delete from messaging.outages where queue = $1", queue.as_str()).execute(pool).await?;
    Ok(ended.rows_affected() == 1)
}

/// The probe has ended without an answer about the dependency: another job probes at once.
pub async fn probe_again(pool: &PgPool, queue: Queue) -> sqlx::Result<()> {
    sqlx::query!("update messaging.outages set next_probe_at = clock_timestamp() where queue = $1", queue.as_str())
        .execute(pool)
        .await?;
    Ok(())
}
