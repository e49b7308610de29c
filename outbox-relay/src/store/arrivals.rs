//! Which of the events that went out have arrived.

use messaging::leases::Leases;
use sqlx::PgPool;

use super::forward::Routes;

/// How far a look went.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// It began after this position, and ended at this one.
    pub(crate) after: i64,
    pub(crate) until: i64,
    /// Up to here every event is in the inbox of each queue that takes it, or has its row among the exceptions.
    pub(crate) position: i64,
}

/// Looks at a window of the positions above the mark of arrivals and below the mark of what was sent.
pub(crate) async fn arrived(pool: &PgPool, leases: &Leases, routes: &Routes, window: i64) -> sqlx::Result<Arrived> {
    sqlx::query_as!(
        Arrived,
        r#"
        with standing as materialized (
            select arrived.mark as arrived, sent.mark as sent
            from messaging.last_marks as arrived join messaging.last_marks as sent using (shard)
            where arrived.consumer = 'arrived' and sent.consumer = 'relay' and shard = any($1)
        ), reach as materialized (
            select min(arrived) as after, least(min(sent), min(arrived) + $2) as until from standing
        )
        select after as "after!", until as "until!", coalesce((
                   select min(position) - 1
                   from messaging.outbox as event join unnest($3::text[], $4::text[]) as route (event_type, queue) using (event_type)
                   where position > after and position <= until and shard = any($1)
                     and not exists (select from messaging.inbox as job
                                     where job.queue = route.queue and job.event_id = event.event_id)
                     and not exists (select from messaging.outbox_exceptions as exception
                                     where exception.event_id = event.event_id)), until) as "position!"
        from reach
        "#,
        &leases.shards,
        window,
        &routes.event_types,
        &routes.queues,
    )
    .fetch_one(pool)
    .await
}
