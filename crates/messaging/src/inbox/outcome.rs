//! How a claim ends: completed with its effect, or failed.

use std::time::Duration;

use runtime::database::interval;
use sqlx::PgConnection;

use super::job::Job;

/// Marks a claimed row as done, in the transaction that writes its effect. `false` when the lease was lost:
/// then the caller must roll back.
pub async fn complete(conn: &mut PgConnection, job: &Job, result: &serde_json::Value) -> sqlx::Result<bool> {
    let completed = sqlx::query!(
        r#"
        update messaging.inbox
        set status = 'done', finished_at = clock_timestamp(), result = $1, last_error = null,
            lease_owner = null, leased_until = null
        where queue = $2 and event_id = $3 and fence = $4 and status = 'running'
        "#,
        result,
        job.queue.as_str(),
        job.event_id,
        job.fence,
    )
    .execute(conn)
    .await?;
    Ok(completed.rows_affected() == 1)
}

/// What happens next to a claimed row that was not completed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// It is retried after this wait.
    Retry(Duration),
    /// It is retried after this wait, and the effect is looked up first.
    LookUp(Duration),
    /// It is retried only by an operator.
    Dead,
}

/// Ends a claim that did not complete. `false` when the lease was lost.
pub async fn fail(conn: &mut PgConnection, job: &Job, error: &str, next: Next) -> sqlx::Result<bool> {
    let (status, delay) = match next {
        Next::Retry(delay) => ("ready", delay),
        Next::LookUp(delay) => ("in_doubt", delay),
        Next::Dead => ("dead", Duration::ZERO),
    };
    let failed = sqlx::query!(
        r#"
        update messaging.inbox
        set status = $1, last_error = $2, run_at = clock_timestamp() + $3,
            finished_at = case when $1 = 'dead' then clock_timestamp() end,
            lease_owner = null, leased_until = null
        where queue = $4 and event_id = $5 and fence = $6 and status = 'running'
        "#,
        status,
        error,
        interval(delay),
        job.queue.as_str(),
        job.event_id,
        job.fence,
    )
    .execute(conn)
    .await?;
    Ok(failed.rows_affected() == 1)
}
