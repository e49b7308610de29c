//! The SQL over `messaging.shard_leases` and `messaging.readers`.

use std::time::Duration;

use runtime::database::interval;
use sqlx::{PgExecutor, PgPool};

use super::Consumer;
use super::shards::Leases;

/// Renews this reader's leases, takes free shards up to its fair share and gives back the rest. A renewal that changes nothing
/// writes one row, the reader's own.
///
/// Another reader may be taking a shard away meanwhile, after this one was silent for too long. Then the old epoch is returned,
/// under which nothing can be recorded, and the next renewal misses the shard.
pub(super) async fn renew(pool: &PgPool, consumer: Consumer, name: &str, lease: Duration) -> sqlx::Result<Leases> {
    sqlx::query!(
        r#"
        insert into messaging.readers (consumer, name, expires_at) values ($1, $2, clock_timestamp() + $3)
        on conflict (consumer, name) do update set expires_at = excluded.expires_at
        "#,
        consumer.as_str(),
        name,
        interval(lease),
    )
    .execute(pool)
    .await?;
    let rows = sqlx::query!(
        r#"
        with alive as materialized (
            select name from messaging.readers where consumer = $1 and expires_at > clock_timestamp()
        ), quota as (
            select ceil(16.0 / greatest(count(*), 1))::int as shards from alive
        ), mine as materialized (
            select shard, epoch from messaging.shard_leases
            where consumer = $1 and owner = $2
            order by shard limit (select shards from quota)
        ), free as materialized (
            select shard from messaging.shard_leases
            where consumer = $1 and (owner is null or owner not in (select name from alive))
            order by shard limit (select greatest(shards - (select count(*) from mine), 0) from quota)
            for update skip locked
        ), too_many as materialized (
            -- In the order in which a statement of the relay locks them.
            select shard from messaging.shard_leases
            where consumer = $1 and owner = $2 and shard not in (select shard from mine)
            order by shard
            for update
        ), given_back as (
            update messaging.shard_leases set owner = null, epoch = epoch + 1
            where consumer = $1 and shard in (select shard from too_many)
        ), taken as (
            update messaging.shard_leases as lease set owner = $2, epoch = epoch + 1
            where consumer = $1 and lease.shard in (select shard from free)
            returning shard, epoch
        )
        select shard as "shard!", epoch as "epoch!", messaging.timeline() as "timeline!"
        from (select * from mine union all select * from taken) as held
        order by shard
        "#,
        consumer.as_str(),
        name,
    )
    .fetch_all(pool)
    .await?;
    let timeline = rows.first().map(|row| row.timeline.clone()).unwrap_or_default();
    let (shards, epochs) = rows.into_iter().map(|row| (row.shard, row.epoch)).unzip();
    Ok(Leases { timeline, shards, epochs })
}

/// Gives up everything this reader holds.
pub(super) async fn release(pool: &PgPool, consumer: Consumer, name: &str) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with gone as (
            delete from messaging.readers where consumer = $1 and name = $2
        ), held as materialized (
            select shard from messaging.shard_leases where consumer = $1 and owner = $2 order by shard for update
        )
        update messaging.shard_leases set owner = null, epoch = epoch + 1
        where consumer = $1 and shard in (select shard from held)
        "#,
        consumer.as_str(),
        name,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Which server this is, and since which start of it. On another one positions and times may be given out again.
pub async fn timeline(pool: &PgPool) -> sqlx::Result<String> {
    sqlx::query_scalar!(r#"select messaging.timeline() as "timeline!""#).fetch_one(pool).await
}

/// Raises the epochs of the shards that no living reader holds, of all or of one: one that sleeps past its lease records nothing
/// any more. Locks them, and returns how many they are.
pub async fn fence_off(executor: impl PgExecutor<'_>, consumer: Consumer, shard: Option<i16>) -> sqlx::Result<u64> {
    let fenced = sqlx::query!(
        r#"
        with free as materialized (
            select shard from messaging.shard_leases
            where consumer = $1 and ($2::smallint is null or shard = $2)
              and shard not in (select shard from messaging.held_shards where consumer = $1)
            order by shard
            for update
        )
        update messaging.shard_leases set epoch = epoch + 1 where consumer = $1 and shard in (select shard from free)
        "#,
        consumer.as_str(),
        shard,
    )
    .execute(executor)
    .await?;
    Ok(fenced.rows_affected())
}
