//! Checks that hold in the database after every test (the operators' audit), and counts for assertions.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use contracts::Queue;
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

/// The number of published events.
pub async fn published(pool: &PgPool) -> Result<i64> {
    count(pool, "select count(*) from messaging.outbox where published_at is not null").await
}

/// The number of relays that mark events as published at this moment, or wait for a lock to do so.
pub async fn marking(pool: &PgPool) -> Result<i64> {
    let marking = "select count(*) from pg_stat_activity where application_name = 'outbox-relay'
                       and state = 'active' and query like '%set published_at%'";
    count(pool, marking).await
}

/// The row count of each table that commands write to.
pub async fn row_counts(pool: &PgPool) -> Result<BTreeMap<&'static str, i64>> {
    const TABLES: [&str; 7] = [
        "command.orders",
        "command.order_items",
        "command.returns",
        "command.return_items",
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

/// The number of events that reached a queue after a later event of the same aggregate.
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

/// Waits until every event is in the inbox of every queue that subscribes to it.
pub async fn delivered(pool: &PgPool, deadline: Duration) -> Result<()> {
    let routes: Vec<&str> = Queue::routes().map(|(event, _)| event.as_str()).collect();
    eventually_equal("every event is in every inbox that subscribes to it", deadline, (0, 0), async || {
        let counts: (i64, i64) = sqlx::query_as(
            "select (select count(*) from messaging.outbox where published_at is null),
                    (select count(*) from messaging.outbox join unnest($1::text[]) as route (event_type) using (event_type))
                    - (select count(*) from messaging.inbox)",
        )
        .bind(&routes)
        .fetch_one(pool)
        .await?;
        Ok(counts)
    })
    .await
}

/// Waits until a queue has no open jobs.
pub async fn drained(pool: &PgPool, queue: Queue, deadline: Duration) -> Result<()> {
    eventually_equal(&format!("the queue {queue} is empty"), deadline, 0, async || {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from messaging.inbox where queue = $1 and status not in ('done', 'dead')",
        )
        .bind(queue.as_str())
        .fetch_one(pool)
        .await?;
        Ok(open)
    })
    .await
}

/// Waits until every event is delivered and no queue has open jobs.
pub async fn settled(pool: &PgPool) -> Result<()> {
    // Twice, because the workers' jobs write events too.
    for _ in 0..2 {
        delivered(pool, SOON).await?;
        for queue in Queue::ALL {
            drained(pool, queue, SOON).await?;
        }
    }
    delivered(pool, SOON).await
}
