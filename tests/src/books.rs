//! What must hold in the database after anything (DESIGN.md, section 10).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use contracts::Queue;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::waiting::eventually_equal;

/// Every rule as a query for its violations, in words.
const RULES: [(&str, &str); 6] = [
    (
        "every transition has one outbox row, and every outbox row its transition",
        "select format('%s %s@%s', coalesce(t.entity_type, o.aggregate_type), coalesce(t.entity_id, o.aggregate_id), coalesce(t.version, o.aggregate_version))
         from command.state_transitions t full join messaging.outbox o
             on (t.entity_type, t.entity_id, t.version) = (o.aggregate_type, o.aggregate_id, o.aggregate_version)
         where t.entity_id is null or o.event_id is null
         union all
         select format('%s %s@%s twice', aggregate_type, aggregate_id, aggregate_version) from messaging.outbox
         group by aggregate_type, aggregate_id, aggregate_version having count(*) > 1",
    ),
    (
        "versions run from 1 without a gap, and each step begins where the one before it ended",
        "select format('%s %s@%s', entity_type, entity_id, version)
         from (select *, row_number() over w as place, lag(to_state) over w as before
               from command.state_transitions window w as (partition by entity_type, entity_id order by version)) as chain
         where version <> place or from_state is distinct from before",
    ),
    (
        "the state of an order or a return is that of its last transition",
        "select format('%s %s', kind, current.id)
         from (select 'order' as kind, id, state, version from command.orders
               union all select 'return', id, state, version from command.returns) as current
         left join lateral (select version, to_state from command.state_transitions t
                            where (t.entity_type, t.entity_id) = (kind, current.id) order by version desc limit 1) as last on true
         where (state, current.version) is distinct from (last.to_state, last.version)",
    ),
    (
        "no more units are returned than were ordered, and no more money than was paid",
        "select format('item %s', item.id)
         from command.order_items item join command.return_items returned on returned.order_item_id = item.id
         join command.returns on returns.id = returned.return_id and returns.state <> 'REJECTED'
         group by item.id having sum(returned.quantity) > item.quantity or sum(returned.amount_minor) > item.paid_minor",
    ),
    (
        "an order has its items, and they cost what the order says",
        "select format('order %s', orders.id)
         from command.orders left join command.order_items item on item.order_id = orders.id
         group by orders.id
         having count(item.id) = 0 or coalesce(sum(item.paid_minor), 0) + (document ->> 'shipping_minor')::bigint <> total_minor",
    ),
    (
        "an outbox row is published, pending or parked, never two of them",
        "select format('outbox %s', event_id) from messaging.outbox where published_at is not null and parked_at is not null",
    ),
];

/// Checks every rule.
///
/// # Errors
/// The first rule that is broken, and by what.
pub async fn check(pool: &PgPool) -> Result<()> {
    for (rule, violations) in RULES {
        let found: Vec<String> = sqlx::query_scalar(violations).fetch_all(pool).await?;
        ensure!(found.is_empty(), "it does not hold that {rule}: {found:?}");
    }
    Ok(())
}

/// How many rows each table that a command writes to has.
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

/// Waits until every event has been delivered to every queue that wants it.
pub async fn delivered(pool: &PgPool, deadline: Duration) -> Result<()> {
    let routes: Vec<&str> = Queue::routes().map(|(event, _)| event.as_str()).collect();
    eventually_equal("every event is in every inbox that wants it", deadline, (0, 0), async || {
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

/// Waits until a queue has nothing left to do.
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
