//! The request for a return, which reads the earlier returns under the order's lock, and the requests that wait for a
//! manager's review.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{EventType, ReturnItemDocument};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::context::AuditRow;
use crate::idempotency::KeyedRequest;

/// What a return needs to know of its order.
#[derive(Debug)]
pub(crate) struct OrderUnderLock {
    pub(crate) state: String,
    pub(crate) delivered_at: Option<DateTime<Utc>>,
    pub(crate) document: Value,
    /// The documents of its earlier returns, without the rejected ones.
    pub(crate) returns: Vec<Value>,
}

/// Locks an order and reads what a return of it needs to know. `None`: there is no such order. No lock of the transaction
/// is waited for any longer than `at_most`.
///
/// The lock comes first, in a statement of its own: under READ COMMITTED the following statements then see every
/// return that was committed before the lock was granted.
pub(crate) async fn lock_order(
    conn: &mut PgConnection,
    order_id: Uuid,
    at_most: Duration,
) -> sqlx::Result<Option<OrderUnderLock>> {
    // 0 would mean no limit.
    let millis = at_most.as_millis().max(1).to_string();
    sqlx::query_scalar!("select set_config('lock_timeout', $1, true)", millis).fetch_one(&mut *conn).await?;
    let order = sqlx::query!(
        r#"
        select state, delivered_at, command.whole(document, progress, state, version)::json as "document!"
        from command.orders where id = $1 for update
        "#,
        order_id,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(order) = order else { return Ok(None) };
    let returns = sqlx::query_scalar!(
        r#"
        select command.whole(document, progress, state, version)::json as "document!"
        from command.returns where order_id = $1 and state <> 'REJECTED'
        "#,
        order_id,
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(Some(OrderUnderLock { state: order.state, delivered_at: order.delivered_at, document: order.document, returns }))
}

/// Those of the given items that exist but belong to another order.
pub(crate) async fn items_elsewhere(conn: &mut PgConnection, order_id: Uuid, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!("select id from command.order_items where id = any($1) and order_id <> $2", ids, order_id)
        .fetch_all(conn)
        .await
}

/// A return to insert.
#[derive(Debug)]
pub(crate) struct NewReturn<'a> {
    pub(crate) id: Uuid,
    pub(crate) order_id: Uuid,
    pub(crate) refund_amount_minor: i64,
    /// The frozen document as JSON.
    pub(crate) document: &'a str,
    pub(crate) progress: &'a Value,
    pub(crate) items: &'a [ReturnItemDocument],
    pub(crate) audit: &'a AuditRow,
    pub(crate) event_id: Uuid,
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) at: DateTime<Utc>,
    pub(crate) idempotency: Option<&'a KeyedRequest>,
}

/// Writes a return with its items, audit row, outbox row and stored answer. Returns its progress as the database keeps it.
pub(crate) async fn insert_return(conn: &mut PgConnection, new: &NewReturn<'_>) -> sqlx::Result<String> {
    let item_ids: Vec<_> = new.items.iter().map(|item| item.id).collect();
    let order_item_ids: Vec<_> = new.items.iter().map(|item| item.order_item_id).collect();
    let quantities: Vec<_> = new.items.iter().map(|item| item.quantity).collect();
    let amounts: Vec<_> = new.items.iter().map(|item| item.amount_minor).collect();
    let shippings: Vec<_> = new.items.iter().map(|item| item.shipping_minor).collect();
    let inserted = sqlx::query!(
        r#"
        with requested as (
            insert into command.returns
                (id, order_id, state, version, refund_amount_minor, document, progress, created_at, updated_at)
            values ($1, $2, 'REQUESTED', 1, $3, $4::text::json, $5, $6, $6)
        ), listed as (
            insert into command.return_items (return_id, id, order_item_id, quantity, amount_minor, shipping_minor)
            select $1, item.* from unnest($7::uuid[], $8::uuid[], $9::int[], $10::bigint[], $11::bigint[]) as item
        ), remembered as (
            insert into command.idempotency_keys
                (caller, route, key, request_hash, entity_type, entity_id, status, state, version, progress, created_at)
            select $12, $13, $14, $15, 'return', $1, 201, 'REQUESTED', 1, $5, $6 where $14::text is not null
        )
        select command.append_transitions(array[row(
                   'return', $1, 1, null, 'REQUESTED', $16::text, $17::text, $18::text, $19::text, $20::jsonb, $21::text::inet,
                   $22::text, $23::text, $6)::command.state_transitions]),
               messaging.append_events('return', array[$24::uuid], array[$1], array[1], array[$25::text], array[$5], array[$26::text],
                   array[$6]),
               $5::text as "progress!"
        "#,
        new.id,
        new.order_id,
        new.refund_amount_minor,
        new.document,
        new.progress,
        new.at,
        &item_ids,
        &order_item_ids,
        &quantities,
        &amounts,
        &shippings,
        new.idempotency.map(|request| request.caller.as_str()),
        new.idempotency.map(|request| request.route.as_str()),
        new.idempotency.map(|request| request.key.as_str()),
        new.idempotency.map(|request| request.request_hash.as_slice()),
        new.audit.actor,
        new.audit.actor_type.as_str(),
        new.audit.trigger.as_str(),
        new.audit.reason,
        new.audit.metadata,
        new.audit.ip_address,
        new.audit.request_id,
        new.audit.trace_id,
        new.event_id,
        EventType::ReturnRequested.as_str(),
        new.traceparent,
    )
    .fetch_one(conn)
    .await?;
    Ok(inserted.progress)
}

/// A requested return that no manager has reviewed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnreviewedReturn {
    pub(crate) id: Uuid,
    pub(crate) created_at: DateTime<Utc>,
}

/// The oldest returns requested before `before`, from the one that follows `after`. There is no index for this, because
/// every step of a return would have to maintain it: `migrations/0002_command.sql` has the figures.
pub(crate) async fn unreviewed_returns(
    pool: &PgPool,
    before: DateTime<Utc>,
    after: Option<UnreviewedReturn>,
    limit: i64,
) -> sqlx::Result<Vec<UnreviewedReturn>> {
    sqlx::query_as!(
        UnreviewedReturn,
        r#"
        select id, created_at from command.returns
        where state = 'REQUESTED' and created_at < $1 and ($2::timestamptz is null or (created_at, id) > ($2, $3))
        order by created_at, id limit $4
        "#,
        before,
        after.map(|last| last.created_at),
        after.map(|last| last.id),
        limit,
    )
    .fetch_all(pool)
    .await
}
