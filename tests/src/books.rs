//! Checks that hold in the database after every test (the operators' audit), and counts for assertions.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use contracts::Queue;
use messaging::leases::Consumer;
use operations::audit::{Scope, Status, Verdict, audit};
use sqlx::{AssertSqlSafe, PgPool, SqlSafeStr};
use uuid::Uuid;

use crate::waiting::{SOON, eventually_equal};

/// Audits the database. Events may still be pending, and with `broker` in RabbitMQ's queues.
///
/// # Errors
/// Lists the violated rules.
pub async fn check(pool: &PgPool, broker: bool) -> Result<()> {
    let report = audit(pool, &Scope { broker, ..Scope::default() }).await?;
    let violated: Vec<_> = report.rules.iter().filter(|rule| rule.status == Status::Violated).collect();
    ensure!(report.verdict == Verdict::Holds, "the audit found violations: {violated:#?}");
    Ok(())
}

/// The number that a query returns.
pub async fn count(pool: &PgPool, query: impl SqlSafeStr) -> Result<i64> {
    Ok(sqlx::query_scalar(query).fetch_one(pool).await?)
}

/// The number of published events: a batch has them, and they wait for nothing.
pub async fn published(pool: &PgPool) -> Result<i64> {
    let published =
        "select count(distinct position) from messaging.relay_batches cross join unnest(positions) as position
                     where position not in (select position from messaging.outbox_exceptions)";
    count(pool, published).await
}

/// The number of events that more than one batch has.
pub async fn published_again(pool: &PgPool) -> Result<i64> {
    let again =
        "select count(*) from (select position from messaging.relay_batches cross join unnest(positions) as position
                                       group by position having count(*) > 1) as again";
    count(pool, again).await
}

/// The number of events that no batch has and that are no exception.
pub async fn pending(pool: &PgPool) -> Result<i64> {
    count(pool, "select count(*) from messaging.pending_events").await
}

/// The number of relays that record what RabbitMQ has confirmed at this moment, or wait for a lock to do so.
pub async fn recording(pool: &PgPool) -> Result<i64> {
    let recording = "select count(*) from pg_stat_activity where datname = current_database()
                         and application_name = 'outbox-relay' and state = 'active' and query like '%waiting as (%'";
    count(pool, recording).await
}

/// The row count of each table that commands write to.
pub async fn row_counts(pool: &PgPool) -> Result<BTreeMap<&'static str, i64>> {
    const TABLES: [&str; 7] = [
        "command.orders",
        "command.order_items",
        "command.returns",
        "command.refunds",
        "command.state_transitions",
        "command.idempotency_keys",
        "messaging.outbox",
    ];
    let counts = TABLES.map(|table| format!("(select count(*) from {table})")).join(", ");
    let counts: Vec<i64> =
        sqlx::query_scalar(AssertSqlSafe(format!("select unnest(array[{counts}])"))).fetch_all(pool).await?;
    Ok(TABLES.into_iter().zip(counts).collect())
}

/// Rows of the audit and of the outbox about one entity.
pub async fn rows_about(pool: &PgPool, id: Uuid) -> Result<(i64, i64)> {
    Ok(sqlx::query_as(
        "select (select count(*) from command.state_transitions where entity_id = $1),
                (select count(*) from messaging.outbox where aggregate_id = $1)",
    )
    .bind(id)
    .fetch_one(pool)
    .await?)
}

/// The number of events that reached a queue after a later event of the same aggregate. With the real routes a queue seldom
/// gets two events of one aggregate: see [`crate::events::send_all_to_one_queue`].
pub async fn out_of_order(pool: &PgPool) -> Result<i64> {
    let late = "select count(*) from (
                    select received_at < max(received_at) over (partition by queue, aggregate_id order by aggregate_version
                                                                rows between unbounded preceding and 1 preceding) as late
                    from messaging.inbox
                ) as events where late";
    count(pool, late).await
}

