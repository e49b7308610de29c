//! A batch of new orders, in one statement.

use chrono::{DateTime, Utc};
use contracts::{CustomerId, EntityType, EventType, OrderNumber, OrderState, Sku};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::audit::AuditColumns;
use super::idempotency_keys::{KeyColumns, KnownAnswer};
use crate::context::AuditRow;
use crate::idempotency::KeyedRequest;

/// An order to insert.
#[derive(Debug)]
pub(crate) struct NewOrder {
    pub(crate) id: Uuid,
    pub(crate) order_number: OrderNumber,
    pub(crate) customer_id: CustomerId,
    pub(crate) currency: String,
    pub(crate) total_minor: i64,
    /// The frozen document as JSON.
    pub(crate) document: String,
    pub(crate) progress: Value,
    pub(crate) items: Vec<NewOrderItem>,
    pub(crate) audit: AuditRow,
    pub(crate) event_id: Uuid,
    pub(crate) traceparent: Option<String>,
    pub(crate) at: DateTime<Utc>,
    pub(crate) idempotency: Option<KeyedRequest>,
}

/// One line of a new order.
#[derive(Debug)]
pub(crate) struct NewOrderItem {
    pub(crate) id: Uuid,
    pub(crate) sku: Sku,
    pub(crate) title: String,
    pub(crate) quantity: i32,
    pub(crate) unit_price_minor: i64,
    pub(crate) paid_minor: i64,
    pub(crate) shipping_minor: i64,
}

/// What the statement did about one order.
#[derive(Debug)]
pub(crate) enum PlacementOutcome {
    /// Committed. `progress` is the text that the database keeps.
    Placed { progress: String },
    /// Another order has the number; nothing was written.
    NumberTaken,
    /// The same key was answered before.
    Known(KnownAnswer),
}

#[derive(Default)]
struct Columns<'a> {
    id: Vec<Uuid>,
    order_number: Vec<&'a str>,
    customer_id: Vec<&'a str>,
    currency: Vec<&'a str>,
    total_minor: Vec<i64>,
    document: Vec<&'a str>,
    progress: Vec<&'a Value>,
    event_id: Vec<Uuid>,
    traceparent: Vec<Option<&'a str>>,
    at: Vec<DateTime<Utc>>,
    audit: AuditColumns<'a>,
    keys: KeyColumns<'a>,
    items: ItemColumns<'a>,
}

#[derive(Default)]
struct ItemColumns<'a> {
    id: Vec<Uuid>,
    order_id: Vec<Uuid>,
    line_no: Vec<i32>,
    sku: Vec<&'a str>,
    title: Vec<&'a str>,
    quantity: Vec<i32>,
    unit_price_minor: Vec<i64>,
    paid_minor: Vec<i64>,
    shipping_minor: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a [NewOrder]) -> Self {
        let mut columns = Self::default();
        for order in batch {
            columns.id.push(order.id);
            columns.order_number.push(order.order_number.as_str());
            columns.customer_id.push(order.customer_id.as_str());
            columns.currency.push(&order.currency);
            columns.total_minor.push(order.total_minor);
            columns.document.push(&order.document);
            columns.progress.push(&order.progress);
            columns.event_id.push(order.event_id);
            columns.traceparent.push(order.traceparent.as_deref());
            columns.at.push(order.at);
            let link = order.audit.link(EntityType::Order, order.id, OrderState::PendingPayment.as_str(), order.at);
            columns.audit.push(&order.audit, link);
            columns.keys.push(order.idempotency.as_ref());
            for (line_no, item) in (1..).zip(&order.items) {
                columns.items.push(order.id, line_no, item);
            }
        }
        columns
    }
}

impl<'a> ItemColumns<'a> {
    fn push(&mut self, order_id: Uuid, line_no: i32, item: &'a NewOrderItem) {
        self.id.push(item.id);
        self.order_id.push(order_id);
        self.line_no.push(line_no);
        self.sku.push(item.sku.as_str());
        self.title.push(&item.title);
        self.quantity.push(item.quantity);
        self.unit_price_minor.push(item.unit_price_minor);
        self.paid_minor.push(item.paid_minor);
        self.shipping_minor.push(item.shipping_minor);
    }
}

