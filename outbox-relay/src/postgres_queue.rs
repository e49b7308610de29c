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
    /// Whether a row was among them for which others of its aggregate had to wait.
    pub(crate) troubled: bool,
    /// `traceparent` of the rows whose trace is sampled.
    pub(crate) traceparents: Vec<String>,
}

/// Which rows a relay may move.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) relay: &'a str,
    /// The shards it knows to be its own; the statement takes them only while they are.
    pub(crate) shards: &'a [i16],
    /// Where the scan begins.
    pub(crate) from_position: i64,
}

/// Moves up to `limit` rows, or only the row `only`.
///
/// The lease rows are share-locked while the statement runs, so a take-over waits for it: the fence. They are locked in
/// the order in which renewals lock them; in any other the two would deadlock now and then. The notifications
/// go out with the commit; they may be inside the transaction because relays do not contend for it as commands do.
/// A row whose type no queue wants is parked, and what stands behind it in its aggregate stays where it is.
pub(crate) async fn forward(
    pool: &PgPool,
    source: Source<'_>,
    routes: &Routes,
    limit: i64,
    only: Option<Uuid>,
) -> sqlx::Result<Moved> {
    let row = sqlx::query!(
        r#"
        with held as materialized (
            select shard, epoch from messaging.shard_leases
            where owner = $1 and shard = any($7) and expires_at > clock_timestamp()
            order by shard
            for share
        ), route as materialized (
            select * from unnest($2::text[], $3::text[]) as route (event_type, queue)
        ), batch as materialized (
            select row.*, held.epoch, exists (select from route where route.event_type = row.event_type) as routable
            from messaging.due_events as row join held using (shard)
            where position >= $4 and ($6::uuid is null or event_id = $6)
            order by position
            limit $5
        ), blocked as materialized (
            select behind.event_id
            from batch as unroutable join batch as behind using (aggregate_id)
            where not unroutable.routable and behind.aggregate_version > unroutable.aggregate_version
        ), delivered as (
            insert into messaging.inbox
                (queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at)
            select queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at
            from batch join route using (event_type)
            where event_id not in (select event_id from blocked)
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
            where row.event_id = batch.event_id and batch.event_id not in (select event_id from blocked)
        )
        select (select count(*) from batch) as "rows!",
               (select max(position) from batch) as last_position,
               exists (select from batch where attempts > 0) as "troubled!",
               coalesce((select array_agg(headers ->> 'traceparent') from batch
                         where headers ->> 'traceparent' like '%-01'), '{}') as "traceparents!",
               (select count(pg_notify('inbox_' || queue, '')) from (select distinct queue from delivered) as woken) as "woken!"
        "#,
        source.relay,
        &routes.event_types,
        &routes.queues,
        source.from_position,
        limit,
        only,
        source.shards,
    )
    .fetch_one(pool)
    .await?;
    Ok(Moved {
        rows: row.rows,
        last_position: row.last_position,
        troubled: row.troubled,
        traceparents: row.traceparents,
    })
}
