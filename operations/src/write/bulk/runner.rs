//! Does the batches of acts that are under way. As many processes as there are may do it; each batch is done by one.

use std::time::Duration;

use runtime::Tasks;
use sqlx::PgPool;
use uuid::Uuid;

use super::{BulkWork, batch};
use crate::OperationError;
use crate::write::hints;

/// How often a process without an act looks for one, and how long it leaves an act alone that another process does.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LEAVE_FOR: Duration = Duration::from_millis(200);
/// How long an act rests when the database refused its batch.
const REST: Duration = Duration::from_secs(10);

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// A batch.
    Done,
    /// Nothing: no act is due for so long.
    Idle(Duration),
}

/// Does batches until the process stops.
pub fn run(pool: &PgPool, tasks: &Tasks) {
    let (pool, shutdown) = (pool.clone(), tasks.shutdown.clone());
    tasks.spawn("bulk acts", async move {
        while !shutdown.is_cancelled() {
            let wait = match step(&pool).await {
                Ok(Stepped::Done) => continue,
                Ok(Stepped::Idle(wait)) => wait.min(LOOK_EVERY),
                Err(error) => {
                    tracing::warn!(error = %error, "a batch of a bulk act could not be done; it is tried again");
                    LOOK_EVERY
                }
            };
            if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                break;
            }
        }
    });
}

/// Does one batch, if one is due.
///
/// # Errors
/// When the database refused it. It is due again after a rest, and its act says why it waits.
pub async fn step(pool: &PgPool) -> Result<Stepped, OperationError> {
    let Some((id, wait)) = next(pool).await? else { return Ok(Stepped::Idle(LOOK_EVERY)) };
    if !wait.is_zero() {
        return Ok(Stepped::Idle(wait));
    }
    match batch::batch(pool, id).await {
        Ok(Some((work, rows))) => {
            if rows > 0 {
                wake(pool, &work).await;
            }
            Ok(Stepped::Done)
        }
        Ok(None) => Ok(Stepped::Idle(LEAVE_FOR)),
        Err(error) => {
            postpone(pool, id, &error).await?;
            Err(error)
        }
    }
}

async fn wake(pool: &PgPool, work: &BulkWork) {
    if matches!(work, BulkWork::Replay(_)) {
        hints::wake_relays(pool).await;
    }
    for queue in work.wakes() {
        hints::wake_consumers(pool, queue).await;
    }
}

/// The act that is due next, and in how long.
async fn next(pool: &PgPool) -> sqlx::Result<Option<(Uuid, Duration)>> {
    let row = sqlx::query!(
        r#"
        select id, (extract(epoch from greatest(next_batch_at - clock_timestamp(), interval '0')) * 1000)::bigint as "wait_ms!"
        from messaging.bulk_acts
        where status = 'RUNNING'
        order by next_batch_at
        limit 1
        "#
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| (row.id, Duration::from_millis(row.wait_ms.unsigned_abs()))))
}

async fn postpone(pool: &PgPool, id: Uuid, error: &OperationError) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update messaging.bulk_acts set waits_for = $2, next_batch_at = clock_timestamp() + $3::interval
        where id = $1 and status = 'RUNNING'
        "#,
        id,
        error.to_string(),
        runtime::database::interval(REST),
    )
    .execute(pool)
    .await?;
    Ok(())
}
