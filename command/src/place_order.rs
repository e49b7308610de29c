//! A new order: number, price, document.

mod pricing;
mod document;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::{
    Address, CustomerId, Email, EntityType, Hsn, OrderDocument, OrderNumber, OrderState, Sku, day_in_india,
};
use runtime::ApiError;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use pricing::{Draft, DraftItem, Price};

use crate::App;
use crate::batcher::Batched;
use crate::context::CommandContext;
use crate::document::{frozen, whole};
use crate::idempotency::KeyedRequest;
use crate::outcome::Outcome;
use crate::store::{self, NewOrder, NewOrderItem, PlacementOutcome};

/// A generated order number ends in 40 random bits. If it is taken all the same, another one is generated.
const NUMBER_ATTEMPTS: usize = 3;

/// The command: place this order. All of it is valid.
#[derive(Debug)]
pub(crate) struct PlaceOrder {
    /// Generated when absent.
    pub(crate) order_number: Option<OrderNumber>,
    pub(crate) customer_id: CustomerId,
    pub(crate) customer_email: Option<Email>,
    /// ISO 4217.
    pub(crate) currency: String,
    pub(crate) payment_method: Option<String>,
    pub(crate) shipping_address: Option<Address>,
    pub(crate) billing_address: Option<Address>,
    pub(crate) items: Vec<PlaceItem>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tags: Vec<String>,
    pub(crate) price: Price,
}

/// A line of a new order.
#[derive(Debug)]
pub(crate) struct PlaceItem {
    pub(crate) sku: Sku,
    pub(crate) title: String,
    pub(crate) quantity: i64,
    pub(crate) unit_price_minor: i64,
    pub(crate) hsn: Option<Hsn>,
}

/// New orders, as a kind of command with batches.
#[derive(Debug)]
pub(crate) struct Placements;

impl Batched for Placements {
    type Command = NewOrder;
    type Outcome = PlacementOutcome;
    type Key = (Option<KeyedRequest>, Option<Uuid>);
    const NAME: &'static str = "placements";

    /// Requests with the same idempotency key must wait for each other; other orders have nothing in common.
    fn key(command: &NewOrder) -> Self::Key {
        let request = command.idempotency.clone();
        let id = request.is_none().then_some(command.id);
        (request, id)
    }

    fn aggregate(command: &NewOrder) -> Uuid {
        command.id
    }

    async fn execute(conn: &mut PgConnection, batch: &[NewOrder]) -> sqlx::Result<Vec<PlacementOutcome>> {
        store::insert_orders(conn, batch).await
    }

    fn changed(outcome: &PlacementOutcome) -> bool {
        matches!(outcome, PlacementOutcome::Placed { .. })
    }

    /// A new order has no row that another transaction could hold.
    fn blocked(_: &PlacementOutcome) -> bool {
        false
    }
}

/// Places an order.
///
/// # Errors
/// 409 when another order has the number.
pub(crate) async fn place(app: &App, context: &CommandContext, order: PlaceOrder) -> Result<Outcome, ApiError> {
    let in_flight = app.in_flight.enter(context.idempotency.as_ref())?;
    let attempts = match (&order.order_number, &context.idempotency) {
        (None, _) => NUMBER_ATTEMPTS,
        // The same request may have taken the number a moment ago in another process. A second look finds its answer.
        (Some(_), Some(_)) => 2,
        (Some(_), None) => 1,
    };
    for _ in 0..attempts {
        let id = app.ids.next();
        let number = order.order_number.clone().unwrap_or_else(|| generated_number(id, context.at));
        let document = order.document(id, number, &app.ids, context.at);
        let new = new_order(app, context, &document)?;
        let frozen = new.document.clone();
        match app.placements.execute(new).await? {
            PlacementOutcome::Placed { progress } => {
                let answer = whole(&frozen, &progress, OrderState::PendingPayment.as_str(), 1);
                return Ok(Outcome::created(EntityType::Order, id, answer));
            }
            PlacementOutcome::Known(known) => {
                return Outcome::replayed(known, context.idempotency.as_ref(), EntityType::Order);
            }
            PlacementOutcome::NumberTaken => {}
        }
    }
    drop(in_flight);
    let number = order.order_number.as_ref().map_or("", OrderNumber::as_str);
    Err(ApiError::conflict(
        "ORDER_NUMBER_EXISTS",
        format!("there is an order with the number {number:?}; choose another"),
    )
    .with_details(json!({ "order_number": number })))
}

/// `AC-20261121-7K3M9QXP`: the day in India, and the id's last 40 bits in Crockford's base 32.
fn generated_number(id: Uuid, at: DateTime<Utc>) -> OrderNumber {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let bits = id.as_u128();
    let tail: String = (0..8).rev().map(|place| char::from(ALPHABET[(bits >> (5 * place)) as usize & 31])).collect();
    let number = format!("AC-{}-{tail}", day_in_india(at).format("%Y%m%d"));
    OrderNumber::parse(&number).expect("letters, digits and hyphens")
}

/// The rows of an order.
fn new_order(app: &App, context: &CommandContext, order: &OrderDocument) -> Result<NewOrder, ApiError> {
    let items = order.items.iter().map(|item| NewOrderItem {
        id: item.id,
        sku: item.sku.clone(),
        title: item.title.clone(),
        quantity: item.quantity,
        unit_price_minor: item.unit_price_minor,
        paid_minor: item.paid_minor,
        shipping_minor: item.shipping_minor,
    });
    Ok(NewOrder {
        id: order.id,
        order_number: order.order_number.clone(),
        customer_id: order.customer_id.clone(),
        currency: order.currency.clone(),
        total_minor: order.total_minor,
        document: frozen(order, &["metadata", "tags"])?,
        progress: progress(order, context.at),
        items: items.collect(),
        audit: context.audit_row(json!({})),
        event_id: app.ids.next(),
        traceparent: context.traceparent.clone(),
        at: context.at,
        idempotency: context.idempotency.clone(),
    })
}

/// What a later step may change of a new order.
fn progress(order: &OrderDocument, at: DateTime<Utc>) -> Value {
    let mut progress = json!({ "updated_at": at });
    if !order.metadata.is_empty() {
        progress["metadata"] = json!(order.metadata);
    }
    if !order.tags.is_empty() {
        progress["tags"] = json!(order.tags);
    }
    progress
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn generated_numbers_are_short_and_differ() {
        let ids = runtime::Ids::system();
        let numbers: HashSet<_> = (0..10_000).map(|_| generated_number(ids.next(), DateTime::UNIX_EPOCH)).collect();
        assert_eq!(numbers.len(), 10_000);
        assert!(
            numbers.iter().all(|number| number.as_str().len() == 20 && number.as_str().starts_with("AC-19700101-"))
        );
    }

    #[test]
    fn an_order_after_midnight_in_india_has_the_day_of_its_invoice() {
        let at = |time: &str| DateTime::parse_from_rfc3339(time).expect("a time").to_utc();
        for (placed, day) in [("2026-11-28T18:29:59Z", "AC-20261128-"), ("2026-11-28T18:30:00Z", "AC-20261129-")] {
            let number = generated_number(Uuid::nil(), at(placed));
            assert!(number.as_str().starts_with(day), "{placed}: {number}");
        }
    }
}
