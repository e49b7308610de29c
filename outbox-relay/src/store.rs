//! The SQL over `messaging.outbox` and its leases.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{EntityType, Envelope, Headers};
use runtime::database::interval;
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::shards::Leases;

/// Renews this relay's leases, takes free shards up to its fair share and gives back the rest.
pub(crate) async fn renew_leases(pool: &PgPool, name: &str, lease: Duration) -> sqlx::Result<Leases> {
    sqlx::query!(
        r#"
        insert into messaging.relay_instances (name, expires_at) values ($1, clock_timestamp() + $2)
        on conflict (name) do update set expires_at = excluded.expires_at
        "#,
        name,
        interval(lease),
    )
    .execute(pool)
    .await?;
    let rows = sqlx::query!(
        r#"
        with quota as (
            select ceil(16.0 / greatest(count(*), 1))::int as shards
            from messaging.relay_instances where expires_at > clock_timestamp()
        ), mine as materialized (
            select shard from messaging.shard_leases
            where owner = $1 and expires_at > clock_timestamp()
            order by shard limit (select shards from quota)
            for update
        ), free as materialized (
            select shard from messaging.shard_leases
            where owner is null or expires_at <= clock_timestamp()
            order by shard limit (select greatest(shards - (select count(*) from mine), 0) from quota)
            for update skip locked
        ), given_back as (
            update messaging.shard_leases set owner = null, expires_at = '-infinity'
            where owner = $1 and expires_at > clock_timestamp() and shard not in (select shard from mine)
        )
        update messaging.shard_leases as lease
        set owner = $1,
            epoch = epoch + case when lease.shard in (select shard from mine) then 0 else 1 end,
            expires_at = clock_timestamp() + $2
        where lease.shard in (select shard from mine union all select shard from free)
        returning lease.shard, lease.epoch, lease.sweeps
        "#,
        name,
        interval(lease),
    )
    .fetch_all(pool)
    .await?;
    let mut held: Vec<_> = rows.into_iter().map(|row| (row.shard, row.epoch, row.sweeps)).collect();
    held.sort_unstable();
    let (shards, epochs, sweeps) = held.into_iter().collect();
    Ok(Leases { shards, epochs, sweeps })
}

/// Gives up everything this relay holds.
pub(crate) async fn release_leases(pool: &PgPool, name: &str) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with gone as (delete from messaging.relay_instances where name = $1)
        update messaging.shard_leases set owner = null, expires_at = '-infinity' where owner = $1
        "#,
        name,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// A row that may go out now.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) position: i64,
    pub(crate) attempts: i32,
    /// `Err` says why this release cannot decode the row; then it is parked.
    pub(crate) event: Result<Envelope, String>,
    pub(crate) event_id: Uuid,
    pub(crate) aggregate_id: Uuid,
}

impl Pending {
    /// Whether it failed before, so that later rows of its aggregate had to wait for it.
    pub(crate) const fn is_retried(&self) -> bool {
        self.attempts > 0
    }
}

/// Rows of the given shards that may go out, oldest first.
pub(crate) async fn pending(
    executor: impl PgExecutor<'_>,
    shards: &[i16],
    from_position: i64,
    limit: i64,
) -> sqlx::Result<Vec<Pending>> {
    let rows = sqlx::query!(
        r#"
        select position as "position!", attempts as "attempts!", event_id as "event_id!", event_type as "event_type!",
               aggregate_type as "aggregate_type!", aggregate_id as "aggregate_id!", aggregate_version as "aggregate_version!",
               payload as "payload!: Json<Box<RawValue>>", headers as "headers!: Json<Box<RawValue>>", occurred_at as "occurred_at!"
        from messaging.due_events
        where shard = any($1) and position >= $2
        order by position
        limit $3
        "#,
        shards,
        from_position,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Pending {
            position: row.position,
            attempts: row.attempts,
            event_id: row.event_id,
            aggregate_id: row.aggregate_id,
            event: decode(&row.aggregate_type, &row.headers).map(|(aggregate_type, headers)| Envelope {
                event_id: row.event_id,
                event_type: row.event_type,
                aggregate_type,
                aggregate_id: row.aggregate_id,
                aggregate_version: row.aggregate_version,
                occurred_at: row.occurred_at,
                headers,
                payload: row.payload.0,
            }),
        })
        .collect())
}

/// Returns an error for the row alone: it must not fail the query that reads a thousand.
fn decode(aggregate_type: &str, headers: &RawValue) -> Result<(EntityType, Headers), String> {
    let aggregate_type =
        EntityType::parse(aggregate_type).ok_or_else(|| format!("unknown aggregate type {aggregate_type:?}"))?;
    let headers = serde_json::from_str(headers.get()).map_err(|error| format!("headers: {error}"))?;
    Ok((aggregate_type, headers))
}

