//! One batch of an act: what it does, its record and its progress are one transaction.

use std::num::NonZeroU32;
use std::time::Duration;

use runtime::database::{in_transaction, interval};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::BulkWork;
use crate::OperationError;
use crate::write::dead::{self, DeadFilter};
use crate::write::record::{Action, Operator, record};
use crate::write::replay::{self, Batch, Page, Selection};

/// Rows of a batch, at most.
pub(super) const MOST: i64 = 500;
/// How long an act waits that the relay has no room for.
const NO_ROOM: Duration = Duration::from_millis(200);

/// An act that is under way.
struct Act {
    id: Uuid,
    work: BulkWork,
    place: Option<Value>,
    per_second: Option<NonZeroU32>,
    operator: Operator,
}

/// What a batch did.
struct Done {
    /// Rows that it changed, by event.
    event_ids: Vec<Uuid>,
    /// Where the next one begins. `None`: nothing is left.
    next: Option<Value>,
    /// Why it did nothing.
    waits_for: Option<String>,
    /// What its record says besides.
    more: Value,
}

/// Does the next batch of this act. `None`: another process does it, or the act has ended or is not due.
pub(super) async fn batch(pool: &PgPool, id: Uuid) -> Result<Option<(BulkWork, u64)>, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let act = match claim(conn, id).await {
                Ok(Some(act)) => act,
                Ok(None) => return Ok(None),
                Err(error) => return fail(conn, id, error).await.map(|()| None),
            };
            match act.carry_out(conn).await {
                Ok(done) => {
                    let rows = done.event_ids.len() as u64;
                    act.note(conn, done).await?;
                    Ok(Some((act.work, rows)))
                }
                Err(error) => fail(conn, id, error).await.map(|()| Some((act.work, 0))),
            }
        })
    })
    .await
}

/// The act ends where it is, unless the database is what failed: then the whole batch is rolled back and tried again.
async fn fail(conn: &mut PgConnection, id: Uuid, error: OperationError) -> Result<(), OperationError> {
    if matches!(error, OperationError::Database(_)) {
        return Err(error);
    }
    sqlx::query!(
        r#"
        update messaging.bulk_acts set status = 'FAILED', waits_for = $2, finished_at = clock_timestamp() where id = $1
        "#,
        id,
        error.to_string(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn claim(conn: &mut PgConnection, id: Uuid) -> Result<Option<Act>, OperationError> {
    let row = sqlx::query!(
        r#"
        select act, selection, place, per_second, actor, source, reason, request_id
        from messaging.bulk_acts
        where id = $1 and status = 'RUNNING' and next_batch_at <= clock_timestamp()
        for update skip locked
        "#,
        id,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let work = BulkWork::parse(&row.act, row.selection)?;
    let per_second = row.per_second.and_then(|rate| NonZeroU32::new(rate.unsigned_abs()));
    let operator = Operator::of_record(row.actor, &row.source, row.reason, row.request_id);
    Ok(Some(Act { id, work, place: row.place, per_second, operator }))
}

/// As it stands in the database.
fn read<T: serde::de::DeserializeOwned>(place: &Value) -> Result<T, OperationError> {
    let wrong = |error| OperationError::Invalid("place", format!("cannot be read by this release: {error}"));
    serde_json::from_value(place.clone()).map_err(wrong)
}

impl Act {
    async fn carry_out(&self, conn: &mut PgConnection) -> Result<Done, OperationError> {
        let limit = self.per_second.map_or(MOST, |rate| MOST.min(rate.get().into()));
        match &self.work {
            BulkWork::Replay(events) => self.replay(conn, events, limit).await,
            BulkWork::Retry(jobs) | BulkWork::Discard(jobs) => self.end_or_revive(conn, jobs, limit).await,
        }
    }

    async fn replay(&self, conn: &mut PgConnection, events: &Selection, limit: i64) -> Result<Done, OperationError> {
        let missing = || OperationError::Invalid("place", "is missing".to_owned());
        let page: Page = read(self.place.as_ref().ok_or_else(missing)?)?;
        Ok(match replay::send(conn, events, page.with_limit(limit)).await? {
            Batch::Replayed { event_ids, next } => {
                Done { event_ids, next: next.map(|page| json!(page)), waits_for: None, more: json!({}) }
            }
            Batch::NoRoom { shard } => {
                let waits_for = format!("too many events of the shard {shard} are not out: ops doctor says why");
                Done { event_ids: Vec::new(), next: self.place.clone(), waits_for: Some(waits_for), more: json!({}) }
            }
        })
    }

    async fn end_or_revive(
        &self,
        conn: &mut PgConnection,
        jobs: &DeadFilter,
        limit: i64,
    ) -> Result<Done, OperationError> {
        let place = self.place.as_ref().map(read).transpose()?;
        let picked = dead::pick(conn, jobs, place.as_ref(), limit).await?;
        let columns = dead::columns(&picked.jobs);
        let (event_ids, more) = if let BulkWork::Retry(_) = self.work {
            (dead::revive(conn, &columns).await?, json!({}))
        } else {
            let discarded = dead::discard(conn, &columns).await?;
            let mut queues: Vec<_> = discarded.iter().map(|(queue, _)| *queue).collect();
            queues.sort_unstable_by_key(|queue| queue.as_str());
            queues.dedup();
            (discarded.into_iter().map(|(_, id)| id).collect(), json!({ "queues": queues }))
        };
        Ok(Done { event_ids, next: picked.next.map(|place| json!(place)), waits_for: None, more })
    }

    /// Records the batch, and how far the act is.
    async fn note(&self, conn: &mut PgConnection, done: Done) -> sqlx::Result<()> {
        let rows = done.event_ids.len() as u64;
        let pause = match (&done.waits_for, self.per_second) {
            (Some(_), _) => NO_ROOM,
            (None, Some(rate)) => Duration::from_micros(rows.saturating_mul(1_000_000) / u64::from(rate.get())),
            (None, None) => Duration::ZERO,
        };
        sqlx::query!(
            r#"
            update messaging.bulk_acts
            set acted = acted + $2, place = $3, waits_for = $4, next_batch_at = clock_timestamp() + $5::interval,
                status = case when $3::jsonb is null then 'DONE' else status end,
                finished_at = case when $3::jsonb is null then clock_timestamp() end
            where id = $1
            "#,
            self.id,
            i64::try_from(rows).unwrap_or(i64::MAX),
            done.next,
            done.waits_for,
            interval(pause),
        )
        .execute(&mut *conn)
        .await?;
        if rows == 0 {
            return Ok(());
        }
        let mut target =
            json!({ "bulk_act": self.id, "selection": self.work.selection(), "event_ids": done.event_ids });
        if let (Value::Object(target), Value::Object(more)) = (&mut target, done.more) {
            target.extend(more);
        }
        let action = match &self.work {
            BulkWork::Replay(_) => Action::Replay,
            BulkWork::Retry(_) => Action::Retry,
            BulkWork::Discard(_) => Action::Discard,
        };
        record(conn, &self.operator, action, target, rows).await
    }
}