/// All rows of all read models, as text in a fixed order.
pub async fn read_models(pool: &PgPool) -> Result<BTreeMap<String, Vec<String>>> {
    let mut models = BTreeMap::new();
    for table in sqlx::query_scalar::<_, String>("select read.models()").fetch_all(pool).await? {
        let rows = format!("select to_jsonb(row)::text from read.{table} as row order by 1");
        let rows = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(pool).await?;
        models.insert(table, rows);
    }
    Ok(models)
}

/// Waits until every event is published, and in the inbox of every queue that subscribes to it.
pub async fn delivered(pool: &PgPool, deadline: Duration) -> Result<()> {
    let routes: Vec<&str> = Queue::routes().map(|(event, _)| event.as_str()).collect();
    eventually_equal("every event is in every inbox that subscribes to it", deadline, (0, 0), async || {
        let counts: (i64, i64) = sqlx::query_as(
            "select (select count(*) from messaging.pending_events) + (select count(*) from messaging.outbox_exceptions),
                    (select count(*) from messaging.outbox join unnest($1::text[]) as route (event_type) using (event_type))
                    - (select count(*) from messaging.inbox where queue <> 'projections')",
        )
        .bind(&routes)
        .fetch_one(pool)
        .await?;
        Ok(counts)
    })
    .await
}

/// Waits until the queue of a worker has no open jobs. Names those that stay open.
pub async fn drained(pool: &PgPool, queue: Queue, deadline: Duration) -> Result<()> {
    eventually_equal(&format!("open jobs of the queue {queue}"), deadline, Vec::<String>::new(), async || {
        open_jobs(pool, &[queue], &["done", "dead", "discarded"]).await
    })
    .await
}

/// At most ten jobs of these queues that have not ended in one of these ways, each with what is known of it.
pub async fn open_jobs(pool: &PgPool, queues: &[Queue], ended: &[&str]) -> Result<Vec<String>> {
    let open = "select concat_ws(' ', queue, event_id, status, 'attempt', attempts, 'due in', run_at - clock_timestamp(), last_error)
                from messaging.inbox where queue = any($1) and status <> all($2) limit 10";
    let queues: Vec<_> = queues.iter().map(|queue| queue.as_str()).collect();
    Ok(sqlx::query_scalar(open).bind(queues).bind(ended).fetch_all(pool).await?)
}

/// Waits until the read models show every event that can be read. The history has a row for each.
pub async fn projected(pool: &PgPool, deadline: Duration) -> Result<()> {
    let missing = "select count(*) from messaging.outbox as event
                   where not exists (select from read.history where (aggregate_type, aggregate_id, version)
                                         = (event.aggregate_type, event.aggregate_id, event.aggregate_version))
                     and not exists (select from messaging.dead_letters
                                     where queue = 'projections' and dead_letters.event_id = event.event_id)";
    eventually_equal("the read models show every event", deadline, 0, async || count(pool, missing).await).await
}

/// Waits until a consumer of the log has passed every event, and has stored that for all shards. It stores its marks every two
/// seconds, and passes no event while an earlier position may still commit.
pub async fn passed(pool: &PgPool, consumer: Consumer, deadline: Duration) -> Result<()> {
    let behind = "select count(*) from messaging.last_marks
                  where consumer = $1 and mark < (select coalesce(max(position), 0) from messaging.outbox)";
    eventually_equal(&format!("{} has passed every event", consumer.as_str()), deadline, 0_i64, async || {
        Ok(sqlx::query_scalar(behind).bind(consumer.as_str()).fetch_one(pool).await?)
    })
    .await
}

/// Waits until every event is delivered, no queue has open jobs, and the read models show it all.
pub async fn settled(pool: &PgPool) -> Result<()> {
    // Twice, because the workers' jobs write events too.
    for _ in 0..2 {
        delivered(pool, SOON).await?;
        for queue in Queue::JOBS {
            drained(pool, queue, SOON).await?;
        }
    }
    delivered(pool, SOON).await?;
    projected(pool, SOON).await
}
