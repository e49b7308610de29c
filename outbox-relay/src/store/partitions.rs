//! The partitions. Table names are not parameters in SQL, so these statements are put together from names that come from
//! the catalogue.

use std::time::Duration;

use runtime::database::interval;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

/// Marks kept per consumer and shard; the last one counts, the others tell what happened.
const MARKS_KEPT: i64 = 100;

/// A partition, attached or not.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    /// `outbox`, `inbox`, `claims` or `relay_batches`.
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) from_id: Uuid,
    pub(crate) until_id: Uuid,
}

/// Makes the missing partitions, also yesterday's or the last ones, for clocks that are behind. Returns how many it made.
pub(crate) async fn ensure_partitions(pool: &PgPool, ahead: Duration, width: Duration) -> sqlx::Result<i32> {
    let behind = width.min(Duration::from_secs(86_400));
    sqlx::query_scalar!(
        r#"select messaging.ensure_partitions($1, $2, $3) as "made!""#,
        interval(behind),
        interval(ahead),
        interval(width)
    )
    .fetch_one(pool)
    .await
}

/// `detach … concurrently` waits for every transaction that has used the table. That may take as long as a backup does, and
/// no other statement waits for it.
pub(crate) async fn wait_without_limit(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("set statement_timeout = 0").execute(conn).await?;
    Ok(())
}

/// Partitions whose detaching was interrupted.
pub(crate) async fn half_detached(conn: &mut PgConnection) -> sqlx::Result<Vec<Partition>> {
    sqlx::query_as!(
        Partition,
        r#"
        select parent as "parent!", name as "name!", messaging.lowest_event_id(from_at) as "from_id!",
               messaging.lowest_event_id(until_at) as "until_id!"
        from messaging.partitions where detaching
        "#
    )
    .fetch_all(conn)
    .await
}

/// Partitions that are detached and not dropped: a relay died in between. Their bounds are in their comments.
pub(crate) async fn detached(conn: &mut PgConnection) -> sqlx::Result<Vec<Partition>> {
    sqlx::query_as!(
        Partition,
        r#"
        select bounds[1] as "parent!", relname::text as "name!", bounds[2]::uuid as "from_id!", bounds[3]::uuid as "until_id!"
        from pg_catalog.pg_class
        cross join regexp_match(obj_description(oid, 'pg_class'), '^partition of (\w+) from (\S+) until (\S+)$') as bounds
        where relnamespace = 'messaging'::regnamespace and relkind = 'r' and not relispartition and bounds is not null
        "#
    )
    .fetch_all(conn)
    .await
}

/// Partitions whose time is over, those of the outbox first: the inbox is the memory of what was consumed, and goes only after
/// the events of its time.
pub(crate) async fn expired(conn: &mut PgConnection, retention: Duration) -> sqlx::Result<Vec<Partition>> {
    sqlx::query_as!(
        Partition,
        r#"
        select parent as "parent!", name as "name!", messaging.lowest_event_id(from_at) as "from_id!",
               messaging.lowest_event_id(until_at) as "until_id!"
        from messaging.partitions
        where until_at <= now() - $1::interval and not detaching
        order by parent <> 'outbox', from_at
        "#,
        interval(retention),
    )
    .fetch_all(conn)
    .await
}

/// Why a partition must stay, if it must.
pub(crate) async fn unsettled(conn: &mut PgConnection, partition: &Partition) -> sqlx::Result<Option<String>> {
    let Partition { parent, name, from_id, until_id } = partition;
    if parent == "outbox" {
        return sqlx::query_scalar!("select messaging.unsettled($1, $2, $3)", name, from_id, until_id)
            .fetch_one(conn)
            .await;
    }
    let events = sqlx::query_scalar!(
        r#"
        select name as "name!" from messaging.partitions
        where parent = 'outbox' and from_at < messaging.time_of($1) and until_at > messaging.time_of($2)
        limit 1
        "#,
        until_id,
        from_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(events.map(|events| format!("the events of its time are in {events}")))
}

/// Detaches a partition. No other statement waits for it. The comment says where the table belongs.
pub(crate) async fn detach(conn: &mut PgConnection, partition: &Partition) -> sqlx::Result<()> {
    let Partition { parent, name, from_id, until_id } = partition;
    run(
        &mut *conn,
        format!("comment on table messaging.{name} is 'partition of {parent} from {from_id} until {until_id}'"),
    )
    .await?;
    run(conn, format!("alter table messaging.{parent} detach partition messaging.{name} concurrently")).await
}

/// Ends a detaching that was interrupted.
pub(crate) async fn finalize(conn: &mut PgConnection, partition: &Partition) -> sqlx::Result<()> {
    let Partition { parent, name, .. } = partition;
    run(conn, format!("alter table messaging.{parent} detach partition messaging.{name} finalize")).await
}

/// Attaches a partition again. A check constraint from its detaching saves the scan.
pub(crate) async fn attach(conn: &mut PgConnection, partition: &Partition) -> sqlx::Result<()> {
    let Partition { parent, name, from_id, until_id } = partition;
    let attach = format!(
        "alter table messaging.{parent} attach partition messaging.{name} for values from ('{from_id}') to ('{until_id}')"
    );
    run(&mut *conn, attach).await?;
    run(conn, format!("comment on table messaging.{name} is null")).await
}

/// Drops a detached partition. A rebuild must learn that its events are gone, unless it never had any.
pub(crate) async fn drop_table(conn: &mut PgConnection, partition: &Partition) -> sqlx::Result<()> {
    let Partition { parent, name, from_id, until_id } = partition;
    let mut drop = format!("drop table messaging.{name}");
    if parent == "outbox" {
        drop = format!(
            "begin;
             update messaging.retention set dropped_until = greatest(dropped_until, messaging.time_of('{until_id}'))
             where exists (select from messaging.{name});
             delete from messaging.outbox_exceptions where event_id >= '{from_id}' and event_id < '{until_id}';
             {drop};
             commit"
        );
    }
    run(conn, drop).await
}

async fn run(conn: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn).await?;
    Ok(())
}

/// Deletes all but the newest marks, and the readers that died long ago.
pub(crate) async fn delete_old_marks(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with died as (
            delete from messaging.readers where expires_at < clock_timestamp() - interval '1 day'
        )
        delete from messaging.marks
        using (select consumer, shard from messaging.shard_leases
               union all select 'arrived', shard from generate_series(0, 15) as shard) as kept
        where marks.consumer = kept.consumer and marks.shard = kept.shard
          and id < (select max(id) from messaging.marks as newest
                    where newest.consumer = kept.consumer and newest.shard = kept.shard) - $1
        "#,
        MARKS_KEPT,
    )
    .execute(pool)
    .await?;
    Ok(())
}
