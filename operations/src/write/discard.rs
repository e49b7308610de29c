//! Discarding dead jobs: they end for good, without their effect.

use contracts::Queue;
use runtime::database::in_transaction;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::record::{Action, Operator, record};
use super::{Changed, dead, hints};
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
            let places = jobs::one_or_all(queue);
            let event_ids = vec![event_id; places.len()];
            let discarded = dead::discard(conn, &(places, event_ids)).await?;
            let queues: Vec<Queue> = discarded.iter().map(|(queue, _)| *queue).collect();
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

/// Why nothing was discarded.
async fn refusal(pool: &PgPool, id: Uuid, queue: Option<Queue>) -> Result<OperationError, OperationError> {
    let jobs = jobs::of_events(pool, &[id]).await?;
    let exists = jobs.iter().any(|job| queue.is_none_or(|queue| queue.as_str() == job.queue));
    Ok(if exists { OperationError::JobNotDead(id) } else { OperationError::JobNotFound(id, queue) })
}