/// Marks rows as published, if their shard is still leased under the epoch under which they were read.
/// Returns how many it marked.
///
/// It does not join the leases: the planner would look up every id once per shard.
pub(crate) async fn mark_published(pool: &PgPool, leases: &Leases, event_ids: &[Uuid]) -> sqlx::Result<u64> {
    let marked = sqlx::query!(
        r#"
        with held as materialized (
            select lease.shard, lease.epoch
            from messaging.shard_leases as lease
            join unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch) using (shard, epoch)
            order by lease.shard
            for share of lease
        )
        update messaging.outbox as row
        set published_at = clock_timestamp(), attempts = attempts + 1,
            relay_epoch = (select epoch from held where held.shard = row.shard),
            last_error = null, next_attempt_at = null, parked_at = null, parked_reason = null
        where event_id = any($3) and published_at is null and shard = any(array(select shard from held))
        "#,
        &leases.shards,
        &leases.epochs,
        event_ids,
    )
    .execute(pool)
    .await?;
    Ok(marked.rows_affected())
}

/// A row that did not go out.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) event_id: Uuid,
    pub(crate) error: String,
    /// Why it is parked, or `None` to retry it after `delay`.
    pub(crate) parked: Option<&'static str>,
    pub(crate) delay: Duration,
}

/// Parks a failed row, or sets the time of its retry. A relay that has lost the shard's lease changes nothing.
pub(crate) async fn mark_failed(pool: &PgPool, leases: &Leases, failed: &Failed) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with held as materialized (
            select lease.shard
            from messaging.shard_leases as lease
            join unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch) using (shard, epoch)
            order by lease.shard
            for share of lease
        )
        update messaging.outbox as row
        set attempts = attempts + 1, last_error = $3, next_attempt_at = clock_timestamp() + $4,
            parked_at = case when $5::text is not null then clock_timestamp() end, parked_reason = $5
        from held
        where row.shard = held.shard and row.event_id = $6 and row.published_at is null and row.parked_at is null
        "#,
        &leases.shards,
        &leases.epochs,
        failed.error,
        interval(failed.delay),
        failed.parked,
        failed.event_id,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The transactions that have written to the outbox, or are about to, and have not ended; and the highest position of a
/// waiting row that is greater than `above`, or `above` itself.
///
/// Every writer holds a lock on the outbox, and every role may read the list of locks: this needs no right to look into
/// other sessions.
pub(crate) async fn writers(pool: &PgPool, above: i64) -> sqlx::Result<(Vec<String>, i64)> {
    let row = sqlx::query!(
        r#"
        select array(
                   select distinct virtualtransaction from pg_locks
                   where locktype = 'relation' and relation = 'messaging.outbox'::regclass and mode = 'RowExclusiveLock'
                     and database = (select oid from pg_database where datname = current_database())
                     and pid <> pg_backend_pid()
               ) as "writers!",
               coalesce((select max(position) from messaging.outbox
                         where published_at is null and parked_at is null and position > $1), $1) as "taken!"
        "#,
        above,
    )
    .fetch_one(pool)
    .await?;
    Ok((row.writers, row.taken))
}

/// What waits in the outbox.
#[derive(Debug)]
pub(crate) struct OutboxBacklog {
    pub(crate) pending: i64,
    pub(crate) parked: i64,
    pub(crate) oldest_pending: Option<DateTime<Utc>>,
}

/// Counts unpublished rows.
pub(crate) async fn outbox_backlog(pool: &PgPool) -> sqlx::Result<OutboxBacklog> {
    sqlx::query_as!(
        OutboxBacklog,
        r#"select pending as "pending!", parked as "parked!", oldest_pending from messaging.outbox_backlog"#
    )
    .fetch_one(pool)
    .await
}

/// What waits in a queue.
#[derive(Debug)]
pub(crate) struct QueueBacklog {
    pub(crate) name: String,
    pub(crate) ready: i64,
    pub(crate) running: i64,
    pub(crate) in_doubt: i64,
    pub(crate) dead: i64,
    pub(crate) oldest_ready: Option<DateTime<Utc>>,
}

/// Counts the open jobs of each queue.
pub(crate) async fn queue_backlogs(pool: &PgPool) -> sqlx::Result<Vec<QueueBacklog>> {
    sqlx::query_as!(
        QueueBacklog,
        r#"
        select name as "name!", ready as "ready!", running as "running!", in_doubt as "in_doubt!", dead as "dead!", oldest_ready
        from messaging.queue_backlog
        "#
    )
    .fetch_all(pool)
    .await
}

/// Makes the missing partitions of the coming fortnight, each `width_days` wide. Also makes yesterday's, for clocks that
/// are behind. Returns how many it made.
pub(crate) async fn ensure_partitions(pool: &PgPool, width_days: i32) -> sqlx::Result<i32> {
    sqlx::query_scalar!(r#"select messaging.ensure_partitions(1, 14, $1) as "made!""#, width_days).fetch_one(pool).await
}

/// Drops one partition that is past the retention and settled. Returns its name, or `None` when there is no such.
pub(crate) async fn drop_expired_partition(pool: &PgPool, retention_days: i32) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select messaging.drop_expired_partition($1)", retention_days).fetch_one(pool).await
}
