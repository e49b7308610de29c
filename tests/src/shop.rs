//! Orders and returns in any state. Real commands bring them there.

use anyhow::Result;
use contracts::{OrderDocument, OrderState, ReturnDocument, ReturnState};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Answer, Api};

/// An order with two lines: three units and one unit.
pub fn order() -> Value {
    order_of(&[(3, 125_000), (1, 4_999_900)])
}

/// An order with this name in every field that is about a person.
pub fn order_of_person(name: &str) -> Value {
    let mut order = order();
    order["customer_email"] = json!(format!("{name}@example.com"));
    order["shipping_address"] = json!({ "name": format!("Asha {name}"), "line1": format!("14, {name} Road"), "city": name,
                                        "state": "KA", "postal_code": "560001", "phone": name });
    order["billing_address"] = order["shipping_address"].clone();
    order
}

/// An order with one line per (quantity, unit price).
pub fn order_of(lines: &[(i64, i64)]) -> Value {
    let items: Vec<_> = (1..)
        .zip(lines)
        .map(|(line, (quantity, price))| {
            json!({ "sku": format!("JBP-{line:03}"), "title": format!("Blue pottery bowl no. {line}"),
                    "quantity": quantity, "unit_price_minor": price, "hsn": "6912", "gst_rate": 12.0 })
        })
        .collect();
    json!({ "customer_id": "cust-1", "customer_email": "meera@example.com", "items": items })
}

pub async fn place(api: &Api, body: &Value) -> Result<OrderDocument> {
    Ok(api.post("/orders", body).await?.expect(201).order())
}

/// POSTs `/orders/{id}/{step}`.
pub async fn step(api: &Api, order: Uuid, step: &str) -> Result<Answer> {
    api.post(&format!("/orders/{order}/{step}"), &json!({})).await
}

/// POSTs `/returns/{id}/{step}`, with the body that a rejection requires.
pub async fn return_step(api: &Api, id: Uuid, step: &str) -> Result<Answer> {
    api.post(&format!("/returns/{id}/{step}"), &return_step_body(step)).await
}

/// The body of a return's step.
pub fn return_step_body(step: &str) -> Value {
    match step {
        "reject" => json!({ "rejection_category": "WORN", "rejection_reason": "The glaze is scratched." }),
        _ => json!({}),
    }
}

/// Places an order and takes it to a state.
pub async fn order_in(api: &Api, state: OrderState) -> Result<OrderDocument> {
    bring(api, place(api, &order()).await?, state).await
}

/// Places orders with four events each.
pub async fn sell(api: &Api, orders: usize) -> Result<()> {
    for sold in (0..orders).step_by(20) {
        try_join_all((sold..orders.min(sold + 20)).map(|_| order_in(api, OrderState::Shipped))).await?;
    }
    Ok(())
}

/// Takes a new order to a state.
pub async fn bring(api: &Api, mut order: OrderDocument, state: OrderState) -> Result<OrderDocument> {
    let steps: &[&str] = match state {
        OrderState::PendingPayment => &[],
        OrderState::Paid => &["pay"],
        OrderState::ProcessingInWarehouse => &["pay", "processing"],
        OrderState::Shipped => &["pay", "processing", "ship"],
        OrderState::Delivered => &["pay", "processing", "ship", "deliver"],
        OrderState::Cancelled => &["cancel"],
    };
    for name in steps {
        order = step(api, order.id, name).await?.expect(200).order();
    }
    assert_eq!(order.state, state);
    Ok(order)
}

/// The body of a return request for some units of one line.
pub fn return_of(order: &OrderDocument, line: usize, quantity: i64) -> Value {
    json!({ "order_id": order.id, "reason": "Smaller than expected",
            "items": [{ "order_item_id": order.items[line].id, "quantity": quantity }] })
}

pub async fn request_return(api: &Api, order: &OrderDocument, line: usize, quantity: i64) -> Result<ReturnDocument> {
    Ok(api.post("/returns", &return_of(order, line, quantity)).await?.expect(201).returned())
}

/// Requests a return of one unit of a new order and takes it to a state.
pub async fn return_in(api: &Api, state: ReturnState) -> Result<ReturnDocument> {
    let order = order_in(api, OrderState::Delivered).await?;
    let returned = request_return(api, &order, 0, 1).await?;
    bring_return(api, returned, state).await
}

/// Takes a new return to a state.
pub async fn bring_return(api: &Api, mut returned: ReturnDocument, state: ReturnState) -> Result<ReturnDocument> {
    let steps: &[&str] = match state {
        ReturnState::Requested => &[],
        ReturnState::Approved => &["approve"],
        ReturnState::Rejected => &["reject"],
        ReturnState::InTransit => &["approve", "in-transit"],
        ReturnState::Received => &["approve", "in-transit", "received"],
        ReturnState::Completed => &["approve", "in-transit", "received", "complete"],
    };
    for name in steps {
        returned = return_step(api, returned.id, name).await?.expect(200).returned();
    }
    assert_eq!(returned.state, state);
    Ok(returned)
}
