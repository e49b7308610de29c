//! Skipping an event: no job queue runs it, and its order, return, document or refund continues without it. The projector reads
//! the log, so read models show the event all the same.

use contracts::{EntityType, EventType, Queue};
use messaging::inbox;
use messaging::leases::{self, Consumer};
use runtime::database::in_transaction;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::record::{Action, Operator, record};
use super::{Changed, hints};
use crate::OperationError;

/// The reason in its discarded jobs.
pub(super) const WAS_SKIPPED: &str = "the event was skipped";

/// Skips an event that is not published.
///
/// # Errors
/// [`OperationError::EventNotFound`], and [`OperationError::EventNotSkippable`] for an event that is published or skipped, or
/// that a relay is sending.
pub async fn skip(pool: &PgPool, event_id: Uuid, operator: Operator) -> Result<Changed, OperationError> {
    let discarded = in_transaction(pool, move |conn| {
        Box::pin(async move {
            let event = find(conn, event_id).await?;
            lock_skippable(conn, &event).await?;
            set_skipped(conn, event.id).await?;
            release_next(conn, event.aggregate_id).await?;
            let discarded = discard_jobs(conn, &event).await?;
            record(conn, &operator, Action::Skip, json!({ "event_ids": [event_id] }), 1).await?;
            Ok::<_, OperationError>(discarded)
        })
    })
    .await?;
    hints::wake_relays(pool).await;
    for queue in discarded {
        hints::wake_consumers(pool, queue).await;
    }
    Ok(Changed { rows_changed: 1 })
}

#[derive(Debug)]
struct Event {
    id: Uuid,
    shard: i16,
    kind: String,
    aggregate_type: String,
    aggregate_id: Uuid,
    aggregate_version: i32,
}

async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Event, OperationError> {
    let event = sqlx::query_as!(
        Event,
        r#"
        select event_id as id, shard, event_type as kind, aggregate_type, aggregate_id, aggregate_version
        from messaging.outbox where event_id = $1
        "#,
        id
    );
    event.fetch_optional(conn).await?.ok_or(OperationError::EventNotFound(id))
}

/// Makes sure that no relay sends the event: keeps relays away from its shard, or locks an exception that is not due. Relays lock
/// in this order, too.
async fn lock_skippable(conn: &mut PgConnection, event: &Event) -> Result<(), OperationError> {
    let is_fenced = leases::fence_off(&mut *conn, Consumer::Relay, Some(event.shard)).await? == 1;
    let exception = sqlx::query!(
        r#"
        select status, coalesce(next_attempt_at <= clock_timestamp(), false) as "is_due!"
        from messaging.outbox_exceptions where event_id = $1
        for update
        "#,
        event.id,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let refused = |why| Err(OperationError::EventNotSkippable { id: event.id, why });
    let may_be_sent = match exception {
        Some(exception) if exception.status == "SKIPPED" => return refused("it is already skipped"),
        Some(exception) => exception.is_due,
        None => {
            if !is_pending(conn, event.id).await? {
                return refused("it is published");
            }
            true
        }
    };
    if may_be_sent && !is_fenced { refused("the relay is sending it") } else { Ok(()) }
}

async fn is_pending(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from messaging.pending_events where event_id = $1) as "is_pending!""#,
        id
    )
    .fetch_one(conn)
    .await
}

async fn set_skipped(conn: &mut PgConnection, event_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status)
        select event_id, position, shard, aggregate_id, aggregate_version, 'SKIPPED' from messaging.outbox where event_id = $1
        on conflict (event_id) do update
        set status = 'SKIPPED', next_attempt_at = null, parked_at = null, parked_reason = null
        "#,
        event_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Every queue that takes the event gets it as a discarded job: a relay that died may have given it to RabbitMQ, and the message must
/// find that its job is there. In an ordered queue the later versions would wait for this one for good. Returns these queues.
///
/// The routes say what the queue would have received only if this release knows the event's type. But an ordered queue
/// receives every event of its aggregates.
async fn discard_jobs(conn: &mut PgConnection, event: &Event) -> sqlx::Result<Vec<Queue>> {
    let is_snapshot = event.kind == EventType::SnapshotTaken.as_str();
    let aggregate = EntityType::parse(&event.aggregate_type).filter(|_| !is_snapshot);
    let kind: Option<EventType> = event.kind.parse().ok();
    let mut discarded = Vec::new();
    for queue in Queue::JOBS.into_iter().filter(|queue| aggregate.is_some_and(|of| queue.wants_some_of(of))) {
        let ordered = sqlx::query_scalar!(
            r#"
            insert into messaging.inbox
                (queue, event_id, aggregate_id, aggregate_version, run_at, status, finished_at, last_error)
            select name, $2, $3, $4, clock_timestamp(), 'discarded', clock_timestamp(), $6
            from messaging.queues where name = $1 and (ordered or $5)
            on conflict do nothing
            returning (select ordered from messaging.queues where name = $1) as "ordered!"
            "#,
            queue.as_str(),
            event.id,
            event.aggregate_id,
            event.aggregate_version,
            kind.is_some_and(|kind| queue.wants(kind)),
            WAS_SKIPPED,
        )
        .fetch_optional(&mut *conn)
        .await?;
        if ordered == Some(true) {
            inbox::settle(conn, queue, &[(event.aggregate_id, event.aggregate_version)]).await?;
            discarded.push(queue);
        }
    }
    Ok(discarded)
}

/// Lets the next event of an aggregate go that waits for no other one.
async fn release_next(conn: &mut PgConnection, aggregate_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update messaging.outbox_exceptions as held set status = 'WAITING', next_attempt_at = clock_timestamp()
        where aggregate_id = $1 and status = 'HELD' and not exists (
            select from messaging.outbox_exceptions as earlier
            where earlier.aggregate_id = held.aggregate_id and earlier.status <> 'SKIPPED'
              and earlier.aggregate_version < held.aggregate_version)
        "#,
        aggregate_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}
