//! Retrying dead jobs.

use chrono::{DateTime, Utc};
use contracts::{Email, Queue};
use runtime::database::in_transaction;
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::record::{Action, Operator, record};
use super::{Changed, dead, hints};
use crate::OperationError;
use crate::read::jobs::{self, JobStatus};

/// Jobs retried in one transaction.
const BATCH: i64 = 500;

/// Which dead jobs to retry: those of some events, those of a queue, or all. Each field narrows the selection.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DeadJobs {
    pub event_ids: Vec<Uuid>,
    pub queue: Option<Queue>,
    pub all: bool,
    /// Where the e-mail goes instead; for one event whose e-mail is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<Email>,
}

/// Gives dead jobs all their attempts back. They come back in doubt: their worker first looks up whether the effect
/// happened, so it does not happen twice. A job that has killed its workers runs alone again.
///
/// # Errors
/// When the selection is empty, or one of its events has no dead job. Then nothing is retried.
pub async fn retry(pool: &PgPool, selection: &DeadJobs, operator: &Operator) -> Result<Changed, OperationError> {
    check(pool, selection).await?;
    // What dies once more meanwhile is not taken again.
    let until = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(pool).await?;
    let mut rows_changed = 0;
    while let Some(retried) = retry_batch(pool, selection.clone(), until, operator.clone()).await? {
        rows_changed += retried;
    }
    for queue in Queue::ALL {
        if selection.queue.is_none_or(|selected| selected == queue) {
            hints::wake_consumers(pool, queue).await;
        }
    }
    Ok(Changed { rows_changed })
}

async fn check(pool: &PgPool, selection: &DeadJobs) -> Result<(), OperationError> {
    let DeadJobs { event_ids, queue, all, customer_email } = selection;
    if event_ids.is_empty() && queue.is_none() && !all {
        return Err(OperationError::Invalid("selection", "must name ids, a queue, or all".to_owned()));
    }
    let is_mail = *queue == Some(Queue::Notifications);
    if customer_email.is_some() && !(event_ids.len() == 1 && is_mail) {
        let message = "corrects the address of one e-mail: name one event, and the queue notifications";
        return Err(OperationError::Invalid("customer_email", message.to_owned()));
    }
    let mut jobs = jobs::of_events(pool, event_ids).await?;
    jobs.retain(|job| queue.is_none_or(|queue| queue.as_str() == job.queue));
    for event_id in event_ids {
        let mut own = jobs.iter().filter(|job| job.event_id == *event_id).peekable();
        if own.peek().is_none() {
            return Err(OperationError::JobNotFound(*event_id, *queue));
        }
        if !own.any(|job| job.status == JobStatus::Dead.as_str()) {
            return Err(OperationError::JobNotDead(*event_id));
        }
    }
    Ok(())
}

/// Returns how many jobs it retried. `None`: nothing was left.
async fn retry_batch(
    pool: &PgPool,
    selection: DeadJobs,
    until: DateTime<Utc>,
    operator: Operator,
) -> Result<Option<u64>, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let picked = pick(conn, &selection, until).await?;
            if picked.1.is_empty() {
                return Ok(None);
            }
            let retried = dead::revive(conn, &picked).await?;
            let rows = retried.len() as u64;
            if rows > 0 {
                if let (Some(email), [event_id]) = (&selection.customer_email, retried.as_slice()) {
                    correct(conn, *event_id, email).await?;
                }
                let mut target = json!({ "selection": selection, "event_ids": retried });
                if selection.customer_email.is_some() {
                    // The record cannot be erased, so the address is not in it.
                    target["selection"]["customer_email"] = json!("corrected");
                }
                record(conn, &operator, Action::Retry, target, rows).await?;
            }
            Ok(Some(rows))
        })
    })
    .await
}

async fn correct(conn: &mut PgConnection, event_id: Uuid, email: &Email) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into work.email_corrections (event_id, aggregate_id, recipient, corrected_at)
        select event_id, aggregate_id, $2, clock_timestamp() from messaging.inbox where event_id = $1 and queue = 'notifications'
        on conflict (event_id) do update set recipient = excluded.recipient, corrected_at = excluded.corrected_at
        "#,
        event_id,
        email.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Queues and events of the dead jobs that are next.
async fn pick(
    conn: &mut PgConnection,
    selection: &DeadJobs,
    until: DateTime<Utc>,
) -> sqlx::Result<(Vec<String>, Vec<Uuid>)> {
    let rows = sqlx::query!(
        r#"
        select queue, event_id
        from messaging.dead_letters
        where (cardinality($1::uuid[]) = 0 or event_id = any($1)) and ($2::text is null or queue = $2)
          and died_at <= $3
        order by died_at
        limit $4
        "#,
        &selection.event_ids,
        selection.queue.map(Queue::as_str),
        until,
        BATCH,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.queue, row.event_id)).unzip())
}
