//! Discarding dead jobs: they end for good, without their effect.

use contracts::Queue;
use messaging::inbox;
use runtime::database::in_transaction;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::record::{Action, Operator, record};
use super::{Changed, hints};
use crate::OperationError;
use crate::read::jobs;

/// Discards the dead jobs of an event, in one queue or in all. In an ordered queue the next version of the aggregate goes on.
///
/// # Errors
/// [`OperationError::JobNotFound`], and [`OperationError::JobNotDead`] when none of its jobs is dead.
pub async fn discard(
    pool: &PgPool,
    event_id: Uuid,
    queue: Option<Queue>,
    operator: Operator,
) -> Result<Changed, OperationError> {
    let discarded = in_transaction(pool, move |conn| {
        Box::pin(async move {
            let discarded = set_discarded(conn, event_id, queue).await?;
            for job in discarded.iter().filter(|job| job.ordered) {
                inbox::settle(conn, job.queue, &[(job.aggregate_id, job.aggregate_version)]).await?;
            }
            let queues: Vec<Queue> = discarded.iter().map(|job| job.queue).collect();
            if !queues.is_empty() {
                let target = json!({ "event_ids": [event_id], "queues": queues });
                record(conn, &operator, Action::Discard, target, queues.len() as u64).await?;
            }
            Ok::<_, OperationError>(queues)
        })
    })
    .await?;
    if discarded.is_empty() {
        return Err(refusal(pool, event_id, queue).await?);
    }
    for queue in &discarded {
        hints::wake_consumers(pool, *queue).await;
    }
    Ok(Changed { rows_changed: discarded.len() as u64 })
}

/// A job that is discarded.
#[derive(Debug)]
struct Discarded {
    queue: Queue,
    aggregate_id: Uuid,
    aggregate_version: i32,
    ordered: bool,
}

async fn set_discarded(
    conn: &mut PgConnection,
    event_id: Uuid,
    queue: Option<Queue>,
) -> Result<Vec<Discarded>, OperationError> {
    let rows = sqlx::query!(
        r#"
        with letter as (
            delete from messaging.dead_letters where event_id = $1 and queue = any($2) returning queue, event_id
        )
        update messaging.inbox as job set status = 'discarded', finished_at = clock_timestamp()
        from letter join messaging.queues on name = letter.queue
        where job.queue = letter.queue and job.event_id = letter.event_id and status = 'dead'
        returning job.queue, aggregate_id, aggregate_version, ordered
        "#,
        event_id,
        &jobs::one_or_all(queue),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let queue = row.queue.parse()?;
            let (aggregate_id, aggregate_version) = (row.aggregate_id, row.aggregate_version);
            Ok(Discarded { queue, aggregate_id, aggregate_version, ordered: row.ordered })
        })
        .collect()
}

/// Why nothing was discarded.
async fn refusal(pool: &PgPool, id: Uuid, queue: Option<Queue>) -> Result<OperationError, OperationError> {
    let jobs = jobs::of_events(pool, &[id]).await?;
    let exists = jobs.iter().any(|job| queue.is_none_or(|queue| queue.as_str() == job.queue));
    Ok(if exists { OperationError::JobNotDead(id) } else { OperationError::JobNotFound(id, queue) })
}
