//! What waits in the outbox and in the queues.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// What waits in the outbox.
#[derive(Debug)]
pub(crate) struct OutboxBacklog {
    pub(crate) pending: i64,
    pub(crate) parked: i64,
    pub(crate) oldest_pending: Option<DateTime<Utc>>,
}

/// Counts unpublished events, up to a limit.
pub(crate) async fn outbox_backlog(conn: &mut PgConnection) -> sqlx::Result<OutboxBacklog> {
    sqlx::query_as!(
        OutboxBacklog,
        r#"select pending as "pending!", parked as "parked!", oldest_pending from messaging.outbox_backlog"#
    )
    .fetch_one(conn)
    .await
}

/// When the first event occurred that the projector has not applied.
pub(crate) async fn oldest_unprojected(conn: &mut PgConnection) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        r#"
        select occurred_at as "at!"
        from messaging.outbox as event
        join messaging.last_marks as last on last.consumer = 'projections' and last.shard = event.shard
        where event.position > (select min(mark) from messaging.last_marks where consumer = 'projections')
          and event.position > last.mark
        order by event.position
        limit 1
        "#
    )
    .fetch_optional(conn)
    .await
}

/// Bytes of all tables and indexes of the outbox and the inbox, the partitions that retention drops among them.
pub(crate) async fn size(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint as "bytes!"
        from pg_class where relnamespace = 'messaging'::regnamespace and relkind = 'r'
        "#
    )
    .fetch_one(conn)
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
    pub(crate) blocked: i64,
    pub(crate) oldest_ready: Option<DateTime<Utc>>,
    /// Since when the first of those that may start could have started.
    pub(crate) oldest_due: Option<DateTime<Utc>>,
    /// When the oldest came that waits, in back-off and in doubt too.
    pub(crate) oldest_open: Option<DateTime<Utc>>,
    /// Since when its dependency is down.
    pub(crate) outage_since: Option<DateTime<Utc>>,
}

/// Counts the open jobs of each queue, up to a limit.
pub(crate) async fn queue_backlogs(conn: &mut PgConnection) -> sqlx::Result<Vec<QueueBacklog>> {
    sqlx::query_as!(
        QueueBacklog,
        r#"
        select name as "name!", ready as "ready!", running as "running!", in_doubt as "in_doubt!", dead as "dead!",
               blocked as "blocked!", oldest_ready, oldest_due, oldest_open, outage_since as "outage_since?"
        from messaging.queue_backlog
        "#
    )
    .fetch_all(conn)
    .await
}
