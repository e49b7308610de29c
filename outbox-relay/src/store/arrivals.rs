//! Which of the events that went out have arrived, and what is done about those that RabbitMQ lost or gave up.

use std::time::Duration;

use contracts::Queue;
use messaging::leases::Leases;
use messaging::log::Window;
use messaging::rabbitmq::DeadLetter;
use runtime::database::interval;
use sqlx::PgPool;
use uuid::Uuid;

use super::forward::Routes;

/// Events that are sent again together, and the open exceptions at which no more are added: the relay sends those first.
const MOST_AT_ONCE: i64 = 500;
/// The reason in the record of an event that was sent again.
pub(crate) const NOT_ARRIVED: &str = "not_arrived";

/// The lowest stored marks of some shards.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) arrived: i64,
    pub(crate) sent: i64,
}

/// Reads the marks of arrivals and of what was sent.
pub(crate) async fn standing(pool: &PgPool, leases: &Leases) -> sqlx::Result<Standing> {
    sqlx::query_as!(
        Standing,
        r#"
        select min(mark) filter (where consumer = 'arrived') as "arrived!", min(mark) filter (where consumer = 'relay') as "sent!"
        from messaging.last_marks where shard = any($1)
        "#,
        &leases.shards,
    )
    .fetch_one(pool)
    .await
}

/// The first event of a window that is not in the inbox of each queue that takes it, and has no row among the exceptions.
///
/// `offset 0`, here and below, makes Postgres look each job up by its key. It could otherwise read the whole inbox.
pub(crate) async fn first_missing(
    pool: &PgPool,
    leases: &Leases,
    routes: &Routes,
    window: Window,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        r#"
        select min(position)
        from messaging.outbox as event join unnest($1::text[], $2::text[]) as route (event_type, queue) using (event_type)
        where position > $3 and position <= $4 and shard = any($5)
          and not exists (select from messaging.inbox as job where job.queue = route.queue and job.event_id = event.event_id offset 0)
          and not exists (select from messaging.outbox_exceptions as exception where exception.event_id = event.event_id)
        "#,
        &routes.event_types,
        &routes.queues,
        window.after,
        window.until,
        &leases.shards,
    )
    .fetch_one(pool)
    .await
}

/// Forgets the awaited events that have arrived or are exceptions again. Returns whether others are left.
pub(crate) async fn forget_arrived(pool: &PgPool, leases: &Leases, routes: &Routes) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"
        with arrived as (
            delete from messaging.awaited_arrivals as awaited
            where shard = any($1) and (
                exists (select from messaging.outbox_exceptions as exception where exception.event_id = awaited.event_id)
                or not exists (
                    select from messaging.outbox as event
                    join unnest($2::text[], $3::text[]) as route (event_type, queue) using (event_type)
                    where event.event_id = awaited.event_id
                      and not exists (select from messaging.inbox as job
                                      where job.queue = route.queue and job.event_id = event.event_id offset 0)))
            returning 1
        )
        select (select count(*) from messaging.awaited_arrivals where shard = any($1)) > (select count(*) from arrived) as "is_left!"
        "#,
        &leases.shards,
        &routes.event_types,
        &routes.queues,
    )
    .fetch_one(pool)
    .await
}

/// An event that a queue takes and does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) event_id: Uuid,
    pub(crate) queue: Queue,
}

impl Lost {
    /// `None` for a queue that this release does not know.
    fn of(event_id: Uuid, queue: &str) -> Option<Self> {
        queue.parse().ok().map(|queue| Self { event_id, queue })
    }
}

/// The events of a window, and the awaited ones, that have not arrived and that no relay has sent lately.
pub(crate) async fn due(
    pool: &PgPool,
    leases: &Leases,
    routes: &Routes,
    window: Option<Window>,
    resend_after: Duration,
) -> sqlx::Result<Vec<Lost>> {
    let rows = sqlx::query!(
        r#"
        with route as materialized (
            select event_type, queue from unnest($1::text[], $2::text[]) as route (event_type, queue)
        ), lately as materialized (
            select distinct unnest(positions) as position
            from messaging.relay_batches
            where batch_id >= messaging.lowest_event_id(now() - $3::interval) and last_position > $4 and positions[1] <= $5
        ), missing as (
            select event.event_id, position, event_type
            from messaging.outbox as event left join lately using (position)
            where position > $4 and position <= $5 and shard = any($6) and lately.position is null
              and event_id < messaging.lowest_event_id(now() - $3)
            union
            select event_id, position, event_type
            from messaging.awaited_arrivals as awaited join messaging.outbox as event using (event_id)
            where awaited.shard = any($6) and sent_at < now() - $3
        )
        select event_id as "event_id!", queue as "queue!"
        from missing join route using (event_type)
        where not exists (select from messaging.inbox as job where job.queue = route.queue and job.event_id = missing.event_id offset 0)
          and not exists (select from messaging.outbox_exceptions as exception where exception.event_id = missing.event_id)
        order by position
        limit $7
        "#,
        &routes.event_types,
        &routes.queues,
        interval(resend_after),
        window.map_or(0, |window| window.after),
        window.map_or(0, |window| window.until),
        &leases.shards,
        MOST_AT_ONCE,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().filter_map(|row| Lost::of(row.event_id, &row.queue)).collect())
}

