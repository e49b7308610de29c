//! `Idempotency-Key` and `If-Match`.

use std::collections::BTreeSet;

use anyhow::Result;
use contracts::OrderState;
use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{Answer, Api, System, books, shop};

async fn keyed(api: &Api, path: &str, key: &str, body: &Value) -> Result<Answer> {
    api.call(Method::POST, path).header("Idempotency-Key", key).json(body).send().await
}

/// Asserts that the second answer equals the first and is marked as a replay.
#[track_caller]
fn assert_replayed(first: &Answer, again: &Answer) {
    assert_eq!((again.status, again.text()), (first.status, first.text()));
    for name in ["etag", "x-consistency-token", "content-type", "location"] {
        assert_eq!(again.headers.get(name), first.headers.get(name), "{name}");
    }
    assert!(first.headers.get("idempotency-replayed").is_none());
    assert_eq!(again.header("idempotency-replayed"), "true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_order_gets_the_first_answer_byte_for_byte() -> Result<()> {
    let system = System::commands_only().await?;
    let first = keyed(&system.api, "/orders", "key-1", &shop::order()).await?.expect(201);
    let before = books::row_counts(&system.database.pool).await?;
    // The order has changed since.
    shop::step(&system.api, first.order().id, "pay").await?.expect(200);
    let again = keyed(&system.api, "/orders", "key-1", &shop::order()).await?;
    assert_replayed(&first, &again);
    assert_eq!(books::row_counts(&system.database.pool).await?["command.orders"], before["command.orders"]);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_belongs_to_one_body_one_caller_and_one_route() -> Result<()> {
    let system = System::commands_only().await?;
    let first = keyed(&system.api, "/orders", "shared", &shop::order()).await?.expect(201).order();
    let before = books::row_counts(&system.database.pool).await?;
    let other_body = keyed(&system.api, "/orders", "shared", &shop::order_of(&[(1, 100)])).await?;
    other_body.refused(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(books::row_counts(&system.database.pool).await?, before);

    let other_caller = system.api.call(Method::POST, "/orders").header("Idempotency-Key", "shared");
    let other_caller = other_caller.header("X-Actor", "another-shop").json(&shop::order()).send().await?.expect(201);
    assert_ne!(other_caller.order().id, first.id);
    assert!(other_caller.headers.get("idempotency-replayed").is_none());

    let pay = keyed(&system.api, &format!("/orders/{}/pay", first.id), "shared", &json!({})).await?.expect(200);
    assert_eq!(pay.order().state, OrderState::Paid);
    let other = other_caller.order().id;
    let pay = keyed(&system.api, &format!("/orders/{other}/pay"), "shared", &json!({})).await?.expect(200);
    assert!(pay.headers.get("idempotency-replayed").is_none(), "the key of another order is another key");
    system.finish().await
}

/// Also an answer that nothing had to be done belongs to its key, and an id in capital letters is the same id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_changed_nothing_belongs_to_its_body_too() -> Result<()> {
    let system = System::commands_only().await?;
    let api = &system.api;
    let paid = shop::order_in(api, OrderState::Paid).await?;
    let cancelled = shop::order_in(api, OrderState::Cancelled).await?;
    for (path, shouted) in [
        (format!("/orders/{}/pay", paid.id), format!("/orders/{}/pay", paid.id.to_string().to_uppercase())),
        (
            format!("/orders/{}/cancel", cancelled.id),
            format!("/orders/{}/cancel", cancelled.id.to_string().to_uppercase()),
        ),
    ] {
        let first = keyed(api, &path, "k", &json!({})).await?.expect(200);
        assert!(first.headers.get("idempotency-replayed").is_none());
        keyed(api, &path, "k", &json!({ "reason": "another" })).await?.refused(422, "IDEMPOTENCY_KEY_REUSED");
        keyed(api, &shouted, "k", &json!({ "reason": "another" })).await?.refused(422, "IDEMPOTENCY_KEY_REUSED");
        assert_replayed(&first, &keyed(api, &path, "k", &json!({})).await?);
        assert_replayed(&first, &keyed(api, &shouted, "k", &json!({})).await?);
    }
    // A correction that says what is known already.
    let correct = async |body: &Value| {
        let call = api.call(Method::PATCH, &format!("/orders/{}", paid.id)).header("Idempotency-Key", "k");
        call.json(body).send().await
    };
    api.post(&format!("/orders/{}/pay", paid.id), &json!({})).await?.expect(200);
    let same = json!({ "payment_transaction_id": "UPI-1", "reason": "it was not known" });
    correct(&same).await?.expect(200);
    let again = correct(&json!({ "payment_transaction_id": "UPI-2", "reason": "it was not known" })).await?;
    again.refused(422, "IDEMPOTENCY_KEY_REUSED");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_move_money_can_be_made_to_require_a_key() -> Result<()> {
    let system = System::start(|options| options.command.require_idempotency_key = true).await?;
    let api = &system.api;
    api.post("/orders", &shop::order()).await?.refused(400, "IDEMPOTENCY_KEY_REQUIRED");
    let order = keyed(api, "/orders", "place", &shop::order()).await?.expect(201).order();
    for step in ["pay", "cancel"] {
        shop::step(api, order.id, step).await?.refused(400, "IDEMPOTENCY_KEY_REQUIRED");
    }
    let state = json!({ "new_state": "PAID" });
    api.patch(&format!("/orders/{}/state", order.id), &state).await?.refused(400, "IDEMPOTENCY_KEY_REQUIRED");
    keyed(api, &format!("/orders/{}/pay", order.id), "pay", &json!({})).await?.expect(200);
    shop::step(api, order.id, "processing").await?.expect(200);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_transition_gets_its_first_answer_although_the_order_has_moved_on() -> Result<()> {
    let system = System::commands_only().await?;
    let order = shop::order_in(&system.api, OrderState::PendingPayment).await?.id;
    let body = json!({ "payment_transaction_id": "upi-1" });
    let path = format!("/orders/{order}/pay");
    let first = keyed(&system.api, &path, "pay-once", &body).await?.expect(200);
    shop::step(&system.api, order, "processing").await?.expect(200);
    assert_replayed(&first, &keyed(&system.api, &path, "pay-once", &body).await?);
    let other = keyed(&system.api, &path, "pay-once", &json!({ "payment_transaction_id": "upi-2" })).await?;
    other.refused(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(books::rows_about(&system.database.pool, order).await?, (3, 3));
    system.finish().await
}

/// The hash is over what the client sent, so a version of the service that knows further fields computes the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_recognised_by_what_was_sent() -> Result<()> {
    let system = System::commands_only().await?;
    let order = shop::order_in(&system.api, OrderState::PendingPayment).await?.id;
    let path = format!("/orders/{order}/pay");
    let send = async |text: &str| {
        let call = system.api.call(Method::POST, &path).header("Idempotency-Key", "as-sent");
        call.body(Some("application/json"), text.as_bytes().to_vec()).send().await
    };
    let first = send(r#"{"reason":"Paid","payment_transaction_id":"upi-1"}"#).await?.expect(200);
    assert_replayed(&first, &send(r#" { "payment_transaction_id": "upi-\u0031", "reason": "Paid" } "#).await?);
    let with_default = r#"{"reason":"Paid","payment_transaction_id":"upi-1","actor":null}"#;
    send(with_default).await?.refused(422, "IDEMPOTENCY_KEY_REUSED");

    let stored: Vec<u8> = sqlx::query_scalar("select request_hash from command.idempotency_keys where key = 'as-sent'")
        .fetch_one(&system.database.pool)
        .await?;
    assert_eq!(stored, Sha256::digest(r#"{"payment_transaction_id":"upi-1","reason":"Paid"}"#).to_vec());
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_return_is_requested_once() -> Result<()> {
    let system = System::commands_only().await?;
    let order = shop::order_in(&system.api, OrderState::Delivered).await?;
    let first = keyed(&system.api, "/returns", "ret-1", &shop::return_of(&order, 0, 1)).await?.expect(201);
    assert_replayed(&first, &keyed(&system.api, "/returns", "ret-1", &shop::return_of(&order, 0, 1)).await?);
    let other = keyed(&system.api, "/returns", "ret-1", &shop::return_of(&order, 0, 2)).await?;
    other.refused(422, "IDEMPOTENCY_KEY_REUSED");

    let id = first.returned().id;
    let approve =
        keyed(&system.api, &format!("/returns/{id}/approve"), "a", &json!({ "approval_notes": "Fine" })).await?;
    let approve = approve.expect(200);
    let again =
        keyed(&system.api, &format!("/returns/{id}/approve"), "a", &json!({ "approval_notes": "Fine" })).await?;
    assert_replayed(&approve, &again);
    assert_eq!(books::row_counts(&system.database.pool).await?["command.returns"], 1);
    system.finish().await
}

/// Sends one request twenty times at once to two processes, repeats it until each has an answer, and asserts that all
/// answers are equal.
async fn all_at_once(path: &str, key: &str, body: &Value, success: u16, processes: [&Api; 2]) -> Result<String> {
    let answers = try_join_all((0..20).map(|n| keyed(processes[n % 2], path, key, body))).await?;
    let mut bodies = BTreeSet::new();
    for answer in &answers {
        if answer.status == 409 {
            answer.refused(409, "IDEMPOTENCY_KEY_IN_PROGRESS");
        } else {
            bodies.insert(answer.clone().expect(success).text());
        }
    }
    let settled = keyed(processes[0], path, key, body).await?.expect(success);
    assert_eq!(settled.header("idempotency-replayed"), "true");
    bodies.insert(settled.text());
    assert_eq!(bodies.len(), 1, "{path}: one answer for all: {bodies:?}");
    Ok(settled.text())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_equal_requests_at_once_are_one_command() -> Result<()> {
    let system = System::commands_only().await?;
    let second = system.second_command_process().await?;
    let both = [&system.api, &second.api];
    for round in 0..5 {
        let key = format!("round-{round}");
        let mut body = shop::order();
        if round % 2 == 0 {
            body["order_number"] = format!("AC-KEYED-{round}").into();
        }
        let order = all_at_once("/orders", &key, &body, 201, both).await?;
        let order: contracts::OrderDocument = serde_json::from_str(&order)?;
        assert_eq!(books::row_counts(&system.database.pool).await?["command.orders"], round + 1);

        all_at_once(&format!("/orders/{}/pay", order.id), &key, &json!({}), 200, both).await?;
        assert_eq!(books::rows_about(&system.database.pool, order.id).await?, (2, 2));

        for step in ["processing", "ship", "deliver"] {
            shop::step(&system.api, order.id, step).await?.expect(200);
        }
        all_at_once("/returns", &key, &shop::return_of(&order, 0, 1), 201, both).await?;
        assert_eq!(books::row_counts(&system.database.pool).await?["command.returns"], round + 1);
    }
    second.stop().await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_with_an_outdated_version_is_refused() -> Result<()> {
    let system = System::commands_only().await?;
    let order = shop::order_in(&system.api, OrderState::Paid).await?;
    let send = async |step: &str, version: &str| {
        let call = system.api.call(Method::POST, &format!("/orders/{}/{step}", order.id));
        call.header("If-Match", version).json(&json!({})).send().await
    };
    for stale in ["\"1\"", "1", "\"3\"", "0"] {
        let before = books::row_counts(&system.database.pool).await?;
        let error = send("processing", stale).await?.refused(412, "VERSION_MISMATCH");
        assert_eq!(error.details["current_version"], 2, "{stale}");
        assert_eq!(books::row_counts(&system.database.pool).await?, before, "{stale}");
    }
    send("processing", "two").await?.refused(422, "VALIDATION_FAILED");
    send("pay", "\"1\"").await?.refused(412, "VERSION_MISMATCH");
    assert_eq!(send("processing", "\"2\"").await?.expect(200).header("etag"), "\"3\"");
    assert_eq!(send("ship", "*").await?.expect(200).header("etag"), "\"4\"");

    let patch = system.api.call(Method::PATCH, &format!("/orders/{}/state", order.id)).header("If-Match", "\"2\"");
    patch.json(&json!({ "new_state": "DELIVERED" })).send().await?.refused(412, "VERSION_MISMATCH");
    let delivered = shop::step(&system.api, order.id, "deliver").await?.expect(200).order();
    let returned = shop::request_return(&system.api, &delivered, 0, 1).await?.id;
    let approve = system.api.call(Method::POST, &format!("/returns/{returned}/approve")).header("If-Match", "\"7\"");
    approve.json(&json!({})).send().await?.refused(412, "VERSION_MISMATCH");
    system.finish().await
}
