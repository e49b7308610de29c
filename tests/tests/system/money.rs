//! Money after the sale: cancellations, receipts by the unit, corrections, and a gateway that settles later.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use contracts::{OrderDocument, OrderState, RefundDocument, RefundStatus, ReturnDocument, ReturnState};
use futures_util::future::try_join_all;
use reqwest::Method;
use runtime::Clock;
use serde_json::{Value, json};
use standalone::{Options, Part};
use standardwebhooks::Webhook;
use tests::waiting::{SOON, eventually_equal};
use tests::{Answer, Api, System, books, eventually, shop};
use uuid::Uuid;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Every part but the browser, with retries in milliseconds.
fn hasty(options: &mut Options) {
    options.parts = Part::ALL.to_vec();
    options.workers.pdf.chromium_path = Some(PathBuf::from("/there/is/no/browser"));
    options.workers.retries.refund_retry = Duration::from_millis(40);
}

async fn ledger(system: &System) -> Result<Vec<Value>> {
    let ledger = system.gateway.get("/refunds").await?.expect(200).json();
    Ok(ledger["refunds"].as_array().context("a list")?.clone())
}

async fn refunds_of(api: &Api, order: Uuid) -> Result<Vec<RefundDocument>> {
    let page = api.get(&format!("/refunds?order_id={order}")).await?.expect(200).json();
    Ok(serde_json::from_value(page["data"].clone())?)
}

/// Waits until the order has so many refunds, all of them paid.
async fn paid(api: &Api, order: Uuid, count: usize) -> Result<Vec<RefundDocument>> {
    eventually("the refunds are paid", SOON, async || {
        let refunds = refunds_of(api, order).await?;
        let is_paid = |refund: &RefundDocument| refund.status == RefundStatus::Processed;
        Ok((refunds.len() == count && refunds.iter().all(is_paid)).then_some(refunds))
    })
    .await
}

