//! A slice of new orders, in one statement.

use chrono::{DateTime, Utc};
use contracts::{EventType, Headers};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{KeyColumns, KnownAnswer};
use crate::intent::IdempotencyKey;
use crate::lanes::Slices;

/// An order to be inserted.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(crate) id: Uuid,
    pub(crate) order_number: String,
    pub(crate) customer_id: String,
    pub(crate) currency: String,
    pub(crate) total_minor: i64,
    /// The frozen part of the order, state and version included: it is also the first answer.
    pub(crate) document: Value,
    pub(crate) items: Vec<PlacementItem>,
    /// The audit row, without version and `from_state`.
    pub(crate) transition: Value,
    pub(crate) event_id: Uuid,
    pub(crate) headers: Headers,
    pub(crate) at: DateTime<Utc>,
    pub(crate) idempotency: Option<IdempotencyKey>,
}

/// One line of it.
#[derive(Debug)]
pub(crate) struct PlacementItem {
    pub(crate) id: Uuid,
    pub(crate) sku: String,
    pub(crate) title: String,
    pub(crate) quantity: i32,
    pub(crate) unit_price_minor: i64,
    pub(crate) paid_minor: i64,
    pub(crate) shipping_minor: i64,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum PlacementOutcome {
    Placed { body: String },
    NumberTaken,
    Known(KnownAnswer),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Placements;

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
    fn of(slice: &'a [Placement]) -> Self {
        let mut columns = Self::default();
        for order in slice {
            columns.id.push(order.id);
            columns.order_number.push(&order.order_number);
            columns.customer_id.push(&order.customer_id);
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
    fn push(&mut self, order_id: Uuid, line_no: i32, item: &'a PlacementItem) {
        self.id.push(item.id);
        self.order_id.push(order_id);
        self.line_no.push(line_no);
        self.sku.push(&item.sku);
        self.title.push(&item.title);
        self.quantity.push(item.quantity);
        self.unit_price_minor.push(item.unit_price_minor);
        self.paid_minor.push(item.paid_minor);
        self.shipping_minor.push(item.shipping_minor);
    }
}

impl Slices for Placements {
    type Command = Placement;
    type Outcome = PlacementOutcome;
    type Key = (Option<IdempotencyKey>, Option<Uuid>);
    const NAME: &'static str = "placements";

    /// The same key of the same caller must meet in one lane, one after the other; other orders share nothing.
    fn key(command: &Placement) -> Self::Key {
        let key = command.idempotency.clone();
        let id = key.is_none().then_some(command.id);
        (key, id)
    }

    fn aggregate(command: &Placement) -> Uuid {
        command.id
    }

    async fn execute(conn: &mut PgConnection, slice: &[Placement]) -> sqlx::Result<Vec<PlacementOutcome>> {
        let columns = Columns::of(slice);
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
                returning id, document
            ), listed as (
                insert into command.order_items
                    (id, order_id, line_no, sku, title, quantity, unit_price_minor, paid_minor, shipping_minor)
                select item.*
                from unnest($15::uuid[], $16::uuid[], $17::int[], $18::text[], $19::text[], $20::int[], $21::bigint[], $22::bigint[],
                            $24::bigint[])
                    as item (id, order_id, line_no, sku, title, quantity, unit_price_minor, paid_minor, shipping_minor)
                join placed on placed.id = item.order_id
            ), created as materialized (
                select event_id, id, command.document, headers, at,
                       transition || jsonb_build_object('version', 1, 'from_state', null) as step
                from command join placed using (id)
                order by n
            ), audited as materialized (
                select command.append_transitions(array_agg(step)) from created
            ), published as materialized (
                select messaging.append_events('order', array_agg(event_id), array_agg(id), array_agg(1), array_agg($23::text),
                           array_agg(jsonb_build_object('snapshot', document, 'transition', step)),
                           array_agg(headers), array_agg(at))
                from created
            ), remembered as (
                insert into command.idempotency_keys
                    (caller, route, key, request_hash, entity_type, entity_id, status, response, created_at)
                select caller, route, key, request_hash, 'order', id, 201, command.document, at
                from command join placed using (id) where key is not null
            )
            select placed.document::text as body, known.request_hash as "known_hash?", known.status as "known_status?",
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
            EventType::OrderCreated.as_str(),
            &columns.items.shipping_minor,
        )
        .fetch_all(conn)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| match (row.body, row.known_hash, row.known_status, row.known_body, row.known_id) {
                (Some(body), ..) => PlacementOutcome::Placed { body },
                (None, Some(request_hash), Some(status), Some(body), Some(entity_id)) => {
                    PlacementOutcome::Known(KnownAnswer { request_hash, status, body, entity_id })
                }
                _ => PlacementOutcome::NumberTaken,
            })
            .collect())
    }

    fn changed(outcome: &PlacementOutcome) -> bool {
        matches!(outcome, PlacementOutcome::Placed { .. })
    }
}
