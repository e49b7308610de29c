//! The main flow, from the first POST to the refund, on both transports.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use contracts::{ActorType, OrderState, Queue, RefundStatus, ReturnDocument, ReturnState, Transition, Trigger};
use messaging::TransportConfig;
use reqwest::Method;
use serde_json::{Value, json};
use standalone::Part;
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{Answer, Api, System, books, eventually, shop};
use uuid::Uuid;

const NUMBER: &str = "AC-2026-004711";
const TITLE: &str = "मधुबनी कला: Tree of Life";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The customer paid ₹12,34,569.00 less a share of the discount for the three units of the first line. In paise the units
/// are 40,821,644, 40,821,644 and 40,821,645.
const FIRST_UNIT: i64 = 40_821_644;

fn painting() -> Value {
    json!({
        "order_number": NUMBER, "customer_id": "cust-77", "customer_email": "meera@example.com",
        "payment_method": "UPI", "discount_minor": 1_000_001, "shipping_minor": 15_000,
        "shipping_address": { "name": "Meera Nair", "line1": "12 MG Road", "city": "Kochi", "state": "Kerala",
                              "postal_code": "682011", "country": "India" },
        "items": [
            { "sku": "MDB-001", "title": TITLE, "quantity": 3, "unit_price_minor": 41_152_300, "hsn": "9701" },
            { "sku": "JBP-014", "title": "Blue pottery vase", "quantity": 1, "unit_price_minor": 999_900 },
        ],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_all_the_way_on_the_queue_in_postgres() -> Result<()> {
    Box::pin(main_job(&TransportConfig::default())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_all_the_way_on_rabbitmq() -> Result<()> {
    let broker = Broker::new().await?;
    Box::pin(main_job(&broker.transport())).await?;
    // A quorum queue refreshes its message count every few seconds.
    eventually_equal("everything is acknowledged", SOON, 0, async || broker.messages().await).await
}

async fn main_job(transport: &TransportConfig) -> Result<()> {
    let system = System::start_via(transport, &Part::ALL).await?;
    let order = order_is_delivered(&system).await?;
    order_history(&system, order).await?;
    invoice(&system, order).await?;
    let refunded = partial_return(&system, order).await?;
    credit_note(&system, &refunded).await?;
    rejected_return(&system, order).await?;
    messages_to_the_customer(&system, order).await?;
    one_trace(&system, order, refunded.id).await?;
    for queue in Queue::JOBS {
        books::drained(&system.database.pool, queue, SOON).await?;
    }
    books::projected(&system.database.pool, SOON).await?;
    system.finish().await
}

/// Sends a command with all headers of a careful client.
async fn command(api: &Api, path: &str, request_id: &str, body: &Value) -> Result<Answer> {
    let call = api.call(Method::POST, path).header("X-Request-Id", request_id).header("X-Actor", "shop-front");
    let answer = call.header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01")).json(body).send().await?;
    assert_eq!(answer.header("x-request-id"), request_id);
    Ok(answer)
}

/// Asserts what every command answers, and that a query with its token shows the change at once.
async fn read_back(api: &Api, plural: &str, answer: &Answer, version: i32) -> Result<Value> {
    let document = answer.json();
    let id = document["id"].as_str().unwrap_or_default();
    assert_eq!(answer.header("etag"), format!("\"{version}\""));
    assert_eq!(document["version"], version);
    assert!(
        answer.token().starts_with(&format!("{}:{id}@{version}.", plural.trim_end_matches('s'))),
        "{}",
        answer.token()
    );
    let mut seen = api.read(&format!("/{plural}/{id}"), answer.token()).await?.expect(200).json();
    // Workers may have added their results already, and queries say what may be done next.
    seen.as_object_mut()
        .expect("an object")
        .retain(|name, _| !["invoice", "refund", "credit_note", "allowed_actions"].contains(&name.as_str()));
    for item in seen["items"].as_array_mut().into_iter().flatten() {
        item.as_object_mut().expect("an object").remove("returnable_quantity");
    }
    assert_eq!(seen, document);

    let list = api.call(Method::GET, &format!("/{plural}?order_number={NUMBER}&consistency={}", answer.token()));
    let list = list.send().await?.expect(200).json();
    let listed = list["data"].as_array().expect("a list").iter().find(|one| one["id"] == id);
    assert_eq!(listed.map(|one| &one["state"]), Some(&document["state"]));
    Ok(document)
}

async fn order_is_delivered(system: &System) -> Result<Uuid> {
    let api = &system.api;
    let placed = command(api, "/orders", "flow-1", &painting()).await?.expect(201);
    let order = placed.order();
    assert_eq!(placed.header("location"), format!("/api/v1/orders/{}", order.id));
    assert_eq!(order.id.get_version_num(), 7);
    assert_eq!((order.subtotal_minor, order.total_minor), (124_456_800, 123_471_799));
    read_back(api, "orders", &placed, 1).await?;

    let path = |step: &str| format!("/orders/{}/{step}", order.id);
    let parcel = json!({ "carrier": "India Post", "tracking_number": "EM123456789IN", "reason": "Packed by hand" });
    for (version, step, body, state) in [
        (2, "pay", json!({ "payment_transaction_id": "upi-4711" }), OrderState::Paid),
        (3, "processing", json!({ "actor": "warehouse-3" }), OrderState::ProcessingInWarehouse),
        (4, "ship", parcel, OrderState::Shipped),
        (5, "deliver", json!({}), OrderState::Delivered),
    ] {
        let answer = command(api, &path(step), &format!("flow-{version}"), &body).await?.expect(200);
        assert_eq!(answer.order().state, state);
        read_back(api, "orders", &answer, version).await?;
    }
    let delivered = api.get(&format!("/orders/{}", order.id)).await?.expect(200).order();
    assert_eq!(delivered.payment_transaction_id.as_deref(), Some("upi-4711"));
    assert_eq!(delivered.tracking_number.as_deref(), Some("EM123456789IN"));
    let times = [
        Some(delivered.created_at),
        delivered.paid_at,
        delivered.processing_at,
        delivered.shipped_at,
        delivered.delivered_at,
    ];
    assert!(times.iter().all(Option::is_some) && times.is_sorted(), "{times:?}");
    Ok(order.id)
}

fn steps(history: &[Transition]) -> Vec<(i32, Option<&str>, &str, &str)> {
    history
        .iter()
        .map(|one| (one.version, one.from_state.as_deref(), one.to_state.as_str(), one.actor.as_str()))
        .collect()
}

async fn order_history(system: &System, order: Uuid) -> Result<()> {
    let history = system
        .api
        .read(&format!("/orders/{order}/history"), &system.token("order", order, 5).await?)
        .await?
        .expect(200)
        .history();
    assert_eq!(
        steps(&history),
        [
            (1, None, "PENDING_PAYMENT", "shop-front"),
            (2, Some("PENDING_PAYMENT"), "PAID", "shop-front"),
            (3, Some("PAID"), "PROCESSING_IN_WAREHOUSE", "warehouse-3"),
            (4, Some("PROCESSING_IN_WAREHOUSE"), "SHIPPED", "shop-front"),
            (5, Some("SHIPPED"), "DELIVERED", "shop-front"),
        ]
    );
    for (entry, n) in history.iter().zip(1..) {
        assert_eq!((entry.actor_type, entry.trigger), (ActorType::User, Trigger::ApiCall));
        assert_eq!(entry.ip_address.as_deref(), Some("127.0.0.1"));
        assert_eq!(entry.request_id, Some(format!("flow-{n}")));
        assert_eq!(entry.trace_id.as_deref(), Some(TRACE));
    }
    assert_eq!(history[3].reason.as_deref(), Some("Packed by hand"));
    assert_eq!(history[3].metadata, json!({ "carrier": "India Post", "tracking_number": "EM123456789IN" }));
    Ok(())
}

/// The output of a program of poppler-utils for a PDF.
pub(crate) fn poppler(program: &str, arguments: &[&str], pdf: &Path) -> Result<String> {
    let output =
        Command::new(program).args(arguments).arg(pdf).args((program == "pdftotext").then_some("-")).output()?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

async fn invoice(system: &System, order: Uuid) -> Result<()> {
    let path = format!("/orders/{order}/invoice");
    let served = eventually("the invoice is served", SOON, async || {
        let answer = system.api.get(&path).await?;
        Ok((answer.status == 200).then_some(answer))
    })
    .await?;
    let file = system.invoices().join(format!("invoice_{NUMBER}.pdf"));
    assert_eq!(served.header("content-type"), "application/pdf");
    assert!(served.header("content-disposition").contains(&format!("filename=\"invoice_{NUMBER}.pdf\"")));
    assert!(served.body.starts_with(b"%PDF"));
    assert!(std::fs::read(&file)? == served.body, "the API serves the file on disk");
    assert_eq!(std::fs::read_dir(system.invoices())?.count(), 1, "one PDF, and no temporary file");

    let unchanged = system.api.call(Method::GET, &path).header("If-None-Match", served.header("etag")).send().await?;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let document = system.api.get(&format!("/orders/{order}")).await?.expect(200).order().invoice.expect("the invoice");
    assert_eq!(served.header("etag"), format!("\"{}\"", document.sha256));
    assert_eq!(document.size_bytes, i64::try_from(served.body.len())?);

    let text = poppler("pdftotext", &["-layout"], &file)?;
    for wanted in [
        NUMBER,
        "₹4,11,523.00",
        "₹12,34,569.00",
        "₹9,999.00",
        "₹12,44,568.00",
        "₹10,000.01",
        "₹150.00",
        "₹12,34,717.99",
        "मधुबनी",
        "Tree of Life",
        "Meera Nair",
        "Kochi",
        "EM123456789IN",
        &document.invoice_number,
    ] {
        assert!(text.contains(wanted), "{wanted} is not in the invoice:\n{text}");
    }
    // name type encoding emb sub uni object ID; names and types may have spaces, so count from the end.
    let fonts = poppler("pdffonts", &[], &file)?;
    let fonts: Vec<Vec<&str>> = fonts.lines().skip(2).map(|line| line.split_whitespace().rev().collect()).collect();
    assert!(fonts.len() >= 2, "a Latin and a Devanagari font: {fonts:?}");
    assert!(fonts.iter().all(|font| font[4] == "yes"), "every font is embedded: {fonts:?}");
    Ok(())
}

async fn partial_return(system: &System, order: Uuid) -> Result<ReturnDocument> {
    let api = &system.api;
    let delivered = api.get(&format!("/orders/{order}")).await?.expect(200).order();
    let requested = command(api, "/returns", "flow-return-1", &shop::return_of(&delivered, 0, 1)).await?.expect(201);
    let returned = requested.returned();
    assert_eq!(requested.header("location"), format!("/api/v1/returns/{}", returned.id));
    assert_eq!((returned.state, returned.refund_amount_minor), (ReturnState::Requested, FIRST_UNIT));
    read_back(api, "returns", &requested, 1).await?;
    for (version, step, body) in [
        (2, "approve", json!({ "approval_notes": "Within the window", "actor": "manager-1" })),
        (3, "in-transit", json!({ "carrier": "Delhivery", "tracking_number": "RT-1" })),
        (4, "received", json!({})),
        (5, "complete", json!({})),
    ] {
        let path = format!("/returns/{}/{step}", returned.id);
        let answer = command(api, &path, &format!("flow-return-{version}"), &body).await?.expect(200);
        read_back(api, "returns", &answer, version).await?;
    }
    let path = format!("/returns/{}", returned.id);
    let seen = eventually("the refund is processed", SOON, async || {
        let seen = api.get(&path).await?.expect(200).returned();
        Ok(seen.refund.as_ref().is_some_and(|refund| refund.status == RefundStatus::Processed).then_some(seen))
    })
    .await?;
    let refund = seen.refund.clone().expect("a refund");
    let ledger = system.gateway.get("/refunds").await?.expect(200).json();
    assert_eq!((&ledger["count"], &ledger["total_by_currency"]), (&json!(1), &json!({ "INR": FIRST_UNIT })));
    let entry = &ledger["refunds"][0];
    assert_eq!((&entry["return_id"], &entry["amount"]), (&json!(returned.id), &json!(FIRST_UNIT)));
    assert_eq!((refund.amount_minor, refund.version), (FIRST_UNIT, 2));
    assert_eq!(entry["transaction_id"].as_str(), refund.transaction_id.as_deref());
    assert!(refund.transaction_id.is_some_and(|id| !id.is_empty()) && refund.processed_at.is_some());

    let history = api.get(&format!("{path}/history")).await?.expect(200).history();
    let to: Vec<_> = history.iter().map(|entry| entry.to_state.as_str()).collect();
    assert_eq!(to, ["REQUESTED", "APPROVED", "IN_TRANSIT", "RECEIVED", "COMPLETED"]);
    assert_eq!(
        (history[1].actor.as_str(), &history[1].metadata["approval_notes"]),
        ("manager-1", &json!("Within the window"))
    );
    Ok(seen)
}

async fn credit_note(system: &System, returned: &ReturnDocument) -> Result<()> {
    let path = format!("/returns/{}/credit-note", returned.id);
    let served = eventually("the credit note is served", SOON, async || {
        let answer = system.api.get(&path).await?;
        Ok((answer.status == 200).then_some(answer))
    })
    .await?;
    assert_eq!(served.header("content-type"), "application/pdf");
    let seen = system.api.get(&format!("/returns/{}", returned.id)).await?.expect(200).returned();
    let note = seen.credit_note.expect("the credit note");
    let order = system.api.get(&format!("/orders/{}", seen.order_id)).await?.expect(200).order();
    let invoice = order.invoice.expect("the invoice");
    assert!(note.credit_note_number.starts_with("CN/") && note.credit_note_number.ends_with("/0000001"), "{note:?}");
    assert_eq!((note.total_minor, &note.invoice_number), (FIRST_UNIT, &invoice.invoice_number));
    assert_eq!(served.header("etag"), format!("\"{}\"", note.sha256));
    assert_eq!(note.path, format!("credit_note_{}.pdf", note.credit_note_number.replace('/', "-")));

    let text = poppler("pdftotext", &["-layout"], &system.invoices().join(&note.path))?;
    let wanted = [
        "Credit Note",
        &note.credit_note_number,
        &invoice.invoice_number,
        NUMBER,
        "₹4,08,216.44",
        "Tree of Life",
        "Meera Nair",
    ];
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted} is not in the credit note:\n{text}");
    }
    let missing = format!("/returns/{}/credit-note", Uuid::nil());
    system.api.get(&missing).await?.refused(404, "RETURN_NOT_FOUND");
    Ok(())
}

async fn rejected_return(system: &System, order: Uuid) -> Result<()> {
    let api = &system.api;
    let delivered = api.get(&format!("/orders/{order}")).await?.expect(200).order();
    let rest = shop::request_return(api, &delivered, 0, 2).await?;
    assert_eq!(rest.refund_amount_minor, 2 * FIRST_UNIT + 1, "the last unit gets the paisa that does not divide");
    let more = api.post("/returns", &shop::return_of(&delivered, 0, 1)).await?.refused(400, "RETURN_NOT_ALLOWED");
    assert_eq!(more.details["reason"], "QUANTITY_EXCEEDS_RETURNABLE");
    let none =
        api.read(&format!("/returns/{}/credit-note", rest.id), &system.token("return", rest.id, 1).await?).await?;
    none.refused(404, "CREDIT_NOTE_NOT_FOUND");
    let rejected = shop::return_step(api, rest.id, "reject").await?.expect(200);
    assert_eq!(rejected.returned().rejection_category.as_deref(), Some("WORN"));
    read_back(api, "returns", &rejected, 2).await?;
    let again = shop::request_return(api, &delivered, 0, 2).await?;
    assert_eq!(again.refund_amount_minor, rest.refund_amount_minor);
    Ok(())
}

async fn messages_to_the_customer(system: &System, order: Uuid) -> Result<()> {
    let wanted: BTreeMap<String, i64> = [
        "order_received",
        "order_confirmation",
        "order_shipped",
        "return_approved",
        "return_rejected",
        "refund_processed",
    ]
    .map(|kind| (kind.to_owned(), 1))
    .into();
    books::delivered(&system.database.pool, SOON).await?;
    books::drained(&system.database.pool, Queue::Notifications, SOON).await?;
    let sent: Vec<(String, i64)> =
        sqlx::query_as("select kind, count(*) from work.emails group by kind").fetch_all(&system.database.pool).await?;
    assert_eq!(sent.into_iter().collect::<BTreeMap<_, _>>(), wanted, "for order {order}");
    Ok(())
}

/// Entity, state, trace, request and actor.
type Effect = (String, String, Option<String>, Option<String>, String);

/// The workers' changes have the trace and the request id of the command that caused them.
async fn one_trace(system: &System, order: Uuid, returned: Uuid) -> Result<()> {
    let effects: Vec<Effect> = sqlx::query_as(
        "select entity_type, to_state, trace_id, request_id, actor_type || ' ' || trigger from command.state_transitions
         where entity_id in (select id from work.invoices where order_id = $1 union select id from command.refunds where return_id = $2)
         order by entity_type, version",
    )
    .bind(order)
    .bind(returned)
    .fetch_all(&system.database.pool)
    .await?;
    let by = |who: &str, entity: &str, state: &str, request: &str| {
        (entity.into(), state.into(), Some(TRACE.into()), Some(request.into()), who.into())
    };
    let effect = |entity: &str, state: &str, request: &str| by("SYSTEM BACKGROUND_JOB", entity, state, request);
    assert_eq!(
        effects,
        [
            effect("invoice", "GENERATED", "flow-4"),
            by("USER API_CALL", "refund", "PENDING", "flow-return-5"),
            effect("refund", "PROCESSED", "flow-return-5"),
        ]
    );
    Ok(())
}