/// Lets lost events go out again, as exceptions that are due, and records it. Returns those that it took: not those that have
/// arrived meanwhile, or whose shard is leased by another relay now.
pub(crate) async fn resend(pool: &PgPool, relay: &str, leases: &Leases, lost: &[Lost]) -> sqlx::Result<Vec<Lost>> {
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let event_ids: Vec<Uuid> = lost.iter().map(|lost| lost.event_id).collect();
    let queues: Vec<String> = lost.iter().map(|lost| lost.queue.to_string()).collect();
    let rows = sqlx::query!(
        r#"
        with held as materialized (
            select shard
            from messaging.shard_leases as lease join unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch) using (shard, epoch)
            where consumer = 'relay' and messaging.timeline() = $3
            order by shard
            for share of lease
        ), open as (
            select count(*) as events
            from (select from messaging.outbox_exceptions where shard = any($1) and status = 'WAITING' limit $4) as open
        ), lost as materialized (
            select event_id, position, shard, aggregate_id, aggregate_version, queue
            from unnest($5::uuid[], $6::text[]) as lost (event_id, queue)
            join messaging.outbox as event using (event_id) join held using (shard)
            where (select events from open) < $4
              and not exists (select from messaging.inbox as job where job.queue = lost.queue and job.event_id = event.event_id offset 0)
        ), waiting as (
            insert into messaging.outbox_exceptions
                (event_id, position, shard, aggregate_id, aggregate_version, status, last_error, next_attempt_at)
            select event_id, position, shard, aggregate_id, aggregate_version, 'WAITING', 'RabbitMQ confirmed it and it did not arrive', now()
            from lost group by 1, 2, 3, 4, 5
            on conflict do nothing
        ), recorded as (
            insert into messaging.broker_losses (relay, queue, reason, event_ids)
            select $7, queue, $8, array_agg(event_id order by event_id) from lost group by queue
        )
        select event_id as "event_id!", queue as "queue!" from lost
        "#,
        &leases.shards,
        &leases.epochs,
        leases.timeline,
        MOST_AT_ONCE,
        &event_ids,
        &queues,
        relay,
        NOT_ARRIVED,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().filter_map(|row| Lost::of(row.event_id, &row.queue)).collect())
}

/// What came of a dead letter whose event is in the log.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) lost: Lost,
    /// Whether it was not in the inbox before.
    pub(crate) is_new: bool,
}

/// Puts the events of dead letters into the inboxes of their queues and records it. An event that an operator skipped stays out.
/// Letters whose event is not in the outbox, or not for that queue, are not in the answer.
pub(crate) async fn deliver(
    pool: &PgPool,
    relay: &str,
    routes: &Routes,
    letters: &[DeadLetter],
) -> sqlx::Result<Vec<Delivered>> {
    let known = letters.iter().filter_map(|letter| letter.event.map(|event| (event, letter.reason.clone())));
    let (events, reasons): (Vec<(Uuid, Queue)>, Vec<String>) = known.unzip();
    let (event_ids, queues): (Vec<Uuid>, Vec<String>) =
        events.into_iter().map(|(event_id, queue)| (event_id, queue.to_string())).unzip();
    let rows = sqlx::query!(
        r#"
        with dead as materialized (
            select distinct on (event_id, queue) event_id, queue, reason, aggregate_id, aggregate_version
            from unnest($1::uuid[], $2::text[], $3::text[]) as dead (event_id, queue, reason)
            join messaging.outbox as event using (event_id)
            join unnest($4::text[], $5::text[]) as route (event_type, queue) using (event_type, queue)
            order by event_id, queue
        ), delivered as (
            insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at)
            select queue, event_id, aggregate_id, aggregate_version, messaging.due_now(queue)
            from dead
            where not exists (select from messaging.outbox_exceptions as exception
                              where exception.event_id = dead.event_id and status = 'SKIPPED')
            on conflict do nothing
            returning queue, event_id
        ), recorded as (
            insert into messaging.broker_losses (relay, queue, reason, event_ids)
            select $6, queue, reason, array_agg(event_id order by event_id)
            from delivered join dead using (queue, event_id)
            group by queue, reason
        )
        select dead.event_id as "event_id!", dead.queue as "queue!", delivered.event_id is not null as "is_new!",
               (select count(pg_notify('inbox_' || queue, '')) from (select distinct queue from delivered) as woken) as "woken!"
        from dead left join delivered on delivered.event_id = dead.event_id and delivered.queue = dead.queue
        "#,
        &event_ids,
        &queues,
        &reasons,
        routes.event_types.as_slice(),
        routes.queues.as_slice(),
        relay,
    )
    .fetch_all(pool)
    .await?;
    let delivered = rows
        .into_iter()
        .filter_map(|row| Lost::of(row.event_id, &row.queue).map(|lost| Delivered { lost, is_new: row.is_new }));
    Ok(delivered.collect())
}

/// Deletes the record of what is older than this.
pub(crate) async fn delete_losses(pool: &PgPool, older_than: Duration) -> sqlx::Result<()> {
    sqlx::query!("delete from messaging.broker_losses where seen_at < now() - $1::interval", interval(older_than))
        .execute(pool)
        .await?;
    Ok(())
}
