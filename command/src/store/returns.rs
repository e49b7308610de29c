//! An order under its lock, with its returns and refunds; the insert of a return; and the returns that wait for a manager's
//! review.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{EntityType, EventType, ReturnState};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::context::AuditRow;
use crate::idempotency::KeyedRequest;

/// Who names the order that is to be locked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OrderOf {
    Order(Uuid),
    Return(Uuid),
    Refund(Uuid),
}

/// The id of the order; `None` when there is none, or it is not of the owner. No lock of the transaction is waited for any longer than
/// `at_most` from now on.
pub(crate) async fn order_of(
    conn: &mut PgConnection,
    of: OrderOf,
    owner: Option<&str>,
    at_most: Duration,
) -> sqlx::Result<Option<Uuid>> {
    // 0 would mean no limit.
    let millis = at_most.as_millis().max(1).to_string();
    let (order, returned, refund) = match of {
        OrderOf::Order(id) => (Some(id), None, None),
        OrderOf::Return(id) => (None, Some(id), None),
        OrderOf::Refund(id) => (None, None, Some(id)),
    };
    let found = sqlx::query!(
        r#"
        select set_config('lock_timeout', $1, true) as limited,
               (select id from command.orders
                where id = coalesce($2, (select order_id from command.returns where id = $3),
                                    (select order_id from command.refunds where id = $4))
                  and ($5::text is null or customer_id = $5)) as order_id
        "#,
        millis,
        order,
        returned,
        refund,
        owner,
    );
    Ok(found.fetch_one(conn).await?.order_id)
}

/// An order, and what has been taken of it.
#[derive(Debug)]
pub(crate) struct OrderUnderLock {
    pub(crate) state: String,
    pub(crate) delivered_at: Option<DateTime<Utc>>,
    pub(crate) document: Value,
    /// The documents of its returns, without the rejected ones.
    pub(crate) returns: Vec<Value>,
    /// The documents of its refunds.
    pub(crate) refunds: Vec<Value>,
}

/// Locks an order, and the return if one is named, and reads what has been taken of the order. `None`: there is no such order.
///
/// The locks come first, in statements of their own: under READ COMMITTED the following statement then sees everything that
/// was committed before the locks were granted.
pub(crate) async fn lock_order(
    conn: &mut PgConnection,
    order_id: Uuid,
    of: OrderOf,
) -> sqlx::Result<Option<OrderUnderLock>> {
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
    if let OrderOf::Return(id) = of {
        sqlx::query_scalar!("select id from command.returns where id = $1 for update", id)
            .fetch_optional(&mut *conn)
            .await?;
    }
    let taken = sqlx::query!(
        r#"
        select array(
                   select command.whole(command.with_items(document, items, progress), progress, state, version)::jsonb
                   from command.returns where order_id = $1 and state <> 'REJECTED' order by id
               ) as "returns!: Vec<Value>",
               array(
                   select command.refund_document(refund)
                   from command.refunds as refund where order_id = $1 order by id
               ) as "refunds!: Vec<Value>"
        "#,
        order_id,
    )
    .fetch_one(&mut *conn)
    .await?;
    let (state, delivered_at, document) = (order.state, order.delivered_at, order.document);
    Ok(Some(OrderUnderLock { state, delivered_at, document, returns: taken.returns, refunds: taken.refunds }))
}

/// An order, and what has been taken of it, as it is now. `None`: there is no such order, or it is not of the owner.
pub(crate) async fn read_order(
    pool: &PgPool,
    order_id: Uuid,
    owner: Option<&str>,
) -> sqlx::Result<Option<OrderUnderLock>> {
    sqlx::query_as!(
        OrderUnderLock,
        r#"
        select state, delivered_at, command.whole(document, progress, state, version)::json as "document!",
               array(
                   select command.whole(command.with_items(document, items, progress), progress, state, version)::jsonb
                   from command.returns where order_id = $1 and state <> 'REJECTED' order by id
               ) as "returns!: Vec<Value>",
               array(
                   select command.refund_document(refund) from command.refunds as refund where order_id = $1 order by id
               ) as "refunds!: Vec<Value>"
        from command.orders where id = $1 and ($2::text is null or customer_id = $2)
        "#,
        order_id,
        owner,
    )
    .fetch_optional(pool)
    .await
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
    /// The frozen document as JSON, without the items.
    pub(crate) document: &'a str,
    /// The items as JSON.
    pub(crate) items: &'a str,
    pub(crate) progress: &'a Value,
    pub(crate) audit: &'a AuditRow,
    pub(crate) event_id: Uuid,
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) at: DateTime<Utc>,
    pub(crate) idempotency: Option<&'a KeyedRequest>,
}

/// Writes a return with its items, audit row, outbox row and stored answer. Returns its progress as the database keeps it.
pub(crate) async fn insert_return(conn: &mut PgConnection, new: &NewReturn<'_>) -> sqlx::Result<String> {
    let link = new.audit.link(EntityType::Return, new.id, ReturnState::Requested.as_str(), new.at);
    let inserted = sqlx::query!(
        r#"
        with requested as (
            insert into command.returns
                (id, order_id, state, version, document, items, progress, created_at, updated_at, link, link_version)
            values ($1, $2, 'REQUESTED', 1, $3::text::json, $4::text::json, $5, $6, $6, sha256($23::bytea), 1)
        ), remembered as (
            insert into command.idempotency_keys
                (caller, route, key, request_hash, entity_type, entity_id, status, state, version, progress, created_at)
            select $7, $8, $9, $10, 'return', $1, 201, 'REQUESTED', 1, $5, $6 where $9::text is not null
        )
        select command.append_transitions(array[row(
                   'return', $1, 1, null, 'REQUESTED', $11::text, $12::text, $13::text, $14::text, $15::jsonb, $16::text::inet,
                   $17::text, $18::text, $6, $22::bytea, $23::bytea)::command.new_transition]),
               messaging.append_events('return', array[$19::uuid], array[$1], array[1], array[$20::text], array[$5], array[$21::text],
                   array[$6]),
               $5::text as "progress!"
        "#,
        new.id,
        new.order_id,
        new.document,
        new.items,
        new.progress,
        new.at,
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
        &link.salt[..],
        &link.digest[..],
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
