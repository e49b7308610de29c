//! Commands beside the steps: quotes, previews, steps of several orders, changes of an order, notes.

use anyhow::Result;
use contracts::OrderState;
use reqwest::Method;
use serde_json::{Value, json};
use tests::waiting::SOON;
use tests::{System, books, eventually, shop};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quote_costs_what_the_order_costs_and_writes_nothing() -> Result<()> {
    let system = System::start(|options| {
        options.command.supplier_gstin = command::Gstin::parse("29AAHCM7727Q1ZI").ok();
    })
    .await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let mut body = json!({
        "items": shop::order()["items"], "discount_minor": 12_345, "shipping_minor": 25_000,
        "shipping_address": { "name": "Asha Rao", "line1": "1 Residency Road", "city": "Bengaluru", "state": "KA", "postal_code": "560001" },
    });
    let quote = api.post("/orders/quote", &body).await?.expect(200).json();
    let rows: i64 = sqlx::query_scalar("select count(*) from command.orders").fetch_one(pool).await?;
    assert_eq!(rows, 0);
    body["customer_id"] = json!("cust-1");
    let order = api.post("/orders", &body).await?.expect(201).json();
    for member in
        ["currency", "subtotal_minor", "discount_minor", "shipping_minor", "tax_minor", "total_minor", "tax_terms"]
    {
        assert_eq!(quote[member], order[member], "{member}");
    }
    for (quoted, ordered) in
        quote["items"].as_array().into_iter().flatten().zip(order["items"].as_array().into_iter().flatten())
    {
        for member in
            ["sku", "quantity", "gst_rate", "discount_minor", "paid_minor", "tax", "shipping_minor", "shipping_tax"]
        {
            assert_eq!(quoted[member], ordered[member], "{member}");
        }
        assert!(quoted.get("id").is_none());
    }
    let wrong = json!({ "items": [{ "sku": "", "title": "x", "quantity": 0, "unit_price_minor": 1 }] });
    let refused = api.post("/orders/quote", &wrong).await?.refused(422, "VALIDATION_FAILED");
    assert!(refused.details["fields"].as_array().is_some_and(|fields| fields.len() >= 2), "{}", refused.details);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_says_what_the_return_will_say() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let order = shop::order_in(api, OrderState::Shipped).await?;
    let ask = |body: Value| async move { anyhow::Ok(api.post("/returns/preview", &body).await?.expect(200).json()) };
    let early = ask(json!({ "order_id": order.id })).await?;
    assert_eq!((&early["eligible"], &early["reason"]), (&json!(false), &json!("ORDER_NOT_DELIVERED")));
    assert!(early.get("last_day").is_none());

    shop::step(api, order.id, "deliver").await?.expect(200);
    let all = ask(json!({ "order_id": order.id })).await?;
    assert_eq!(all["eligible"], true);
    assert_eq!((&all["items"][0]["quantity"], &all["items"][1]["quantity"]), (&json!(3), &json!(1)));
    assert_eq!(all["refund_amount_minor"], order.total_minor);
    assert!(all["last_day"].is_string());

    let wanted = json!([{ "order_item_id": order.items[0].id, "quantity": 2 }]);
    let some = ask(json!({ "order_id": order.id, "items": wanted })).await?;
    let returned = shop::request_return(api, &order, 0, 2).await?;
    assert_eq!(some["refund_amount_minor"], returned.refund_amount_minor);
    assert_eq!(some["items"][0]["amount_minor"], returned.items[0].amount_minor);

    let refused = api
        .post("/returns", &json!({ "order_id": order.id, "items": wanted }))
        .await?
        .refused(400, "RETURN_NOT_ALLOWED");
    let mut too_many = ask(json!({ "order_id": order.id, "items": wanted })).await?;
    assert_eq!(too_many["message"], refused.message);
    too_many["details"]["reason"] = too_many["reason"].clone();
    assert_eq!(too_many["details"], refused.details);

    api.post("/returns/preview", &json!({ "order_id": Uuid::nil() })).await?.refused(404, "ORDER_NOT_FOUND");
    api.post("/returns/preview", &json!({ "order_id": order.id, "items": [] }))
        .await?
        .refused(422, "VALIDATION_FAILED");
    let returns: i64 = sqlx::query_scalar("select count(*) from command.returns").fetch_one(pool).await?;
    assert_eq!(returns, 1);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_several_orders_are_answered_one_by_one() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let api = &system.api;
    let mut orders = Vec::new();
    for _ in 0..40 {
        orders.push(shop::place(api, &shop::order()).await?.id);
    }
    // All are paid; the first is taken further in the same request, the second may not be, and the last does not exist.
    let mut steps: Vec<_> =
        orders.iter().map(|id| json!({ "order_id": id, "new_state": "PAID", "expected_version": 1 })).collect();
    steps.push(json!({ "order_id": orders[0], "new_state": "PROCESSING_IN_WAREHOUSE", "reason": "in a hurry" }));
    steps.push(
        json!({ "order_id": orders[0], "new_state": "SHIPPED", "carrier": "India Post", "tracking_number": "EE1IN" }),
    );
    steps.push(json!({ "order_id": orders[1], "new_state": "DELIVERED" }));
    steps.push(json!({ "order_id": orders[2], "new_state": "CANCELLED", "expected_version": 1 }));
    steps.push(json!({ "order_id": Uuid::nil(), "new_state": "PAID" }));
    let body = json!({ "transitions": steps, "actor": "warehouse", "reason": "morning run" });
    let send = || api.call(Method::POST, "/orders/transitions").header("idempotency-key", "run-1").json(&body).send();
    let first = send().await?.expect(200).json();
    assert_eq!((&first["succeeded"], &first["failed"]), (&json!(42), &json!(3)));
    let results = first["results"].as_array().cloned().unwrap_or_default();
    let status = |place: usize| (results[place]["status"].clone(), results[place]["error"]["code"].clone());
    assert!(results[..40].iter().all(|one| one["status"] == 200 && one["order"]["state"] == "PAID"), "{first}");
    assert_eq!(
        (&results[41]["order"]["state"], &results[41]["order"]["tracking_number"]),
        (&json!("SHIPPED"), &json!("EE1IN"))
    );
    assert_eq!(status(42), (json!(409), json!("INVALID_STATE_TRANSITION")));
    assert_eq!(status(43), (json!(412), json!("VERSION_MISMATCH")));
    assert_eq!(status(44), (json!(404), json!("ORDER_NOT_FOUND")));
    let token = results[41]["consistency_token"].as_str().unwrap_or_default();
    let history = api.read(&format!("/orders/{}/history", orders[0]), token).await?.expect(200).history();
    assert_eq!(history.len(), 4);
    assert_eq!((history[2].reason.as_deref(), history[3].reason.as_deref()), (Some("in a hurry"), Some("morning run")));
    assert!(history[1..].iter().all(|entry| entry.actor == "warehouse"));

    let again = send().await?.expect(200).json();
    assert_eq!(again["results"], first["results"], "no step is made twice");
    for (wrong, field) in [
        (json!({ "transitions": [] }), "transitions"),
        (
            json!({ "transitions": [{ "order_id": orders[0], "new_state": "PAID", "carrier": "x" }] }),
            "transitions[0].tracking_number",
        ),
        (json!({ "transitions": [{ "order_id": orders[0], "new_state": "EATEN" }] }), "transitions[0].new_state"),
    ] {
        let refused = api.post("/orders/transitions", &wrong).await?.refused(422, "VALIDATION_FAILED");
        assert_eq!(refused.details["fields"][0]["field"], field);
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_amended_by_a_merge_patch() -> Result<()> {
    let system = System::start(|options| {
        options.command.supplier_gstin = command::Gstin::parse("29AAHCM7727Q1ZI").ok();
    })
    .await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let mut body = shop::order();
    body["shipping_address"] = json!({ "name": "Asha Rao", "line1": "1 Residency Road", "city": "Bengaluru", "state": "KA", "postal_code": "560001", "landmark": "Church" });
    body["metadata"] = json!({ "cart": "c-17", "channel": "web" });
    body["tags"] = json!(["gift"]);
    let order = shop::place(api, &body).await?;
    assert_eq!((order.metadata["cart"].as_str(), order.tags.as_slice()), ("c-17", ["gift".to_owned()].as_slice()));
    let path = format!("/orders/{}", order.id);

    let wanted = json!({
        "customer_email": "asha@example.com", "tags": ["gift", "fragile"], "metadata": { "cart": null, "packer": "7" },
        "shipping_address": { "phone": "+91 98290 12345", "landmark": null, "line1": "2 Residency Road" }, "reason": "the customer called",
    });
    let call = api.call(Method::PATCH, &path).header("content-type", "application/merge-patch+json");
    let call = call.header("if-match", "\"1\"").body(None, wanted.to_string().into_bytes());
    let changed = call.send().await?.expect(200);
    let now = changed.order();
    assert_eq!((now.version, now.state), (2, OrderState::PendingPayment));
    let address = now.shipping_address.clone().unwrap_or_default();
    assert_eq!(
        (address.phone.as_deref(), address.line1.as_deref(), address.city.as_deref()),
        (Some("+91 98290 12345"), Some("2 Residency Road"), Some("Bengaluru"))
    );
    assert!(address.other.is_empty());
    assert_eq!((now.metadata.len(), now.metadata["packer"].as_str(), now.tags.len()), (2, "7", 2));
    let read = api.read(&path, changed.token()).await?.expect(200).order();
    assert_eq!(
        (read.shipping_address, read.customer_email, read.metadata),
        (now.shipping_address, now.customer_email, now.metadata)
    );
    let history = api.get(&format!("{path}/history")).await?.expect(200).history();
    assert_eq!(history[1].reason.as_deref(), Some("the customer called"));
    assert_eq!(history[1].metadata["customer_email"], "asha@example.com");

    // What was said before stays as it was: the event of the placement has the address of that time.
    let events = eventually("both events are shown", SOON, async || {
        let events = api.get(&format!("/events?order_id={}", order.id)).await?.expect(200).json();
        Ok(events["data"][1].is_object().then_some(events))
    })
    .await?;
    let placed = &events["data"][0]["data"]["object"];
    assert_eq!((&placed["version"], &placed["customer_email"]), (&json!(1), &json!(order.customer_email)));
    assert_eq!(placed["shipping_address"]["line1"], "1 Residency Road");
    let fields: serde_json::Map<_, _> = (0..50).map(|n| (format!("name-{n}"), json!("x"))).collect();
    api.patch(&path, &json!({ "metadata": fields })).await?.refused(422, "VALIDATION_FAILED");

    // The same once more changes nothing.
    assert_eq!(api.patch(&path, &wanted).await?.expect(200).order().version, 2);
    let elsewhere =
        api.patch(&path, &json!({ "shipping_address": { "state": "RJ", "postal_code": "302001" } })).await?;
    let refused = elsewhere.refused(409, "TAX_WOULD_CHANGE");
    assert_eq!(refused.details["place_of_supply_with_this_address"], "08 Rajasthan");
    for wrong in [
        json!({ "customer_email": "no address" }),
        json!({ "shipping_address": { "line1": 7 } }),
        json!({ "shipping_address": { "gstin": "29AAACC" } }),
        json!({ "metadata": { "": "x" } }),
        json!({ "tags": ["a", "a"] }),
        json!({ "colour": "red" }),
    ] {
        api.patch(&path, &wrong).await?.refused(422, "VALIDATION_FAILED");
    }
    let removed = api.patch(&path, &json!({ "customer_email": null, "metadata": null, "tags": [] })).await?.expect(200);
    assert_eq!(
        (removed.order().customer_email, removed.order().metadata.len(), removed.order().tags.len()),
        (None, 0, 0)
    );

    shop::step(api, order.id, "pay").await?.expect(200);
    shop::step(api, order.id, "processing").await?.expect(200);
    let late = api.patch(&path, &json!({ "shipping_address": { "line1": "3 Residency Road" } })).await?;
    late.refused(409, "FACT_IS_FINAL");
    let kept = api.patch(&path, &json!({ "metadata": { "shelf": "4" } })).await?.expect(200).order();
    assert_eq!(kept.shipping_address.clone().and_then(|address| address.line1).as_deref(), Some("2 Residency Road"));

    // An open return is answered to the address that the order has now.
    for step in ["ship", "deliver"] {
        shop::step(api, order.id, step).await?.expect(200);
    }
    let returned = shop::request_return(api, &kept, 0, 1).await?;
    assert_eq!(returned.customer_email, None);
    let changed = api.patch(&path, &json!({ "customer_email": "asha.rao@example.com" })).await?.expect(200);
    api.read(&path, changed.token()).await?.expect(200);
    let answered = eventually("the return has it", SOON, async || {
        let returned = api.get(&format!("/returns/{}", returned.id)).await?.expect(200).json();
        Ok((returned["version"] == 2).then_some(returned))
    })
    .await?;
    assert_eq!(answered["customer_email"], "asha.rao@example.com");
    books::projected(pool, SOON).await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_is_an_entry_of_the_history() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let api = &system.api;
    let order = shop::order_in(api, OrderState::Cancelled).await?;
    let path = format!("/orders/{}", order.id);
    let note = json!({ "note": "Rang twice.\nThe customer is travelling.", "actor": "asha" });
    let noted = api.post(&format!("{path}/notes"), &note).await?.expect(200);
    assert_eq!((noted.order().version, noted.order().state), (3, OrderState::Cancelled));
    let read = api.read(&path, noted.token()).await?.expect(200);
    assert!(!read.text().contains("travelling"));
    let history = api.read(&format!("{path}/history"), noted.token()).await?.expect(200).history();
    assert_eq!((history[2].actor.as_str(), history[2].reason.as_deref()), ("asha", note["note"].as_str()));
    assert_eq!(history[2].metadata, json!({ "note": true }));
    for wrong in [json!({}), json!({ "note": " " }), json!({ "note": "x".repeat(1001) })] {
        let refused = api.post(&format!("{path}/notes"), &wrong).await?.refused(422, "VALIDATION_FAILED");
        assert_eq!(refused.details["fields"][0]["field"], "note", "{wrong}");
    }
    api.post(&format!("/orders/{}/notes", Uuid::nil()), &note).await?.refused(404, "ORDER_NOT_FOUND");
    system.finish().await
}
