//! A job that waits for something outside, which has happened.

use contracts::Queue;
use sqlx::PgPool;
use uuid::Uuid;

/// Makes a waiting job due now. `false` when it does not wait: it runs, or it has ended.
pub async fn hasten(pool: &PgPool, queue: Queue, event_id: Uuid) -> sqlx::Result<bool> {
    let hastened = sqlx::query!(
        r#"
        update messaging.inbox set run_at = messaging.due_now(queue)
        where queue = $1 and event_id = $2 and status in ('ready', 'in_doubt') and run_at > clock_timestamp()
        "#,
        queue.as_str(),
        event_id,
    )
    .execute(pool)
    .await?;
    let is_due = hastened.rows_affected() == 1;
    if is_due {
        crate::wakeup::notify(pool, &super::channel(queue)).await;
    }
    Ok(is_due)
}
