//! Returns that are not allowed, and rejections without a reason.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Shop, with};

fn entry(item: Uuid, quantity: i64) -> Value {
    json!({ "order_item_id": item, "quantity": quantity })
}

impl Shop {
    fn several(&self, entries: &[Value]) -> Value {
        json!({ "order_id": self.order, "items": entries })
    }

    /// Bad requests, and the details of their errors.
    fn returns_not_allowed(&self) -> Vec<(Value, Value)> {
        let unknown = Uuid::from_u128(1);
        vec![
            (self.several(&[]), json!({ "reason": "NO_ITEMS" })),
            (json!({ "order_id": self.order }), json!({ "reason": "NO_ITEMS" })),
            (
                json!({ "order_id": self.unpaid, "items": [entry(self.item, 1)] }),
                json!({ "reason": "ORDER_NOT_DELIVERED", "current_state": "PENDING_PAYMENT" }),
            ),
            (self.several(&[entry(unknown, 1)]), json!({ "reason": "UNKNOWN_ITEM", "item_ids": [unknown] })),
            (
                self.several(&[entry(self.other_item, 1)]),
                json!({ "reason": "ITEM_NOT_IN_ORDER", "item_ids": [self.other_item] }),
            ),
            (
                self.several(&[entry(self.item, 4)]),
                json!({ "reason": "QUANTITY_EXCEEDS_RETURNABLE", "item_ids": [self.item],
                    "items": [{ "order_item_id": self.item, "requested": 4, "returnable": 3 }] }),
            ),
            (
                self.several(&[entry(self.item, 2), entry(self.item, 2)]),
                json!({ "reason": "QUANTITY_EXCEEDS_RETURNABLE", "item_ids": [self.item],
                    "items": [{ "order_item_id": self.item, "requested": 4, "returnable": 3 }] }),
            ),
        ]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_return_that_is_not_allowed_is_refused() -> Result<()> {
    let shop = Shop::open().await?;
    for (body, details) in shop.returns_not_allowed() {
        let answer = shop.send_json(&Method::POST, "/returns", &body).await?;
        assert_eq!(answer.refused(400, "RETURN_NOT_ALLOWED").details, details, "{body}");
        shop.assert_unchanged(&body.to_string()).await?;
    }
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_return_is_requested_with_a_bad_member() -> Result<()> {
    let shop = Shop::open().await?;
    let good = shop.return_of(shop.item, &json!(1));
    for quantity in
        [json!(0), json!(-1), json!(100_001), json!(i64::MAX), json!(u64::MAX), json!(0.5), json!("1"), json!(null)]
    {
        let body = shop.return_of(shop.item, &quantity);
        shop.send_json(&Method::POST, "/returns", &body).await?.refused(422, "VALIDATION_FAILED");
        shop.assert_unchanged(&quantity.to_string()).await?;
    }
    let many: Vec<_> = (0..501).map(|_| entry(shop.item, 1)).collect();
    for (path, value) in [
        ("order_id", json!("AC-1")),
        ("order_id", json!(null)),
        ("items", json!("all")),
        ("items", json!(many)),
        ("items.0.order_item_id", json!("first")),
        ("items.0.reason", json!("x".repeat(1001))),
        ("items.0.colour", json!("blue")),
    ] {
        shop.send_json(&Method::POST, "/returns", &with(&good, path, value)).await?.refused(422, "VALIDATION_FAILED");
        shop.assert_unchanged(path).await?;
    }
    let nowhere = with(&good, "order_id", json!(Uuid::from_u128(1)));
    shop.send_json(&Method::POST, "/returns", &nowhere).await?.refused(404, "ORDER_NOT_FOUND");
    shop.assert_unchanged("a return of no order").await?;
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incomplete_request_changes_no_state() -> Result<()> {
    let shop = Shop::open().await?;
    // A rejection requires both, and the error names what is missing.
    let reject = format!("/returns/{}/reject", shop.returned);
    for body in [
        json!({}),
        json!({ "rejection_reason": "Worn" }),
        json!({ "rejection_category": "WORN" }),
        json!({ "rejection_category": "", "rejection_reason": "" }),
    ] {
        shop.send_json(&Method::POST, &reject, &body).await?.refused(422, "VALIDATION_FAILED");
    }
    let patch = format!("/returns/{}/state", shop.returned);
    for body in [
        json!({}),
        json!({ "new_state": "REJECTED" }),
        json!({ "new_state": "EATEN" }),
        json!({ "new_state": "approved" }),
    ] {
        shop.send_json(&Method::PATCH, &patch, &body).await?.refused(422, "VALIDATION_FAILED");
    }
    let patch = format!("/orders/{}/state", shop.unpaid);
    for body in [json!({}), json!({ "new_state": "APPROVED" }), json!({ "new_state": 3 })] {
        shop.send_json(&Method::PATCH, &patch, &body).await?.refused(422, "VALIDATION_FAILED");
    }
    shop.assert_unchanged("an incomplete rejection").await?;
    shop.system.finish().await
}
