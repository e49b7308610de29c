//! Outbox → inbox inside Postgres: one statement delivers and marks, so it happens exactly once by construction.

use contracts::Queue;
use runtime::database::{limited, refuses_the_data};
use runtime::faults;
use sqlx::PgPool;
use uuid::Uuid;

use crate::error::RelayError;
use crate::low_water::LowWater;
use crate::row::{record_failure, retry_delay, trace_published};
use crate::shards::Leases;
use crate::store::{self, Failed, Pending};

/// The way to the inboxes of the same database.
#[derive(Debug)]
pub(crate) struct PostgresQueue {
    pool: PgPool,
    relay: String,
    routes: Routes,
    batch: i64,
    max_attempts: i32,
}

impl PostgresQueue {
    pub(crate) fn new(pool: PgPool, relay: String, batch: i64, max_attempts: i32) -> Self {
        Self { pool, relay, routes: Routes::new(), batch, max_attempts }
    }

    /// Forwards one batch. Returns how many rows went out or were parked.
    pub(crate) async fn tick(&self, leases: &Leases, low_water: &mut LowWater) -> Result<usize, RelayError> {
        let from_position = low_water.scan_from();
        let source = Source { relay: &self.relay, shards: &leases.shards, from_position };
        faults::point("relay.batch.ready");
        let moved = limited(forward(&self.pool, source, &self.routes, self.batch, None)).await;
        faults::point("relay.batch.forwarded");
        let moved = match moved {
            Ok(moved) => moved,
            Err(error) if refuses_the_data(&error) => {
                tracing::warn!(%error, "batch refused; forwarding its rows one by one");
                return Ok(self.forward_one_by_one(source, leases, low_water).await?);
            }
            Err(error) => return Err(error.into()),
        };
        low_water.scanned(moved.last_position, moved.rows < self.batch);
        low_water.published(moved.any_retried);
        moved.traceparents.iter().for_each(|parent| trace_published(Some(parent)));
        Ok(usize::try_from(moved.rows).unwrap_or(0))
    }

    /// A refused row is retried and finally parked. The other rows of its batch go out.
    async fn forward_one_by_one(
        &self,
        source: Source<'_>,
        leases: &Leases,
        low_water: &mut LowWater,
    ) -> sqlx::Result<usize> {
        let mut forwarded = 0;
        let batch = limited(store::pending(&self.pool, source.shards, source.from_position, self.batch)).await?;
        for row in &batch {
            match limited(forward(&self.pool, source, &self.routes, 1, Some(row.event_id))).await {
                Ok(_) => forwarded += 1,
                Err(error) if refuses_the_data(&error) => {
                    let attempts = row.attempts + 1;
                    let failed = Failed {
                        event_id: row.event_id,
                        error: error.to_string(),
                        parked: (attempts >= self.max_attempts).then_some("ATTEMPTS_SPENT"),
                        delay: retry_delay(attempts),
                    };
                    record_failure(&self.pool, leases, low_water, &failed).await?;
                }
                Err(error) => return Err(error),
            }
        }
        // Only when every row of the batch is out or waits for its retry: the mark must not pass rows that were merely read.
        let exhausted = i64::try_from(batch.len()).unwrap_or(i64::MAX) < self.batch;
        low_water.scanned(batch.last().map(|row| row.position), exhausted);
        low_water.published(batch.iter().any(Pending::is_retried));
        Ok(forwarded)
    }
}

/// The routing table as two columns for `unnest`.
#[derive(Debug)]
struct Routes {
    event_types: Vec<String>,
    queues: Vec<String>,
}

impl Routes {
    fn new() -> Self {
        let (event_types, queues) =
            Queue::routes().map(|(event, queue)| (event.to_string(), queue.to_string())).unzip();
        Self { event_types, queues }
    }
}

/// What one statement moved.
struct Moved {
    rows: i64,
    last_position: Option<i64>,
    /// Whether one of the rows had failed before, so that later rows of its aggregate had to wait.
    any_retried: bool,
    /// `traceparent` of the rows whose trace is sampled.
    traceparents: Vec<String>,
}

/// Which rows a relay may move.
#[derive(Clone, Copy)]
struct Source<'a> {
    relay: &'a str,
    /// The shards that the relay believes it holds. The statement takes only those that it still holds.
    shards: &'a [i16],
    /// Where the scan starts.
    from_position: i64,
}

/// Moves up to `limit` rows, or only the row `only`.
///
/// The statement share-locks the lease rows, so that a take-over waits for it: the fence. It locks them in the order in
/// which renewals lock them; in any other order the two could deadlock. The notifications go out with the commit. They
/// may be inside the transaction because relays do not contend for the lock of NOTIFY as commands do.
/// The statement parks a row whose type no queue takes, and leaves later rows of its aggregate where they are.
async fn forward(
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
            where owner = $1 and shard = any($2) and expires_at > clock_timestamp()
            order by shard
            for share
        ), route as materialized (
            select * from unnest($3::text[], $4::text[]) as route (event_type, queue)
        ), batch as materialized (
            select row.*, held.epoch, exists (select from route where route.event_type = row.event_type) as routable
            from messaging.due_events as row join held using (shard)
            where position >= $5 and ($6::uuid is null or event_id = $6)
            order by position
            limit $7
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
                last_error = case when not routable then 'no queue takes events of this type' end
            from batch
            where row.event_id = batch.event_id and batch.event_id not in (select event_id from blocked)
        )
        select (select count(*) from batch) as "rows!",
               (select max(position) from batch) as last_position,
               exists (select from batch where attempts > 0) as "any_retried!",
               coalesce((select array_agg(headers ->> 'traceparent') from batch
                         where headers ->> 'traceparent' like '%-01'), '{}') as "traceparents!",
               (select count(pg_notify('inbox_' || queue, '')) from (select distinct queue from delivered) as woken) as "woken!"
        "#,
        source.relay,
        source.shards,
        &routes.event_types,
        &routes.queues,
        source.from_position,
        only,
        limit,
    )
    .fetch_one(pool)
    .await?;
    Ok(Moved {
        rows: row.rows,
        last_position: row.last_position,
        any_retried: row.any_retried,
        traceparents: row.traceparents,
    })
}
