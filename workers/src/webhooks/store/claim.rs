//! Claims deliveries that are due, each when it has its turn.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::database::interval;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::bounds::Bounds;

/// A delivery under a claim.
#[derive(Debug)]
pub(in crate::webhooks) struct Claimed {
    pub(in crate::webhooks) claim_id: Uuid,
    pub(in crate::webhooks) event_id: Uuid,
    pub(in crate::webhooks) endpoint_id: Uuid,
    pub(in crate::webhooks) event_type: String,
    pub(in crate::webhooks) aggregate_id: Uuid,
    pub(in crate::webhooks) aggregate_version: i32,
    /// This attempt included.
    pub(in crate::webhooks) attempts: i32,
    /// Those since an operator asked for it again.
    pub(in crate::webhooks) tries: i32,
    pub(in crate::webhooks) url: String,
    pub(in crate::webhooks) secret: String,
    /// While it still signs.
    pub(in crate::webhooks) previous_secret: Option<String>,
    /// Of a test event.
    pub(in crate::webhooks) body: Option<String>,
    pub(in crate::webhooks) aggregate_type: Option<String>,
    pub(in crate::webhooks) occurred_at: Option<DateTime<Utc>>,
    pub(in crate::webhooks) payload: Option<String>,
    pub(in crate::webhooks) traceparent: Option<String>,
}

/// What a look has found.
#[derive(Debug)]
pub(in crate::webhooks) struct Due {
    pub(in crate::webhooks) claimed: Vec<Claimed>,
    /// Those that wait for an earlier one among them.
    pub(in crate::webhooks) looked_at: usize,
}

/// How much more may be under way.
#[derive(Debug)]
pub(in crate::webhooks) struct Room {
    /// To the endpoints to which something is.
    pub(in crate::webhooks) left: Vec<(Uuid, i64)>,
    /// To each of the others; to one that fails a quarter of it.
    pub(in crate::webhooks) most: i64,
    /// In all.
    pub(in crate::webhooks) free: i64,
}

/// Claims deliveries that are due and have their turn, for `hold`. The others are due again when the earlier one is settled.
///
/// Endpoints that do not fail come first, and of them those to which the least is under way: a few that do not answer do not take all
/// the room.
pub(in crate::webhooks) async fn claim(
    pool: &PgPool,
    claim_id: Uuid,
    room: &Room,
    bounds: &Bounds,
    hold: Duration,
) -> sqlx::Result<Due> {
    let (endpoints, rooms): (Vec<Uuid>, Vec<i64>) = room.left.iter().copied().unzip();
    let mut tx = pool.begin().await?;
    let due = sqlx::query!(
        r#"
        select delivery.event_id, delivery.endpoint_id,
               exists (select from messaging.webhook_deliveries as earlier
                       where earlier.endpoint_id = delivery.endpoint_id and earlier.aggregate_id = delivery.aggregate_id
                         and earlier.aggregate_version < delivery.aggregate_version and earlier.status = 'PENDING') as "waits!"
        from (
            select id,
                   coalesce(room, $3) - case when failing_since is null then 0 else $3 - greatest($3 / 4, 1) end as room,
                   failing_since is not null as is_failing, coalesce(due_from, '-infinity') as due_from
            from messaging.webhook_endpoints
            left join unnest($1::uuid[], $2::bigint[]) as busy (endpoint_id, room) on busy.endpoint_id = id
            left join unnest($5::uuid[], $6::timestamptz[]) as bound (endpoint_id, due_from) on bound.endpoint_id = id
            where deleted_at is null and disabled_at is null
            order by is_failing, room desc, random()
        ) as endpoint
        cross join lateral (
            select event_id, endpoint_id, aggregate_id, aggregate_version from messaging.webhook_deliveries
            where endpoint_id = endpoint.id and due_at >= due_from and due_at <= (select clock_timestamp())
            order by due_at limit least(greatest(room, 0), $4)
            for update skip locked
        ) as delivery
        limit $4
        "#,
        &endpoints,
        &rooms,
        room.most,
        room.free,
        &bounds.endpoints,
        &bounds.due_from,
    )
    .fetch_all(&mut *tx)
    .await?;
    let looked_at = due.len();
    let (waiting, ready): (Vec<_>, Vec<_>) = due.into_iter().partition(|row| row.waits);
    if !waiting.is_empty() {
        let (events, endpoints) = waiting.iter().map(|row| (row.event_id, row.endpoint_id)).unzip();
        put_behind(&mut tx, events, endpoints).await?;
    }
    let claimed = if ready.is_empty() {
        Vec::new()
    } else {
        let (events, endpoints): (Vec<Uuid>, Vec<Uuid>) =
            ready.iter().map(|row| (row.event_id, row.endpoint_id)).unzip();
        start(&mut tx, claim_id, &events, &endpoints, hold).await?
    };
    tx.commit().await?;
    Ok(Due { claimed, looked_at })
}