/// Inserts a batch of orders: all of it commits, or none. Returns one outcome per order, in the same order.
#[expect(clippy::too_many_lines, reason = "it is one statement")]
pub(crate) async fn insert_orders(conn: &mut PgConnection, batch: &[NewOrder]) -> sqlx::Result<Vec<PlacementOutcome>> {
    let columns = Columns::of(batch);
    let rows = sqlx::query!(
        r#"
        with command as materialized (
            select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::jsonb[],
                                 $8::uuid[], $9::text[], $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::text[],
                                 $15::jsonb[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::bytea[],
                                 $33::bytea[], $34::bytea[])
                with ordinality as command (id, order_number, customer_id, currency, total_minor, document, progress,
                                            event_id, traceparent, at, actor, actor_type, trigger, reason, metadata, ip_address,
                                            request_id, trace_id, caller, route, key, request_hash, salt, digest, n)
        ), known as materialized (
            select n, answer.request_hash, answer.status, answer.version, answer.entity_id,
                   command.whole(entity.document, answer.progress, answer.state, answer.version) as body
            from command join command.idempotency_keys as answer using (caller, route, key)
            join command.orders as entity on entity.id = answer.entity_id
        ), placed as (
            insert into command.orders
                (id, order_number, customer_id, state, version, currency, total_minor, document, progress, created_at, updated_at, link,
                 link_version)
            select id, order_number, customer_id, 'PENDING_PAYMENT', 1, currency, total_minor, document::json, progress, at, at,
                   sha256(digest), 1
            from command where not exists (select from known where known.n = command.n)
            order by order_number
            on conflict (order_number) do nothing
            returning id
        ), listed as (
            insert into command.order_items
                (id, order_id, line_no, sku, title, quantity, unit_price_minor, paid_minor, shipping_minor)
            select item.*
            from unnest($23::uuid[], $24::uuid[], $25::int[], $26::text[], $27::text[], $28::int[], $29::bigint[], $30::bigint[],
                        $31::bigint[])
                as item (id, order_id, line_no, sku, title, quantity, unit_price_minor, paid_minor, shipping_minor)
            join placed on placed.id = item.order_id
        ), created as materialized (
            select command.* from command join placed using (id) order by n
        ), audited as materialized (
            select command.append_transitions(array_agg(row(
                       'order', id, 1, null, 'PENDING_PAYMENT', actor, actor_type, trigger, reason, metadata, ip_address::inet,
                       request_id, trace_id, at, salt, digest)::command.new_transition))
            from created
        ), published as materialized (
            select messaging.append_events('order', array_agg(event_id), array_agg(id), array_agg(1), array_agg($32::text),
                       array_agg(progress), array_agg(traceparent), array_agg(at))
            from created
        ), remembered as (
            insert into command.idempotency_keys
                (caller, route, key, request_hash, entity_type, entity_id, status, state, version, progress, created_at)
            select caller, route, key, request_hash, 'order', id, 201, 'PENDING_PAYMENT', 1, progress, at
            from created where key is not null
        )
        select case when placed.id is not null then command.progress::text end as progress, known.request_hash as "known_hash?", known.status as "known_status?",
               known.version as "known_version?", known.body as known_body, known.entity_id as "known_id?"
        from command cross join audited cross join published
        left join placed using (id) left join known using (n)
        order by n
        "#,
        &columns.id,
        &columns.order_number as _,
        &columns.customer_id as _,
        &columns.currency as _,
        &columns.total_minor,
        &columns.document as _,
        &columns.progress as _,
        &columns.event_id,
        &columns.traceparent as _,
        &columns.at,
        &columns.audit.actor as _,
        &columns.audit.actor_type as _,
        &columns.audit.trigger as _,
        &columns.audit.reason as _,
        &columns.audit.metadata as _,
        &columns.audit.ip_address as _,
        &columns.audit.request_id as _,
        &columns.audit.trace_id as _,
        &columns.keys.caller as _,
        &columns.keys.route as _,
        &columns.keys.key as _,
        &columns.keys.request_hash as _,
        &columns.items.id,
        &columns.items.order_id,
        &columns.items.line_no,
        &columns.items.sku as _,
        &columns.items.title as _,
        &columns.items.quantity,
        &columns.items.unit_price_minor,
        &columns.items.paid_minor,
        &columns.items.shipping_minor,
        EventType::OrderCreated.as_str(),
        &columns.audit.salt as _,
        &columns.audit.digest as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            match (row.progress, row.known_hash, row.known_status, row.known_version, row.known_body, row.known_id) {
                (Some(progress), ..) => PlacementOutcome::Placed { progress },
                (None, Some(request_hash), Some(status), Some(version), Some(body), Some(entity_id)) => {
                    PlacementOutcome::Known(KnownAnswer { request_hash, status, version, body, entity_id })
                }
                _ => PlacementOutcome::NumberTaken,
            }
        })
        .collect())
}
