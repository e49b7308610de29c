//! Dead jobs: which ones a filter matches, and how they end or come back.

use chrono::{DateTime, Utc};
use contracts::Queue;
use messaging::inbox;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::OperationError;

/// Dead letters that one statement looks at, at most, however few of them are selected.
const WINDOW: i64 = 5_000;

/// Which dead jobs. Each field narrows the selection; without any, all are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadFilter {
    #[schema(inline)]
    pub queue: Option<Queue>,
    /// Jobs for events of this type, as `order.shipped`.
    pub event_type: Option<String>,
    /// The last error contains it, in upper or lower case.
    pub error: Option<String>,
    /// They came at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// They died at this time or earlier. Unset: when the act begins, so that what dies once more is not taken again.
    pub died_until: Option<DateTime<Utc>>,
}

/// A dead job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadJob {
    pub queue: String,
    pub event_id: Uuid,
    /// Empty when the event is no longer in the outbox.
    pub event_type: String,
    pub last_error: Option<String>,
}

/// Where a walk over the dead letters goes on: behind this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    queue: String,
    event_id: Uuid,
}

/// What one statement found.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) jobs: Vec<DeadJob>,
    /// None at the end.
    pub(super) next: Option<Place>,
}

/// Finds the next dead jobs that match, `limit` at most.
pub(super) async fn pick(
    conn: &mut PgConnection,
    filter: &DeadFilter,
    after: Option<&Place>,
    limit: i64,
) -> sqlx::Result<Picked> {
    let rows = sqlx::query!(
        r#"
        with seen as materialized (
            select queue, event_id, died_at, last_error from messaging.dead_letters
            where (queue, event_id) > ($1, $2) and ($3::text is null or queue = $3)
            order by queue, event_id
            limit $4
        ), picked as materialized (
            select seen.queue, seen.event_id, coalesce(event.event_type, '') as event_type, seen.last_error
            from seen
            join messaging.inbox as job on job.queue = seen.queue and job.event_id = seen.event_id and job.status = 'dead'
            left join messaging.outbox as event on event.event_id = seen.event_id
            where died_at <= coalesce($5, clock_timestamp())
              and ($6::text is null or event.event_type = $6)
              and ($7::text is null or position(lower($7) in lower(seen.last_error)) > 0)
              and ($8::timestamptz is null or died_at >= $8 and job.received_at >= $8)
            order by seen.queue, seen.event_id
            limit $9
        )
        select last_seen.looked_at as "looked_at!", last_seen.queue as "last_queue?", last_seen.event_id as "last_id?",
               picked.queue as "queue?", picked.event_id as "event_id?", event_type as "event_type?", last_error as "last_error?"
        from (select count(*) as looked_at, (array_agg(queue order by queue desc, event_id desc))[1] as queue,
                     (array_agg(event_id order by queue desc, event_id desc))[1] as event_id from seen) as last_seen
        left join picked on true
        order by picked.queue, picked.event_id
        "#,
        after.map_or("", |place| &place.queue),
        after.map_or(Uuid::nil(), |place| place.event_id),
        filter.queue.map(Queue::as_str),
        WINDOW,
        filter.died_until,
        filter.event_type.as_deref(),
        filter.error.as_deref(),
        filter.since,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let end_of_window = rows.first().filter(|row| row.looked_at >= WINDOW);
    let end_of_window =
        end_of_window.and_then(|row| Some(Place { queue: row.last_queue.clone()?, event_id: row.last_id? }));
    let jobs: Vec<_> = rows
        .into_iter()
        .filter_map(|row| {
            let (queue, event_id, event_type) = (row.queue?, row.event_id?, row.event_type?);
            Some(DeadJob { queue, event_id, event_type, last_error: row.last_error })
        })
        .collect();
    let is_full = i64::try_from(jobs.len()).is_ok_and(|picked| picked >= limit);
    let last = jobs.last().map(|job| Place { queue: job.queue.clone(), event_id: job.event_id });
    let next = if is_full { last } else { end_of_window };
    Ok(Picked { jobs, next })
}

/// Queues and events, side by side.
pub(super) fn columns(jobs: &[DeadJob]) -> (Vec<String>, Vec<Uuid>) {
    jobs.iter().map(|job| (job.queue.clone(), job.event_id)).unzip()
}

/// Gives these dead jobs all their attempts back, in doubt. Those that another operator takes at the same moment are left to that one.
pub(super) async fn revive(
    conn: &mut PgConnection,
    (queues, event_ids): &(Vec<String>, Vec<Uuid>),
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"
        with revived as (
            delete from messaging.dead_letters as letter
            using unnest($1::text[], $2::uuid[]) as picked (queue, event_id)
            where letter.queue = picked.queue and letter.event_id = picked.event_id
            returning letter.queue, letter.event_id
        )
        update messaging.inbox as job
        set status = 'in_doubt', attempts = 0, deaths = least(job.deaths, 1), run_at = messaging.due_now(job.queue), finished_at = null
        from revived
        where job.queue = revived.queue and job.event_id = revived.event_id and status = 'dead'
        returning job.event_id
        "#,
        queues,
        event_ids,
    )
    .fetch_all(conn)
    .await
}

/// Ends these dead jobs for good. In an ordered queue the next version of the aggregate goes on. Returns the queue and the event of
/// each job that was dead.
pub(super) async fn discard(
    conn: &mut PgConnection,
    (queues, event_ids): &(Vec<String>, Vec<Uuid>),
) -> Result<Vec<(Queue, Uuid)>, OperationError> {
    let rows = sqlx::query!(
        r#"
        with letter as (
            delete from messaging.dead_letters as letter
            using unnest($1::text[], $2::uuid[]) as picked (queue, event_id)
            where letter.queue = picked.queue and letter.event_id = picked.event_id
            returning letter.queue, letter.event_id
        )
        update messaging.inbox as job set status = 'discarded', finished_at = clock_timestamp()
        from letter join messaging.queues on name = letter.queue
        where job.queue = letter.queue and job.event_id = letter.event_id and status = 'dead'
        returning job.queue, job.event_id, aggregate_id, aggregate_version, ordered
        "#,
        queues,
        event_ids,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut discarded = Vec::with_capacity(rows.len());
    let mut ordered = Vec::new();
    for row in rows {
        let queue: Queue = row.queue.parse()?;
        if row.ordered {
            ordered.push((queue, (row.aggregate_id, row.aggregate_version)));
        }
        discarded.push((queue, row.event_id));
    }
    for queue in Queue::ALL {
        let of_queue = ordered.iter().filter(|(of, _)| *of == queue);
        let versions: Vec<(Uuid, i32)> = of_queue.map(|(_, version)| *version).collect();
        if !versions.is_empty() {
            inbox::settle(conn, queue, &versions).await?;
        }
    }
    Ok(discarded)
}
