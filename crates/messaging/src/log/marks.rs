//! The marks of the readers, as rows. The last row of a shard counts.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::progress::Mark;
use crate::fence::Point;
use crate::leases::{self, Consumer, Leases};

/// Where a reader of these shards goes on: one mark per shard, in their order.
pub(super) async fn load(pool: &PgPool, consumer: Consumer, leases: &Leases) -> sqlx::Result<Vec<Mark>> {
    let rows = sqlx::query!(
        r#"
        select coalesce(mark, 0) as "mark!", since as "since?"
        from unnest($1::smallint[]) with ordinality as mine (shard, place)
        left join lateral (
            select mark, since from messaging.marks
            where consumer = $2 and marks.shard = mine.shard order by id desc limit 1
        ) as last on true
        order by place
        "#,
        &leases.shards,
        consumer.as_str(),
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| Mark { position: row.mark, since: row.since }).collect())
}

/// Up to here a consumer has handled every event of every shard.
pub(super) async fn lowest(pool: &PgPool, consumer: Consumer) -> sqlx::Result<i64> {
    let lowest = sqlx::query_scalar!(
        r#"select coalesce(min(mark), 0) as "mark!" from messaging.last_marks where consumer = $1"#,
        consumer.as_str(),
    );
    lowest.fetch_one(pool).await
}

/// How often one that waits for the readers looks at their marks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until the living readers of a consumer have stored that they handled every event there was at the call. Returns up to where all
/// have, or `None` if it takes longer than `within`. Where none lives, nothing is read that is not stored either.
pub async fn caught_up(pool: &PgPool, consumer: Consumer, within: Duration) -> sqlx::Result<Option<i64>> {
    let newest = sqlx::query_scalar!(r#"select coalesce(max(position), 0) as "newest!" from messaging.outbox"#);
    let newest = newest.fetch_one(pool).await?;
    let deadline = Instant::now() + within;
    loop {
        let lives = sqlx::query_scalar!(
            r#"select exists (select from messaging.held_shards where consumer = $1) as "lives!""#,
            consumer.as_str(),
        );
        let lives = lives.fetch_one(pool).await?;
        if !lives {
            leases::fence_off(pool, consumer, None).await?;
        }
        let stored = lowest(pool, consumer).await?;
        if stored >= newest || !lives {
            return Ok(Some(stored));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Stores a mark under these names, for the shards whose lease is still held and whose own mark is lower. A reader that has slept
/// past its lease stores nothing.
pub(super) async fn store(
    pool: &PgPool,
    consumer: Consumer,
    names: &[&str],
    leases: &Leases,
    mark: Mark,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with held as materialized (
            select shard, lease.epoch
            from messaging.shard_leases as lease
            join unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch) using (shard, epoch)
            where consumer = $3 and messaging.timeline() = $4
            order by shard
            for share of lease
        )
        insert into messaging.marks (consumer, shard, epoch, mark, since)
        select name, shard, epoch, $5, $6
        from held cross join unnest($7::text[]) as name
        where $5 > coalesce((select mark from messaging.marks
                             where consumer = name and marks.shard = held.shard order by id desc limit 1), 0)
        "#,
        &leases.shards,
        &leases.epochs,
        consumer.as_str(),
        leases.timeline,
        mark.position,
        mark.since,
        names as _,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The highest position that has been drawn.
pub(super) async fn drawn(pool: &PgPool) -> sqlx::Result<Point> {
    let row = sqlx::query!(
        r#"
        select case when is_called then last_value else 0 end as "taken!", clock_timestamp() as "at!: DateTime<Utc>"
        from messaging.outbox_position_seq
        "#
    )
    .fetch_one(pool)
    .await?;
    Ok(Point { taken: row.taken, at: row.at })
}
