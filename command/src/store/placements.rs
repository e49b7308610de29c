//! A batch of new orders, in one statement.

use chrono::{DateTime, Utc};
use contracts::{CustomerId, EventType, Headers, OrderNumber, Sku};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::idempotency_keys::{KeyColumns, KnownAnswer};
use crate::idempotency::KeyedRequest;

/// An order to insert.
#[derive(Debug)]
pub(crate) struct NewOrder {
    pub(crate) id: Uuid,
    pub(crate) order_number: OrderNumber,
    pub(crate) customer_id: CustomerId,
    pub(crate) currency: String,
    pub(crate) total_minor: i64,
    /// The document as it was placed, state and version included. It never changes, and it is the first answer.
    pub(crate) document: Value,
    pub(crate) items: Vec<NewOrderItem>,
    /// The audit row, without version and `from_state`.
    pub(crate) transition: Value,
    pub(crate) event_id: Uuid,
    pub(crate) headers: Headers,
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
    /// Committed.
    Placed { document: String },
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
    document: Vec<&'a Value>,
    transition: Vec<&'a Value>,
    event_id: Vec<Uuid>,
    headers: Vec<Json<&'a Headers>>,
    at: Vec<DateTime<Utc>>,
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
            columns.transition.push(&order.transition);
            columns.event_id.push(order.event_id);
            columns.headers.push(Json(&order.headers));
            columns.at.push(order.at);
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
pub(crate) async fn insert_orders(conn: &mut PgConnection, batch: &[NewOrder]) -> sqlx::Result<Vec<PlacementOutcome>> {
    let columns = Columns::of(batch);
    let rows = sqlx::query!(
        r#"
        with command as materialized (
            select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::jsonb[], $7::jsonb[],
                                 $8::uuid[], $9::jsonb[], $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::bytea[])
                with ordinality as command (id, order_number, customer_id, currency, total_minor, document, transition,
                                            event_id, headers, at, caller, route, key, request_hash, n)
        ), known as materialized (
            select n, answer.request_hash, status, response, entity_id
            from command join command.idempotency_keys as answer using (caller, route, key)
        ), placed as (
            insert into command.orders
                (id, order_number, customer_id, state, version, currency, total_minor, document, created_at, updated_at)
            select id, order_number, customer_id, 'PENDING_PAYMENT', 1, currency, total_minor, document, at, at
            from command where not exists (select from known where known.n = command.n)
            order by order_number
            on conflict (order_number) do nothing
            returning id
        ), listed as (
            insert into command.order_items
                (id, order_id, line_no, sku, title, quantity, unit_price_minor, paid_minor, shipping_minor)
            select item.*
            from unnest($15::uuid[], $16::uuid[], $17::int[], $18::text[], $19::text[], $20::int[], $21::bigint[], $22::bigint[],
                        $23::bigint[])
                as item (id, order_id, line_no, sku, title, quantity, unit_price_minor, paid_minor, shipping_minor)
            join placed on placed.id = item.order_id
        ), created as materialized (
            select event_id, id, document, headers, at,
                   transition || jsonb_build_object('version', 1, 'from_state', null) as step
            from command join placed using (id)
            order by n
        ), audited as materialized (
            select command.append_transitions(array_agg(step)) from created
        ), published as materialized (
            select messaging.append_events('order', array_agg(event_id), array_agg(id), array_agg(1), array_agg($24::text),
                       array_agg(jsonb_build_object('snapshot', document, 'transition', step)),
                       array_agg(headers), array_agg(at))
            from created
        ), remembered as (
            insert into command.idempotency_keys
                (caller, route, key, request_hash, entity_type, entity_id, status, response, created_at)
            select caller, route, key, request_hash, 'order', id, 201, document, at
            from command join placed using (id) where key is not null
        )
        select case when placed.id is not null then command.document::text end as body,
               known.request_hash as "known_hash?", known.status as "known_status?",
               known.response::text as known_body, known.entity_id as "known_id?"
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
        &columns.transition as _,
        &columns.event_id,
        &columns.headers as _,
        &columns.at,
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
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| match (row.body, row.known_hash, row.known_status, row.known_body, row.known_id) {
            (Some(document), ..) => PlacementOutcome::Placed { document },
            (None, Some(request_hash), Some(status), Some(body), Some(entity_id)) => {
                PlacementOutcome::Known(KnownAnswer { request_hash, status, body, entity_id })
            }
            _ => PlacementOutcome::NumberTaken,
        })
        .collect())
}
