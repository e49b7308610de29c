//! Ending a wait now: a back-off, or the lease of a job that hangs. What has happened stays as it is.

use std::collections::BTreeSet;

use contracts::Queue;
use runtime::database::in_transaction;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::record::{Action, Operator, record};
use super::{Changed, hints};
use crate::OperationError;
use crate::read::jobs::{self, JobStatus};

/// Makes an event in back-off due now, and its jobs as well, in one queue or in all. A running job is taken from its worker: it
/// starts again, in doubt, under another claim, and the result of that worker is refused.
///
/// # Errors
/// [`OperationError::EventNotFound`], and [`OperationError::NothingToRelease`] when nothing of the event waits.
pub async fn release(
    pool: &PgPool,
    event_id: Uuid,
    queue: Option<Queue>,
    operator: Operator,
) -> Result<Changed, OperationError> {
    let released = in_transaction(pool, move |conn| {
        Box::pin(async move {
            let mut released = BTreeSet::new();
            if queue.is_none() && release_event(conn, event_id).await? {
                released.insert("outbox".to_owned());
            }
            released.extend(release_jobs(conn, event_id, queue, operator.actor()).await?);
            if !released.is_empty() {
                let target = json!({ "event_ids": [event_id], "released": released });
                record(conn, &operator, Action::Release, target, released.len() as u64).await?;
            }
            Ok::<_, OperationError>(released)
        })
    })
    .await?;
    if released.is_empty() {
        return Err(refusal(pool, event_id, queue).await?);
    }
    hints::wake_relays(pool).await;
    for queue in Queue::ALL.into_iter().filter(|queue| released.contains(queue.as_str())) {
        hints::wake_consumers(pool, queue).await;
    }
    Ok(Changed { rows_changed: released.len() as u64 })
}

async fn release_event(conn: &mut PgConnection, event_id: Uuid) -> sqlx::Result<bool> {
    let released = sqlx::query!(
        r#"
        update messaging.outbox_exceptions set next_attempt_at = clock_timestamp()
        where event_id = $1 and status = 'WAITING' and next_attempt_at > clock_timestamp()
        "#,
        event_id,
    )
    .execute(conn)
    .await?;
    Ok(released.rows_affected() == 1)
}

/// Returns the queues in which a job was released.
async fn release_jobs(
    conn: &mut PgConnection,
    event_id: Uuid,
    queue: Option<Queue>,
    actor: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        update messaging.inbox as job
        set last_error = case when status = 'running'
                              then format('released by %s while %s had it', $1::text,
                                          (select owner from messaging.claims where claims.claim_id = job.claim_id))
                              else last_error end,
            status = case when status = 'running' then 'in_doubt' else status end,
            run_at = messaging.due_now(queue)
        where queue = any($2) and event_id = $3
          and (status = 'running' or status in ('ready', 'in_doubt') and run_at > clock_timestamp())
        returning queue
        "#,
        actor,
        &jobs::one_or_all(queue),
        event_id,
    )
    .fetch_all(conn)
    .await
}

/// Why nothing was released.
async fn refusal(pool: &PgPool, id: Uuid, queue: Option<Queue>) -> Result<OperationError, OperationError> {
    let event = sqlx::query!(
        r#"
        select exception.status as "exception?", parked_reason as "parked_reason?"
        from messaging.outbox as event left join messaging.outbox_exceptions as exception using (event_id)
        where event_id = $1
        "#,
        id,
    )
    .fetch_optional(pool)
    .await?;
    let Some(event) = event else { return Ok(OperationError::EventNotFound(id)) };
    let jobs = jobs::of_events(pool, &[id]).await?;
    let find = |status: JobStatus| {
        jobs.iter().find(|job| job.status == status.as_str() && queue.is_none_or(|queue| queue.as_str() == job.queue))
    };
    let why = match (event.exception.as_deref(), event.parked_reason, find(JobStatus::Dead), find(JobStatus::Blocked)) {
        (_, Some(parked), ..) => format!("it is parked ({parked}); replay it or skip it"),
        (Some("HELD"), ..) => "it waits behind an earlier event; release, replay or skip that one".to_owned(),
        (Some("SKIPPED"), ..) => "it is skipped; replay it".to_owned(),
        (.., Some(job), _) => format!("its job in the queue {} is dead; retry it or discard it", job.queue),
        (.., Some(job)) => format!("its job waits for an earlier version in the queue {}; release that one", job.queue),
        _ => "nothing of it waits".to_owned(),
    };
    Ok(OperationError::NothingToRelease { id, why })
}
