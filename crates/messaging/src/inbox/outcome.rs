//! How a job ends: completed with its effect, or failed.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::Queue;
use runtime::database::interval;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::job::Job;

/// Marks claimed jobs as done, in the transaction that writes their effects. `keys` are event ids, each with the claim under
/// which it was done. Returns those that are done now, with the time that their rows have: the other jobs run under another claim by
/// now, and their effects must not be written. Two attempts at one job may be among the keys.
///
/// The ids stand in the condition once more, here and wherever jobs are looked up by a list. Postgres could otherwise read all jobs
/// of a partition of which it has no statistics yet.
pub async fn complete(
    conn: &mut PgConnection,
    queue: Queue,
    keys: &[(Uuid, Uuid)],
    results: &[&Value],
) -> sqlx::Result<HashMap<(Uuid, Uuid), DateTime<Utc>>> {
    let (event_ids, claims): (Vec<Uuid>, Vec<Uuid>) = keys.iter().copied().unzip();
    let done = sqlx::query!(
        r#"
        update messaging.inbox as job
        set status = 'done', finished_at = clock_timestamp(), result = done.result, last_error = null
        from unnest($1::uuid[], $2::uuid[], $3::jsonb[]) as done (event_id, claim_id, result)
        where queue = $4 and job.event_id = any($1) and job.event_id = done.event_id and job.claim_id = done.claim_id
          and status = 'running'
        returning job.event_id, job.claim_id as "claim_id!", finished_at as "finished_at!"
        "#,
        &event_ids,
        &claims,
        results as _,
        queue.as_str(),
    )
    .fetch_all(conn)
    .await?;
    Ok(done.into_iter().map(|job| ((job.event_id, job.claim_id), job.finished_at)).collect())
}

/// What happens next to a claimed row that was not completed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// It is retried after this wait.
    Retry(Duration),
    /// It is retried after this wait, and the effect is looked up first.
    LookUp(Duration),
    /// It is retried after this wait, as if this attempt had not been: it failed for a reason that is not in the job.
    Later(Duration),
    /// The same, and its effect is looked up first, because it may have had it.
    Again(Duration),
    /// It is retried only by an operator.
    Dead,
}

/// Ends an attempt that did not complete. `false` when the job runs under another claim by now.
pub async fn fail(conn: &mut PgConnection, job: &Job, error: &str, next: Next) -> sqlx::Result<bool> {
    let (status, delay) = match next {
        Next::Retry(delay) => ("ready", delay),
        Next::LookUp(delay) | Next::Again(delay) => ("in_doubt", delay),
        Next::Later(delay) => (if job.in_doubt { "in_doubt" } else { "ready" }, delay),
        Next::Dead => ("dead", Duration::ZERO),
    };
    let counts = !matches!(next, Next::Later(_) | Next::Again(_));
    let failed = sqlx::query_scalar!(
        r#"
        with failed as (
            update messaging.inbox
            set status = $1, last_error = $2, run_at = messaging.due_now($3) + $4,
                finished_at = case when $1 = 'dead' then clock_timestamp() end,
                attempts = attempts - case when $7 then 0 else 1 end,
                -- An attempt that has ended clears the job of its suspicion, if it was one. A dead job keeps it for its retry.
                deaths = case when $7 and $1 <> 'dead' then 0 else deaths end
            where queue = $3 and event_id = $5 and claim_id = $6 and status = 'running'
            returning queue, event_id
        ), dead as (
            insert into messaging.dead_letters (queue, event_id, last_error) select queue, event_id, $2 from failed where $1 = 'dead'
        )
        select count(*) as "rows!" from failed
        "#,
        status,
        error,
        job.queue.as_str(),
        interval(delay),
        job.event_id,
        job.claim_id,
        counts,
    )
    .fetch_one(conn)
    .await?;
    Ok(failed == 1)
}
