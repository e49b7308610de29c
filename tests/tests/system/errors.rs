//! Bad input: always the error shape, never a 5xx, and nothing written.

mod bodies;
mod orders;
mod returns;
mod routes;

use std::collections::BTreeMap;

use anyhow::Result;
use contracts::{OrderState, ReturnState};
use reqwest::Method;
use serde_json::{Value, json};
use standalone::Part;
use tests::{Answer, System, books, shop};
use uuid::Uuid;

const JSON: Option<&str> = Some("application/json");

/// A system with orders and a return, and its row counts before the bad requests.
struct Shop {
    system: System,
    order: Uuid,
    item: Uuid,
    other_item: Uuid,
    unpaid: Uuid,
    returned: Uuid,
    rows: BTreeMap<&'static str, i64>,
}

impl Shop {
    async fn open() -> Result<Self> {
        let system = System::start(|options| options.parts = vec![Part::Command, Part::Query]).await?;
        let order = shop::order_in(&system.api, OrderState::Delivered).await?;
        let other = shop::order_in(&system.api, OrderState::Delivered).await?;
        let unpaid = shop::order_in(&system.api, OrderState::PendingPayment).await?.id;
        let returned = shop::return_in(&system.api, ReturnState::Requested).await?.id;
        let rows = books::row_counts(&system.database.pool).await?;
        let (item, other_item) = (order.items[0].id, other.items[0].id);
        Ok(Self { system, order: order.id, item, other_item, unpaid, returned, rows })
    }

    /// Every command endpoint, with a body that it accepts.
    fn commands(&self) -> Vec<(Method, String, Value)> {
        let reason = json!({ "reason": "As agreed" });
        let post = |path: String, body: &Value| (Method::POST, path, body.clone());
        let mut all = vec![
            post("/orders".into(), &shop::order()),
            post("/returns".into(), &self.return_of(self.item, &json!(1))),
        ];
        for step in ["pay", "processing", "ship", "deliver", "cancel"] {
            all.push(post(format!("/orders/{}/{step}", self.unpaid), &reason));
        }
        for step in ["approve", "reject", "withdraw", "in-transit", "received", "complete"] {
            let body = if step == "reject" {
                json!({ "rejection_reason": "Worn", "rejection_category": "WORN" })
            } else {
                reason.clone()
            };
            all.push(post(format!("/returns/{}/{step}", self.returned), &body));
        }
        all.push((Method::PATCH, format!("/orders/{}", self.unpaid), json!({})));
        all.push((Method::PATCH, format!("/returns/{}", self.returned), json!({})));
        all.push((Method::PATCH, format!("/orders/{}/state", self.unpaid), json!({ "new_state": "PAID" })));
        all.push((Method::PATCH, format!("/returns/{}/state", self.returned), json!({ "new_state": "APPROVED" })));
        all
    }

    fn return_of(&self, item: Uuid, quantity: &Value) -> Value {
        json!({ "order_id": self.order, "items": [{ "order_item_id": item, "quantity": quantity }] })
    }

    async fn send(&self, method: &Method, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Result<Answer> {
        self.system.api.call(method.clone(), path).body(content_type, body).send().await
    }

    async fn send_json(&self, method: &Method, path: &str, body: &Value) -> Result<Answer> {
        self.send(method, path, JSON, serde_json::to_vec(body)?).await
    }

    /// Asserts that the refused request wrote nothing.
    async fn assert_unchanged(&self, what: &str) -> Result<()> {
        assert_eq!(books::row_counts(&self.system.database.pool).await?, self.rows, "{what} has written something");
        Ok(())
    }
}

/// `object` with a value set at the dotted path.
fn with(object: &Value, path: &str, value: Value) -> Value {
    let mut object = object.clone();
    let pointer = format!("/{}", path.replace('.', "/"));
    if let Some(place) = object.pointer_mut(&pointer) {
        *place = value;
    } else {
        let (parent, name) = pointer.rsplit_once('/').expect("a slash");
        object.pointer_mut(parent).expect("the parent")[name] = value;
    }
    object
}

/// `object` without the member at the dotted path.
fn without(object: &Value, path: &str) -> Value {
    let mut object = object.clone();
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = if parent.is_empty() { String::new() } else { format!("/{}", parent.replace('.', "/")) };
    object.pointer_mut(&parent).and_then(Value::as_object_mut).expect("the parent").remove(name).expect("the member");
    object
}
