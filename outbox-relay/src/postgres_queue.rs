//! Outbox → inbox inside Postgres: one statement delivers and marks, so it happens exactly once by construction.

use contracts::Queue;
use sqlx::PgPool;
use uuid::Uuid;

/// The routing table as two columns for `unnest`.
#[derive(Debug)]
pub(crate) struct Routes {
    event_types: Vec<String>,
    queues: Vec<String>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        let (event_types, queues) =
            Queue::routes().map(|(event, queue)| (event.to_string(), queue.to_string())).unzip();
        Self { event_types, queues }
    }
}

/// What one statement moved.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) rows: i64,
    pub(crate) last_position: Option<i64>,
    /// `traceparent` of the rows whose trace is sampled.
    pub(crate) traceparents: Vec<String>,
}

/// Moves up to `limit` rows from `from_position` on, or only the row `only`.
///
/// The lease rows are share-locked while the statement runs, so a take-over waits for it: the fence. The notifications
/// go out with the commit; they may be inside the transaction because relays do not contend for it as commands do.
/// A row whose type no queue wants is parked.
pub(crate) async fn forward(
    pool: &PgPool,
    relay: &str,
    routes: &Routes,
    from_position: i64,
    limit: i64,
    only: Option<Uuid>,
) -> sqlx::Result<Moved> {
    let row = sqlx::query!(
        r#"
        with held as materialized (
            select shard, epoch from messaging.shard_leases
            where owner = $1 and expires_at > clock_timestamp()
            for share
        ), route as materialized (
            select * from unnest($2::text[], $3::text[]) as route (event_type, queue)
        ), batch as materialized (
            select row.*, held.epoch, exists (select from route where route.event_type = row.event_type) as routable
            from messaging.outbox as row join held using (shard)
            where published_at is null and parked_at is null and position >= $4
              and ($6::uuid is null or event_id = $6)
              and (next_attempt_at is null or next_attempt_at <= clock_timestamp())
              and not exists (
                  select from messaging.outbox as earlier
                  where earlier.aggregate_id = row.aggregate_id and earlier.aggregate_version < row.aggregate_version
                    and earlier.published_at is null and earlier.attempts > 0
                    and (earlier.parked_at is not null or earlier.next_attempt_at > clock_timestamp()))
            order by position
            limit $5
        ), delivered as (
            insert into messaging.inbox
                (queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at)
            select queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at
            from batch join route using (event_type)
            order by position
            on conflict do nothing
            returning queue
        ), marked as (
            update messaging.outbox as row
            set attempts = row.attempts + 1, relay_epoch = batch.epoch, next_attempt_at = null,
                published_at = case when routable then clock_timestamp() end,
                parked_at = case when not routable then clock_timestamp() end,
                parked_reason = case when not routable then 'UNROUTABLE' end,
                last_error = case when not routable then 'no queue wants events of this type' end
            from batch
            where row.event_id = batch.event_id
        )
        select (select count(*) from batch) as "rows!",
               (select max(position) from batch) as last_position,
               coalesce((select array_agg(headers ->> 'traceparent') from batch
                         where headers ->> 'traceparent' like '%-01'), '{}') as "traceparents!",
               (select count(pg_notify('inbox_' || queue, '')) from (select distinct queue from delivered) as woken) as "woken!"
        "#,
        relay,
        &routes.event_types,
        &routes.queues,
        from_position,
        limit,
        only,
    )
    .fetch_one(pool)
    .await?;
    Ok(Moved { rows: row.rows, last_position: row.last_position, traceparents: row.traceparents })
}