async fn pay(api: &Api, order: &OrderDocument, payment: &str) -> Result<Answer> {
    api.post(&format!("/orders/{}/pay", order.id), &json!({ "payment_transaction_id": payment })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paid_order_that_is_cancelled_gets_everything_back_once() -> Result<()> {
    let system = System::start(hasty).await?;
    let api = &system.api;
    let order = shop::order_in(api, OrderState::PendingPayment).await?;
    pay(api, &order, "UPI-111").await?.expect(200);
    let cancel = json!({ "reason": "the glaze cracked in the kiln" });
    let path = format!("/orders/{}/cancel", order.id);
    // All of them are answered, and one of them cancels.
    let answers = try_join_all((0..8).map(|_| api.post(&path, &cancel))).await?;
    assert!(answers.into_iter().all(|answer| answer.expect(200).order().state == OrderState::Cancelled));

    let refunds = paid(api, order.id, 1).await?;
    let refund = &refunds[0];
    assert_eq!(
        (refund.amount_minor, refund.return_id, refund.kind.as_str()),
        (order.total_minor, None, "CANCELLATION")
    );
    assert_eq!(refund.payment_transaction_id.as_deref(), Some("UPI-111"));
    assert_eq!(refund.reason.as_deref(), Some("the glaze cracked in the kiln"));
    assert!(refund.gateway_reference.as_ref().is_some_and(|reference| reference.len() == 12), "{refund:?}");
    let entries = ledger(&system).await?;
    let [entry] = entries.as_slice() else { panic!("one payment: {entries:?}") };
    assert_eq!(entry["idempotency_key"], json!(refund.id));
    assert_eq!((&entry["refund_id"], &entry["payment_transaction_id"]), (&json!(refund.id), &json!("UPI-111")));
    assert_eq!(entry["amount"], json!(order.total_minor));

    let seen = api.get(&format!("/orders/{}", order.id)).await?.expect(200).order();
    assert_eq!(seen.refunds, refunds, "the order shows its refunds");
    let report = api.get("/reports/refunds").await?.expect(200).json();
    assert_eq!(report["data"][0]["paid_minor"], json!(order.total_minor), "{report}");
    let sales = api.get("/reports/sales/daily").await?.expect(200).json();
    let sold = sales["data"].as_array().and_then(|days| days.first()).context("a day")?;
    assert_eq!(sold["net_minor"], json!(0), "a cancelled sale is taken off once: {sold}");

    // Nothing was paid, so nothing is given back.
    let unpaid = shop::order_in(api, OrderState::Cancelled).await?;
    let mails = "select array_agg(kind order by kind) from work.emails join messaging.outbox using (event_id)
                 where aggregate_id in ($1, $2)";
    let wanted = ["order_cancelled", "order_cancelled", "order_confirmation", "order_received", "order_received"];
    eventually_equal("the customers are told", SOON, Some(wanted.map(str::to_owned).to_vec()), async || {
        let mails = sqlx::query_scalar(mails).bind(order.id).bind(unpaid.id);
        Ok(mails.fetch_one(&system.database.pool).await?)
    })
    .await?;
    assert!(refunds_of(api, unpaid.id).await?.is_empty());
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_are_corrected_and_the_correction_is_audited() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let api = &system.api;
    let order = shop::order_in(api, OrderState::ProcessingInWarehouse).await?;
    let (path, ship) = (format!("/orders/{}", order.id), format!("/orders/{}/ship", order.id));
    let refused = api.patch(&path, &json!({ "carrier": "Delhivery" })).await?.refused(409, "FACT_NOT_RECORDED");
    assert_eq!(
        (&refused.details["current_state"], &refused.details["recorded_from"]),
        (&json!("PROCESSING_IN_WAREHOUSE"), &json!("SHIPPED"))
    );
    api.post(&ship, &json!({ "carrier": "Blue Dart", "tracking_number": "BD1" })).await?.expect(200);
    let refused = api.post(&ship, &json!({ "tracking_number": "BD2" })).await?.refused(409, "CONFLICTING_FACT");
    assert_eq!((&refused.details["stored"], &refused.details["given"]), (&json!("BD1"), &json!("BD2")));

    let correction = json!({ "tracking_number": "BD2", "reason": "typed wrong", "actor": "asha" });
    let stale = api.call(Method::PATCH, &path).header("if-match", "\"3\"").json(&correction).send().await?;
    stale.refused(412, "VERSION_MISMATCH");
    let keyed = async || api.call(Method::PATCH, &path).header("idempotency-key", "k-1").json(&correction).send().await;
    let corrected = keyed().await?.expect(200);
    assert_eq!((corrected.order().version, corrected.order().state), (5, OrderState::Shipped));
    assert_eq!(corrected.order().tracking_number.as_deref(), Some("BD2"));
    let replayed = keyed().await?.expect(200);
    assert_eq!((replayed.header("idempotency-replayed"), replayed.order()), ("true", corrected.order()));
    let again = api.patch(&path, &json!({ "tracking_number": "BD2" })).await?.expect(200).order();
    assert_eq!(again.version, 5, "nothing new is nothing written");
    api.patch(&path, &json!({ "tracking_number": "" })).await?.refused(422, "VALIDATION_FAILED");
    api.patch(&path, &json!({ "state": "DELIVERED" })).await?.refused(422, "VALIDATION_FAILED");
    api.patch(&format!("/orders/{}", Uuid::nil()), &json!({})).await?.refused(404, "ORDER_NOT_FOUND");

    let token = system.token("order", order.id, 5).await?;
    let seen = api.read(&path, &token).await?.expect(200).order();
    assert_eq!((seen.tracking_number.as_deref(), seen.carrier.as_deref()), (Some("BD2"), Some("Blue Dart")));
    let history = api.read(&format!("{path}/history"), &token).await?.expect(200).history();
    let last = history.last().context("a history")?;
    assert_eq!(
        (last.from_state.as_deref(), last.to_state.as_str(), last.actor.as_str()),
        (Some("SHIPPED"), "SHIPPED", "asha")
    );
    assert_eq!((last.reason.as_deref(), &last.metadata["tracking_number"]), (Some("typed wrong"), &json!("BD2")));
    let event: String =
        sqlx::query_scalar("select event_type from messaging.outbox where aggregate_id = $1 and aggregate_version = 5")
            .bind(order.id)
            .fetch_one(&system.database.pool)
            .await?;
    assert_eq!(event, "order.updated");
    // Delivery comes after it as if nothing had been corrected.
    let delivered = shop::step(api, order.id, "deliver").await?.expect(200).order();
    assert_eq!((delivered.version, delivered.tracking_number.as_deref()), (6, Some("BD2")));
    let payment = api.patch(&path, &json!({ "payment_transaction_id": "UPI-9" })).await?.expect(200).order();
    assert_eq!(
        (payment.payment_transaction_id.as_deref(), payment.delivered_at),
        (Some("UPI-9"), delivered.delivered_at)
    );
    system.finish().await
}

async fn delivered(api: &Api, body: &Value) -> Result<OrderDocument> {
    shop::bring(api, shop::place(api, body).await?, OrderState::Delivered).await
}

/// Two of a thousand rupees, with shipping: a return of one each. The shipping is refunded with the return after which nothing of
/// the order is left, and that is known when a return is completed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_return_refunds_is_reckoned_when_it_is_completed() -> Result<()> {
    let system = System::start(hasty).await?;
    let api = &system.api;
    let mut body = shop::order_of(&[(2, 100_000)]);
    body["shipping_minor"] = json!(10_000);
    let order = delivered(api, &body).await?;
    let first = shop::request_return(api, &order, 0, 1).await?;
    let second = shop::request_return(api, &order, 0, 1).await?;
    assert_eq!((first.refund_amount_minor, second.refund_amount_minor), (100_000, 110_000), "estimates");
    shop::bring_return(api, first, ReturnState::Rejected).await?;
    let second = shop::bring_return(api, second, ReturnState::Completed).await?;
    assert_eq!((second.refund_amount_minor, second.items[0].amount_minor, second.items.len()), (100_000, 100_000, 1));
    assert_eq!(paid(api, order.id, 1).await?[0].amount_minor, 100_000);

    // The other way round: the shipping comes with the last one that is completed.
    let order = delivered(api, &body).await?;
    let first = shop::request_return(api, &order, 0, 1).await?;
    let second = shop::request_return(api, &order, 0, 1).await?;
    let second = shop::bring_return(api, second, ReturnState::Completed).await?;
    let first = shop::bring_return(api, first, ReturnState::Completed).await?;
    assert_eq!((second.refund_amount_minor, first.refund_amount_minor), (100_000, 110_000));
    let seen = api
        .read(&format!("/returns/{}", first.id), &system.token("return", first.id, 5).await?)
        .await?
        .expect(200)
        .returned();
    assert_eq!((seen.refund_amount_minor, seen.items), (110_000, first.items));
    assert_eq!(paid(api, order.id, 2).await?.iter().map(|refund| refund.amount_minor).sum::<i64>(), 210_000);
    system.finish().await
}

async fn receive(api: &Api, returned: &ReturnDocument, items: Value) -> Result<Answer> {
    api.post(&format!("/returns/{}/received", returned.id), &json!({ "items": items })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_warehouse_accepts_is_refunded() -> Result<()> {
    let system = System::start(hasty).await?;
    let api = &system.api;
    let order = delivered(api, &shop::order_of(&[(3, 8_999)])).await?;
    let item = order.items[0].id;
    let returned = shop::request_return(api, &order, 0, 3).await?;
    let returned = shop::bring_return(api, returned, ReturnState::InTransit).await?;
    let counted = |accepted: i32, rejected: i32, missing: i32| json!([{ "order_item_id": item, "accepted_quantity": accepted, "rejected_quantity": rejected, "missing_quantity": missing, "rejection_reason": "chipped" }]);
    let wrong = receive(api, &returned, counted(2, 0, 0)).await?.refused(422, "VALIDATION_FAILED");
    assert_eq!(wrong.details["fields"][0]["field"], "items[0].accepted_quantity", "{}", wrong.details);
    let elsewhere = json!([{ "order_item_id": Uuid::nil(), "accepted_quantity": 3 }]);
    receive(api, &returned, elsewhere).await?.refused(422, "VALIDATION_FAILED");
    let unexplained = json!([{ "order_item_id": item, "accepted_quantity": 2, "rejected_quantity": 1 }]);
    let wrong = receive(api, &returned, unexplained).await?.refused(422, "VALIDATION_FAILED");
    assert_eq!(wrong.details["fields"][0]["field"], "items[0].rejection_reason");

    let received = receive(api, &returned, counted(2, 0, 1)).await?.expect(200).returned();
    assert_eq!((received.state, received.refund_amount_minor), (ReturnState::Received, 17_998));
    let units =
        |item: &contracts::ReturnItemDocument| (item.accepted_quantity, item.rejected_quantity, item.missing_quantity);
    assert_eq!(units(&received.items[0]), (Some(2), Some(0), Some(1)));
    receive(api, &returned, counted(2, 0, 1)).await?.expect(200);
    let refused = receive(api, &returned, counted(1, 1, 1)).await?.refused(409, "CONFLICTING_FACT");
    assert_eq!(
        (&refused.details["stored"]["accepted_quantity"], &refused.details["given"]["accepted_quantity"]),
        (&json!(2), &json!(1))
    );

    // The warehouse looks again: one of the two is chipped.
    let path = format!("/returns/{}", returned.id);
    let corrected =
        api.patch(&path, &json!({ "items": counted(1, 1, 1), "reason": "looked again" })).await?.expect(200);
    assert_eq!((corrected.returned().version, corrected.returned().refund_amount_minor), (5, 8_999));
    let completed = shop::return_step(api, returned.id, "complete").await?.expect(200).returned();
    assert_eq!((completed.refund_amount_minor, completed.version), (8_999, 6));
    let refused = api.patch(&path, &json!({ "items": counted(3, 0, 0) })).await?;
    refused.refused(409, "FACT_IS_FINAL");
    assert_eq!(paid(api, order.id, 1).await?[0].amount_minor, 8_999);
    let seen = api.read(&path, &system.token("return", returned.id, 6).await?).await?.expect(200).returned();
    assert_eq!(
        (units(&seen.items[0]), seen.refund.map(|refund| refund.amount_minor)),
        ((Some(1), Some(1), Some(1)), Some(8_999))
    );

    // The missing unit has turned up, and can be requested again; the rejected one cannot.
    api.post("/returns", &shop::return_of(&order, 0, 2)).await?.refused(400, "RETURN_NOT_ALLOWED");
    let rest = shop::request_return(api, &order, 0, 1).await?;
    let rest = shop::bring_return(api, rest, ReturnState::Completed).await?;
    assert_eq!(rest.refund_amount_minor, 8_999);
    paid(api, order.id, 2).await?;

    // Nothing is accepted, so nothing is refunded, and no credit note is issued.
    let order = delivered(api, &shop::order_of(&[(1, 8_999)])).await?;
    let returned = shop::request_return(api, &order, 0, 1).await?;
    let returned = shop::bring_return(api, returned, ReturnState::InTransit).await?;
    let none = json!([{ "order_item_id": order.items[0].id, "accepted_quantity": 0, "rejected_quantity": 1, "rejection_reason": "another vase" }]);
    receive(api, &returned, none).await?.expect(200);
    let completed = shop::return_step(api, returned.id, "complete").await?.expect(200).returned();
    assert_eq!((completed.state, completed.refund_amount_minor), (ReturnState::Completed, 0));
    let skipped = "select count(*) from messaging.inbox join messaging.outbox using (event_id)
                   where queue = 'credit_notes' and result ? 'skipped'";
    eventually_equal("there is no credit note", SOON, 1, async || books::count(&system.database.pool, skipped).await)
        .await?;
    assert!(refunds_of(api, order.id).await?.is_empty());
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_withdraws_a_return_before_its_review() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let api = &system.api;
    let order = shop::order_in(api, OrderState::Delivered).await?;
    let returned = shop::request_return(api, &order, 0, 3).await?;
    let withdrawn = shop::return_step(api, returned.id, "withdraw").await?.expect(200).returned();
    assert_eq!((withdrawn.state, withdrawn.rejection_category.as_deref()), (ReturnState::Rejected, Some("WITHDRAWN")));
    shop::return_step(api, returned.id, "withdraw").await?.expect(200);
    shop::return_step(api, returned.id, "reject").await?.refused(409, "CONFLICTING_FACT");
    let again = shop::request_return(api, &order, 0, 3).await?;
    shop::return_step(api, again.id, "approve").await?.expect(200);
    shop::return_step(api, again.id, "withdraw").await?.refused(409, "INVALID_STATE_TRANSITION");
    system.finish().await
}

/// Calls the workers as the gateway does.
async fn call_back(system: &System, secret: &str, key: Uuid) -> Result<Answer> {
    let body =
        json!({ "type": "refund.updated", "timestamp": Clock::system().now(), "data": { "idempotency_key": key } });
    let (body, at) = (body.to_string(), Clock::system().now().timestamp());
    let signature = Webhook::new(secret)?.sign("msg_1", at, body.as_bytes())?;
    Api::new(system.base_url())?
        .call(Method::POST, "/gateway/callbacks")
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", &at.to_string())
        .header("webhook-signature", &signature)
        .body(Some("application/json"), body.into_bytes())
        .send()
        .await
}

async fn refund_of(system: &System, returned: &ReturnDocument) -> Result<(String, Option<Uuid>)> {
    let refund = sqlx::query_as("select status, waiting_event_id from command.refunds where return_id = $1");
    Ok(refund.bind(returned.id).fetch_one(&system.database.pool).await?)
}

/// A gateway takes some refunds now and settles them later. The workers look them up until then; its call only makes them look
/// at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_the_gateway_settles_later_is_looked_up_until_then() -> Result<()> {
    for (faults, end) in [("pending=1500", "PROCESSED"), ("pending=1500,declined", "FAILED")] {
        let faults = faults.parse()?;
        let system = System::start(|options| {
            hasty(options);
            options.gateway.gateway_faults = faults;
            options.workers.gateway_webhook_secret = Some(SECRET.to_owned().into());
        })
        .await?;
        let pool = &system.database.pool;
        let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
        let event_id =
            eventually("the gateway has taken it", SOON, async || Ok(refund_of(&system, &returned).await?.1)).await?;
        // Polling alone would take an hour now.
        let far = "update messaging.inbox set run_at = now() + interval '1 hour'
                   where queue = 'refunds' and event_id = $1 and status = 'ready'";
        eventually_equal("the job waits", SOON, 1, async || {
            Ok(sqlx::query(far).bind(event_id).execute(pool).await?.rows_affected())
        })
        .await?;
        eventually("the gateway has settled it", SOON, async || {
            Ok((ledger(&system).await?[0]["status"] != "PENDING").then_some(()))
        })
        .await?;
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        call_back(&system, other, returned.id).await?.refused(401, "INVALID_SIGNATURE");
        call_back(&system, SECRET, Uuid::nil()).await?.expect(204);
        let waits =
            "select count(*) from messaging.inbox where queue = 'refunds' and run_at > now() and status = 'ready'";
        assert_eq!((books::count(pool, waits).await?, refund_of(&system, &returned).await?.0.as_str()), (1, "PENDING"));
        call_back(&system, SECRET, returned.id).await?.expect(204);
        eventually_equal("the refund has ended", SOON, end.to_owned(), async || {
            Ok(refund_of(&system, &returned).await?.0)
        })
        .await?;
        assert_eq!(ledger(&system).await?.len(), 1, "it was asked for once");
        system.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_are_listed() -> Result<()> {
    let system = System::start(hasty).await?;
    let api = &system.api;
    let orders = try_join_all((0..3).map(|_| shop::order_in(api, OrderState::Paid))).await?;
    for order in &orders {
        shop::step(api, order.id, "cancel").await?.expect(200);
        paid(api, order.id, 1).await?;
    }
    let page = api.get("/refunds?status=PROCESSED&limit=2").await?.expect(200).json();
    assert_eq!((page["data"].as_array().map(Vec::len), &page["has_more"]), (Some(2), &json!(true)));
    let rest =
        format!("/refunds?status=PROCESSED&limit=2&cursor={}", page["next_cursor"].as_str().context("a cursor")?);
    let rest = api.get(&rest).await?.expect(200).json();
    assert_eq!((rest["data"].as_array().map(Vec::len), &rest["has_more"]), (Some(1), &json!(false)));
    assert_eq!(api.get("/refunds?status=FAILED").await?.expect(200).json()["data"], json!([]));
    api.get("/refunds?status=LOST").await?.refused(422, "VALIDATION_FAILED");
    let id = rest["data"][0]["id"].as_str().context("an id")?;
    let one = api.get(&format!("/refunds/{id}")).await?.expect(200);
    assert_eq!((one.header("etag"), one.json()), ("\"2\"", rest["data"][0].clone()));
    let history = api.get(&format!("/refunds/{id}/history")).await?.expect(200).history();
    assert_eq!(history.iter().map(|entry| entry.to_state.as_str()).collect::<Vec<_>>(), ["PENDING", "PROCESSED"]);
    api.get(&format!("/refunds/{}", Uuid::nil())).await?.refused(404, "REFUND_NOT_FOUND");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_is_told_when_a_refund_is_in_doubt_for_long() -> Result<()> {
    let clock = Clock::fixed(Clock::system().now());
    let (faults, same_clock) = ("garbage".parse()?, clock.clone());
    let system = System::start(|options| {
        hasty(options);
        options.clock = same_clock;
        options.gateway.gateway_faults = faults;
    })
    .await?;
    let pool = &system.database.pool;
    let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
    eventually_equal("the refund is in doubt", SOON, "IN_DOUBT".to_owned(), async || {
        Ok(refund_of(&system, &returned).await?.0)
    })
    .await?;
    let told = "select count(*) from work.emails where kind = 'refund_delayed'";
    assert_eq!(books::count(pool, told).await?, 0);
    clock.advance(chrono::Duration::hours(25));
    eventually_equal("the customer is told", SOON, 1, async || books::count(pool, told).await).await?;
    let tried = "select count(*) from messaging.claims where queue = 'refunds'";
    let before = books::count(pool, tried).await?;
    eventually("it is tried twice more", SOON, async || {
        Ok((books::count(pool, tried).await? >= before + 2).then_some(()))
    })
    .await?;
    assert_eq!(books::count(pool, told).await?, 1, "the customer is told once");
    system.finish().await
}
