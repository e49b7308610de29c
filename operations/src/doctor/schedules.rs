//! Schedules that fail, and schedules that no process runs.

use chrono::{DateTime, TimeDelta, Utc};
use runtime::Clock;
use sqlx::PgPool;

use super::Finding;

/// How late a run may start before it is a problem.
const PATIENCE: TimeDelta = TimeDelta::minutes(5);

pub(super) async fn findings(pool: &PgPool, clock: &Clock) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"
        select schedule.name, next_due_at as "next_due_at!", leased_until > clock_timestamp() as "led!",
               run.due_at as "due_at?", run.status as "status?", run.attempt as "attempt?", run.owner as "owner?", run.error, run.retry_at,
               greatest(next_due_at, run.started_at, run.finished_at, run.retry_at) < $1 as "overdue!"
        from messaging.schedules as schedule
        left join lateral (select * from messaging.schedule_runs as newest
                           where newest.name = schedule.name order by due_at desc limit 1) as run on true
        where next_due_at is not null
        order by schedule.name
        "#,
        clock.now() - PATIENCE,
    )
    .fetch_all(pool)
    .await?;
    let mut findings = Vec::new();
    for row in rows {
        let (name, due) = (row.name, written(row.next_due_at));
        let running = row.status.as_deref() == Some("running") && row.led;
        if row.overdue && !running {
            let cause = format!("the schedule {name} was due at {due}, and no process runs it");
            let last = row.owner.map_or_else(String::new, |owner| format!(" (last run by {owner})"));
            let remedy = format!(
                "start the process of the schedule{last}; a process that was started before the schedule's settings changed \
                 must be restarted"
            );
            findings.push(Finding::problem("SCHEDULE_OVERDUE", cause, remedy));
        }
        let (Some(status), Some(due_at)) = (row.status, row.due_at) else { continue };
        let (error, attempts) = (row.error.unwrap_or_default(), row.attempt.unwrap_or_default());
        if status == "failed" {
            let cause =
                format!("the run of the schedule {name} that was due at {} has failed: {error}", written(due_at));
            let remedy = format!("remove the cause; the next run is due at {due}");
            findings.push(Finding::problem("SCHEDULE_FAILED", cause, remedy));
        } else if status == "waiting" && !error.is_empty() {
            let cause = format!("the schedule {name} has failed {attempts} times for {}: {error}", written(due_at));
            let remedy = format!(
                "remove the cause; the next attempt is due at {}",
                row.retry_at.map_or_else(String::new, written)
            );
            findings.push(Finding::warning("SCHEDULE_FAILING", cause, remedy));
        }
    }
    Ok(findings)
}

fn written(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