/// Deliveries that wait for an earlier one are not due until it is settled. The earlier one is locked, and looked at again: if it was
/// settled meanwhile, they stay due; and if it is settled after this, that finds them. Where another transaction has it, they stay
/// due too: nothing waits here for a lock while it holds others.
async fn put_behind(conn: &mut PgConnection, events: Vec<Uuid>, endpoints: Vec<Uuid>) -> sqlx::Result<()> {
    let locked = sqlx::query!(
        r#"
        select waits.event_id as "event_id!", waits.endpoint_id as "endpoint_id!"
        from unnest($1::uuid[], $2::uuid[]) as waits (event_id, endpoint_id)
        join messaging.webhook_deliveries as later on later.event_id = waits.event_id and later.endpoint_id = waits.endpoint_id
        join messaging.webhook_deliveries as earlier
            on earlier.endpoint_id = later.endpoint_id and earlier.aggregate_id = later.aggregate_id
               and earlier.aggregate_version < later.aggregate_version
        where earlier.status = 'PENDING'
        for share of earlier skip locked
        "#,
        &events,
        &endpoints,
    )
    .fetch_all(&mut *conn)
    .await?;
    let (events, endpoints): (Vec<_>, Vec<_>) = locked.into_iter().map(|row| (row.event_id, row.endpoint_id)).unzip();
    sqlx::query!(
        r#"
        update messaging.webhook_deliveries as later set due_at = null
        from unnest($1::uuid[], $2::uuid[]) as waits (event_id, endpoint_id)
        where later.event_id = waits.event_id and later.endpoint_id = waits.endpoint_id
          and exists (select from messaging.webhook_deliveries as earlier
                      where earlier.endpoint_id = later.endpoint_id and earlier.aggregate_id = later.aggregate_id
                        and earlier.aggregate_version < later.aggregate_version and earlier.status = 'PENDING')
        "#,
        &events,
        &endpoints,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn start(
    conn: &mut PgConnection,
    claim_id: Uuid,
    events: &[Uuid],
    endpoints: &[Uuid],
    hold: Duration,
) -> sqlx::Result<Vec<Claimed>> {
    sqlx::query_as!(
        Claimed,
        r#"
        with started as (
            update messaging.webhook_deliveries as delivery
            set claim_id = $3, attempts = attempts + 1, tries = tries + 1, due_at = clock_timestamp() + $4
            from unnest($1::uuid[], $2::uuid[]) as ready (event_id, endpoint_id)
            where delivery.event_id = ready.event_id and delivery.endpoint_id = ready.endpoint_id
            returning delivery.*
        )
        select started.claim_id as "claim_id!", started.event_id as "event_id!", started.endpoint_id as "endpoint_id!",
               started.event_type as "event_type!", started.aggregate_id as "aggregate_id!",
               started.aggregate_version as "aggregate_version!", started.attempts as "attempts!", started.tries as "tries!", url as "url!", secret as "secret!",
               case when previous_until > clock_timestamp() then previous_secret end as previous_secret, body,
               event.aggregate_type as "aggregate_type?", event.occurred_at as "occurred_at?", event.payload_text as "payload?",
               traceparent as "traceparent?"
        from started
        join messaging.webhook_endpoints as endpoint on endpoint.id = endpoint_id
        left join lateral (
            select aggregate_type, occurred_at, payload_text, traceparent from messaging.events where events.event_id = started.event_id limit 1
        ) as event on true
        "#,
        events,
        endpoints,
        claim_id,
        interval(hold) as _,
    )
    .fetch_all(conn)
    .await
}
