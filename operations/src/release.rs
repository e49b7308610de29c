//! Ending a wait now: a back-off, or the lease of a job that does not come back. What has happened stays as it is.

use std::collections::BTreeSet;

use contracts::Queue;
use runtime::database::in_transaction;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::acts::{self, Kind, Operator};
use super::jobs;
use super::{Acted, OperationError, hints};

/// Makes an event that waits for its next attempt due now, and likewise its jobs, in one queue or in all. A job that
/// runs loses its lease: it is begun again, in doubt, and what its worker comes to is refused.
///
/// # Errors
/// [`OperationError::EventNotFound`], and [`OperationError::NothingToRelease`] when nothing of it waits.
pub async fn release(
    pool: &PgPool,
    event_id: Uuid,
    queue: Option<Queue>,
    operator: Operator,
) -> Result<Acted, OperationError> {
    let released = in_transaction(pool, move |conn| {
        Box::pin(async move {
            let mut released = BTreeSet::new();
            if queue.is_none() && release_event(conn, event_id).await? {
                released.insert("outbox".to_owned());
            }
            released.extend(release_jobs(conn, event_id, queue, operator.actor()).await?);
            if !released.is_empty() {
                let target = json!({ "event_ids": [event_id], "released": released });
                acts::record(conn, &operator, Kind::Release, target, released.len() as u64).await?;
            }
            Ok::<_, OperationError>(released)
        })
    })
    .await?;
    if released.is_empty() {
        return Err(reason(pool, event_id, queue).await?);
    }
    hints::wake_relays(pool).await;
    for queue in Queue::ALL.into_iter().filter(|queue| released.contains(queue.as_str())) {
        hints::wake_consumers(pool, queue).await;
    }
    Ok(Acted { rows_changed: released.len() as u64 })
}

/// A new position puts the row where the relay looks next.
async fn release_event(conn: &mut PgConnection, event_id: Uuid) -> sqlx::Result<bool> {
    let released = sqlx::query!(
        r#"
        update messaging.outbox set next_attempt_at = null, position = default
        where event_id = $1 and published_at is null and parked_at is null and next_attempt_at > clock_timestamp()
        "#,
        event_id,
    )
    .execute(conn)
    .await?;
    Ok(released.rows_affected() == 1)
}

/// The queues in which a job was released.
async fn release_jobs(
    conn: &mut PgConnection,
    event_id: Uuid,
    queue: Option<Queue>,
    actor: &str,
) -> sqlx::Result<Vec<String>> {
    let queues: Vec<String> =
        queue.map_or(Queue::ALL.to_vec(), |queue| vec![queue]).iter().map(ToString::to_string).collect();
    sqlx::query_scalar!(
        r#"
        update messaging.inbox
        set last_error = case when status = 'running' then format('released by %s while %s had it', $3::text, lease_owner) else last_error end,
            status = case when status = 'running' then 'in_doubt' else status end,
            run_at = clock_timestamp(), lease_owner = null, leased_until = null
        where queue = any($2) and event_id = $1
          and (status = 'running' or status in ('ready', 'in_doubt') and run_at > clock_timestamp())
        returning queue
        "#,
        event_id,
        &queues,
        actor,
    )
    .fetch_all(conn)
    .await
}

/// Why nothing was released.
async fn reason(pool: &PgPool, id: Uuid, queue: Option<Queue>) -> Result<OperationError, OperationError> {
    let row =
        sqlx::query!("select parked_reason from messaging.outbox where event_id = $1", id).fetch_optional(pool).await?;
    let Some(row) = row else { return Ok(OperationError::EventNotFound(id)) };
    let dead = jobs::of_events(pool, &[id])
        .await?
        .into_iter()
        .find(|job| job.status == "dead" && queue.is_none_or(|queue| queue.as_str() == job.queue));
    let why = match (row.parked_reason, dead) {
        (Some(parked), _) => format!("it is parked ({parked}); replay it or skip it"),
        (None, Some(dead)) => format!("its job in the queue {} is dead; retry it", dead.queue),
        (None, None) => "nothing of it waits".to_owned(),
    };
    Ok(OperationError::NothingToRelease { id, why })
}
