//! Lists: filters, search, order, both directions, views and totals; and what an order shows beside its document.

use anyhow::{Context, Result};
use contracts::{OrderState, ReturnState};
use serde_json::{Value, json};
use tests::waiting::SOON;
use tests::{Api, System, books, shop};

/// The order numbers of one page.
async fn numbers(api: &Api, query: &str) -> Result<Vec<String>> {
    Ok(names(&api.get(&format!("/orders?{query}")).await?.expect(200).json(), "order_number"))
}

fn names(page: &Value, member: &str) -> Vec<String> {
    let data = page["data"].as_array().into_iter().flatten();
    data.filter_map(|one| one[member].as_str().map(str::to_owned)).collect()
}

/// An order of this number.
fn order(number: &str, customer: &str) -> Value {
    let mut order = shop::order();
    order["order_number"] = json!(number);
    order["customer_id"] = json!(customer);
    order["customer_email"] = json!(format!("{customer}@Example.com"));
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_found_by_everything_that_people_know_of_it() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let api = &system.api;
    let mut first = order("AC-1001", "asha");
    first["shipping_address"] =
        json!({ "name": "Aśa Rão", "line1": "1", "city": "जयपुर", "state": "RJ", "phone": "+91 98290 12345" });
    first["items"][0]["sku"] = json!("STL-Ikat/7");
    first["items"][0]["title"] = json!("Ikat stole, indigo");
    let first = shop::place(api, &first).await?;
    let pay = json!({ "payment_transaction_id": "UPI-77" });
    api.post(&format!("/orders/{}/pay", first.id), &pay).await?.expect(200);
    shop::step(api, first.id, "processing").await?.expect(200);
    let ship = json!({ "carrier": "India Post", "tracking_number": "EE123456789IN" });
    api.post(&format!("/orders/{}/ship", first.id), &ship).await?.expect(200);
    let second = shop::place(api, &order("AC-1002", "meera")).await?;
    shop::step(api, second.id, "pay").await?.expect(200);
    shop::place(api, &order("AC-1003", "meera")).await?;
    books::projected(&system.database.pool, SOON).await?;

    for (query, expected) in [
        ("state=PAID,SHIPPED", vec!["AC-1002", "AC-1001"]),
        ("state=PENDING_PAYMENT", vec!["AC-1003"]),
        ("state=PENDING_PAYMENT&state=PAID&sort=created_at", vec!["AC-1002", "AC-1003"]),
        ("customer_id=meera", vec!["AC-1003", "AC-1002"]),
        ("email=MEERA@example.com", vec!["AC-1003", "AC-1002"]),
        ("order_number=AC-1002", vec!["AC-1002"]),
        ("sku=STL-Ikat/7", vec!["AC-1001"]),
        ("sku=stl-ikat/7", vec![]),
        ("tracking_number=EE123456789IN", vec!["AC-1001"]),
        ("payment_transaction_id=UPI-77", vec!["AC-1001"]),
        ("q=ac-1001", vec!["AC-1001"]),
        ("q=1002", vec!["AC-1002"]),
        ("q=indigo+IKAT", vec!["AC-1001"]),
        ("q=ik+sto", vec!["AC-1001"]),
        ("q=ikat+velvet", vec![]),
        ("q=asa+rao", vec!["AC-1001"]),
        ("q=%E0%A4%9C%E0%A4%AF%E0%A4%AA%E0%A5%81%E0%A4%B0", vec!["AC-1001"]),
        ("q=12345", vec!["AC-1001"]),
        ("q=meera@example.com", vec!["AC-1003", "AC-1002"]),
        ("q=EE123456789IN", vec!["AC-1001"]),
        ("q=ee123456789in", vec!["AC-1001"]),
        ("q=UPI-77", vec!["AC-1001"]),
        ("q=UPI-77&state=PAID", vec![]),
        ("q=meera&state=PAID", vec!["AC-1002"]),
        ("q=stl-ikat&sku=STL-Ikat/7", vec!["AC-1001"]),
        ("q=meera&sku=STL-Ikat/7", vec![]),
        ("q=-%20-", vec![]),
        ("q=%27%20%7C%20%21x", vec![]),
        ("q=meera&sort=created_at", vec!["AC-1002", "AC-1003"]),
        ("sort=updated_at", vec!["AC-1001", "AC-1002", "AC-1003"]),
        ("created_from=2999-01-01", vec![]),
        ("updated_from=2020-01-01&updated_to=2999-01-01", vec!["AC-1003", "AC-1002", "AC-1001"]),
    ] {
        assert_eq!(numbers(api, query).await?, expected, "{query}");
    }

    // What was changed in between is found as it is now.
    let patch = json!({ "customer_email": "asha.rao@example.com", "shipping_address": { "name": "Asha Sharma" } });
    let patched = api.patch(&format!("/orders/{}", second.id), &patch).await?.expect(200);
    let found = api.read("/orders?q=sharma", patched.token()).await?.expect(200).json();
    assert_eq!(names(&found, "order_number"), ["AC-1002"]);
    assert_eq!(numbers(api, "email=asha.rao@example.com").await?, ["AC-1002"]);
    assert_eq!(numbers(api, "email=meera@example.com").await?, ["AC-1003"]);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_goes_both_ways_and_sees_each_order_once() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let api = &system.api;
    for number in 1..=23 {
        shop::place(api, &order(&format!("AC-{number:02}"), "walker")).await?;
    }
    books::projected(&system.database.pool, SOON).await?;
    for sort in ["-created_at", "created_at", "-updated_at", "updated_at"] {
        let query = format!("/orders?customer_id=walker&sort={sort}&limit=5&view=summary");
        let mut pages = vec![api.get(&query).await?.expect(200).json()];
        while let Some(cursor) = pages[pages.len() - 1]["next_cursor"].as_str() {
            pages.push(api.get(&format!("{query}&cursor={cursor}")).await?.expect(200).json());
        }
        let mut seen: Vec<_> = pages.iter().flat_map(|page| names(page, "order_number")).collect();
        assert_eq!((pages.len(), seen.len()), (5, 23), "{sort}");
        assert!(pages[0]["prev_cursor"].is_null());
        // Back again, page by page.
        for place in (1..pages.len()).rev() {
            let cursor = pages[place]["prev_cursor"].as_str().context("a page before")?;
            let before = api.get(&format!("{query}&cursor={cursor}")).await?.expect(200).json();
            assert_eq!(before["data"], pages[place - 1]["data"], "{sort}, page {place}");
            assert_eq!(before["prev_cursor"].is_null(), place == 1, "{sort}, page {place}");
            assert_eq!(before["has_more"], true);
        }
        if sort.starts_with('-') {
            seen.reverse();
        }
        assert!(seen.is_sorted(), "{sort}: {seen:?}");
    }
    let first = api.get("/orders?limit=5").await?.expect(200).json();
    let cursor = first["next_cursor"].as_str().context("a cursor")?;
    for other in ["state=PAID&", "sort=created_at&", "q=x&"] {
        api.get(&format!("/orders?{other}cursor={cursor}")).await?.refused(422, "VALIDATION_FAILED");
    }
    api.get(&format!("/returns?cursor={cursor}")).await?.refused(422, "VALIDATION_FAILED");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_shows_what_is_asked_for() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let api = &system.api;
    for _ in 0..3 {
        shop::order_in(api, OrderState::Paid).await?;
    }
    let returned = shop::return_in(api, ReturnState::Requested).await?;
    books::projected(&system.database.pool, SOON).await?;

    let counted = api.get("/orders?state=PAID&limit=2&total=true").await?.expect(200).json();
    assert_eq!((&counted["total"], &counted["total_is_capped"]), (&json!(3), &json!(false)));
    assert_eq!(counted["data"].as_array().map(Vec::len), Some(2));
    assert!(api.get("/orders").await?.expect(200).json().get("total").is_none());

    let members = |page: &Value| -> Vec<String> {
        page["data"][0].as_object().into_iter().flat_map(|one| one.keys().cloned()).collect()
    };
    let summary = api.get("/orders?view=summary").await?.expect(200).json();
    assert!(summary["data"][0]["items"].is_null() && summary["data"][0]["total_minor"].is_i64(), "{summary}");
    let chosen = api.get("/orders?fields=id,state,id,returns").await?.expect(200).json();
    assert_eq!(members(&chosen), ["id", "returns", "state"]);
    assert_eq!(chosen["data"][0]["returns"][0]["id"], json!(returned.id));
    let unknown = api.get("/orders?fields=id,colour").await?.refused(422, "VALIDATION_FAILED");
    assert!(unknown.message.contains("\"colour\" is none of them"), "{}", unknown.message);
    api.get("/orders?fields=id&view=summary").await?.refused(422, "VALIDATION_FAILED");

    let returns = api.get("/returns?q=pottery&view=summary&total=true").await?.expect(200).json();
    assert_eq!((names(&returns, "id"), &returns["total"]), (vec![returned.id.to_string()], &json!(1)));
    assert!(names(&api.get("/returns?sku=JBP-002").await?.expect(200).json(), "id").is_empty());
    assert_eq!(names(&api.get("/returns?sku=JBP-001").await?.expect(200).json(), "id"), [returned.id.to_string()]);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invoices_and_credit_notes_are_looked_up_by_number() -> Result<()> {
    let system = System::start(|options| options.parts = standalone::Part::ALL.to_vec()).await?;
    let api = &system.api;
    let returned = shop::return_in(api, ReturnState::Completed).await?;
    let path = format!("/returns/{}", returned.id);
    let note = tests::eventually("the credit note is there", SOON, async || {
        let shown = api.get(&path).await?.expect(200).returned();
        Ok(shown.credit_note)
    })
    .await?;
    // The two PDFs are printed independently.
    let order = format!("/orders/{}", returned.order_id);
    tests::eventually("the invoice is there", SOON, async || Ok(api.get(&order).await?.expect(200).order().invoice))
        .await?;
    let invoices =
        |query: String| async move { anyhow::Ok(api.get(&format!("/invoices?{query}")).await?.expect(200).json()) };
    let notes = api.get(&format!("/credit-notes?number={}", note.credit_note_number)).await?.expect(200).json();
    assert_eq!(notes["data"], json!([note]));
    let found = invoices(format!("number={}", note.invoice_number)).await?;
    assert_eq!(found["data"][0]["order_id"], json!(returned.order_id));
    for query in [
        format!("order_id={}", returned.order_id),
        format!("order_number={}&issued_from=2020-01-01", returned.order_number),
        "view=summary&sort=issued_at".to_owned(),
        format!("customer_id={}&total=true", returned.customer_id),
    ] {
        assert_eq!(
            names(&invoices(query.clone()).await?, "invoice_number"),
            std::slice::from_ref(&note.invoice_number),
            "{query}"
        );
    }
    assert!(names(&invoices("number=AC/26-27/9999999".to_owned()).await?, "id").is_empty());
    let refunds =
        api.get("/refunds?kind=RETURN&email=MEERA@example.com&status=PENDING,PROCESSED").await?.expect(200).json();
    assert_eq!(names(&refunds, "return_id"), [returned.id.to_string()]);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_shows_what_may_be_done_with_it() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let order = shop::place(api, &shop::order()).await?;
    let path = format!("/orders/{}", order.id);
    for (step, allowed) in [
        (None, json!(["PAY", "CANCEL"])),
        (Some("pay"), json!(["PROCESS", "CANCEL", "REFUND"])),
        (Some("processing"), json!(["SHIP", "REFUND"])),
        (Some("ship"), json!(["DELIVER", "REFUND"])),
        (Some("deliver"), json!(["REFUND", "REQUEST_RETURN"])),
    ] {
        if let Some(step) = step {
            shop::step(api, order.id, step).await?.expect(200);
        }
        books::projected(pool, SOON).await?;
        let shown = api.get(&path).await?.expect(200).json();
        assert_eq!(shown["allowed_actions"], allowed, "{step:?}");
        let units = if step == Some("deliver") { [3, 1] } else { [0, 0] };
        assert_eq!(
            [&shown["items"][0]["returnable_quantity"], &shown["items"][1]["returnable_quantity"]],
            [&json!(units[0]), &json!(units[1])]
        );
    }
    let first = shop::request_return(api, &order, 0, 2).await?;
    let second = shop::request_return(api, &order, 1, 1).await?;
    books::projected(pool, SOON).await?;
    let answer = api.get(&path).await?.expect(200);
    let shown = answer.json();
    assert_eq!(
        [&shown["items"][0]["returnable_quantity"], &shown["items"][1]["returnable_quantity"]],
        [&json!(1), &json!(0)]
    );
    assert_eq!(shown["returns"][0]["id"], json!(first.id));
    assert_eq!(answer.header("etag"), "\"5.2.1\"");
    shop::return_step(api, second.id, "reject").await?.expect(200);
    let last = shop::request_return(api, &order, 0, 1).await?;
    books::projected(pool, SOON).await?;
    let shown = api.get(&path).await?.expect(200).json();
    assert_eq!(
        [&shown["items"][0]["returnable_quantity"], &shown["items"][1]["returnable_quantity"]],
        [&json!(0), &json!(1)]
    );
    assert_eq!(shown["returns"].as_array().map(Vec::len), Some(3), "the rejected one too");
    let returned = api.get(&format!("/returns/{}?expand=history", last.id)).await?.expect(200).json();
    assert_eq!(returned["allowed_actions"], json!(["APPROVE", "REJECT", "WITHDRAW"]));
    assert_eq!(returned["history"][0]["to_state"], "REQUESTED");

    let with_history = api.get(&format!("{path}?expand=history")).await?.expect(200).json();
    let states: Vec<_> =
        with_history["history"].as_array().into_iter().flatten().map(|entry| entry["to_state"].clone()).collect();
    assert_eq!(json!(states), json!(["PENDING_PAYMENT", "PAID", "PROCESSING_IN_WAREHOUSE", "SHIPPED", "DELIVERED"]));
    api.get(&format!("{path}?expand=invoice")).await?.refused(422, "VALIDATION_FAILED");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_return_is_offered_after_its_window() -> Result<()> {
    let system = System::start(|options| {
        options.command.return_window_days = 0;
        options.query.return_window_days = 0;
    })
    .await?;
    let api = &system.api;
    let order = shop::order_in(api, OrderState::Delivered).await?;
    books::projected(&system.database.pool, SOON).await?;
    let path = format!("/orders/{}", order.id);
    assert_eq!(api.get(&path).await?.expect(200).json()["allowed_actions"], json!(["REFUND", "REQUEST_RETURN"]));
    sqlx::query(
        "update read.orders set document = (document::jsonb || '{\"delivered_at\": \"2026-01-01T00:00:00Z\"}')::json",
    )
    .execute(&system.database.pool)
    .await?;
    let shown = api.get(&path).await?.expect(200);
    assert_eq!(shown.json()["allowed_actions"], json!(["REFUND"]));
    assert_eq!(shown.json()["items"][0]["returnable_quantity"], 0);
    assert_eq!(shown.header("etag"), "\"5\"");
    system.abandon().await
}
