//! The story of an order and of a return: what belongs to it, and the way to where else it is.

use anyhow::{Context, Result};
use contracts::{OrderState, ReturnState};
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde_json::Value;
use standalone::Part;
use tests::waiting::SOON;
use tests::{System, books, eventually, shop};

use uuid::Uuid;

use super::Browser;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_return_has_a_page_of_its_own_with_ways_to_what_it_names() -> Result<()> {
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.console.links.console_trace_url = "https://traces.example.in/{trace_id}".parse().ok();
        options.console.links.console_refund_url = "https://bank.example.in/r?id={transaction_id}".parse().ok();
    })
    .await?;
    let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
    books::settled(&system.database.pool).await?;
    let (id, number) = (returned.id.to_string(), returned.order_number.to_string());
    let told = system.api.get(&format!("/ops/stories/{number}")).await?.expect(200).json();
    let [refund] = told["refunds"].as_array().context("refunds")?.as_slice() else { panic!("one refund: {told}") };
    let transaction = refund["transaction_id"].as_str().context("it is paid")?;
    let trace = told["steps"][0]["trace_id"].as_str().context("a trace")?;
    assert_eq!(
        (&told["returns"][0]["id"], &told["returns"][0]["state"]),
        (&Value::from(&*id), &Value::from("COMPLETED"))
    );

    let mut browser = Browser::of(&system)?;
    let order = browser.open(&format!("/console/orders/{number}")).await?.expect(200);
    order
        .has(&format!("href=\"/console/returns/{id}\""))
        .has(&format!("href=\"https://traces.example.in/{trace}\""))
        .has(&format!("href=\"https://bank.example.in/r?id={}\"", super::encoded(transaction)))
        .has("PENDING_PAYMENT");
    let page = browser.open(&format!("/console/find?q={id}")).await?.expect(200);
    assert_eq!(page.path, format!("/console/returns/{id}"));
    page.has(&format!("Return of {number}"))
        .has(&format!("href=\"/console/orders/{}\"", super::encoded(&number)))
        .has("return.completed")
        .has("refund.processed")
        .has("credit_note")
        .has(transaction)
        .lacks("PENDING_PAYMENT")
        .lacks("order.shipped");
    for none in [Uuid::nil().to_string(), "x".to_owned(), told["order_id"].as_str().context("an id")?.to_owned()] {
        browser.open(&format!("/console/returns/{none}")).await?.expect(404).has("RETURN_NOT_FOUND");
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pdf_of_a_document_opens_for_a_reason_that_is_kept() -> Result<()> {
    let system = System::start(|options| options.parts = Part::ALL.to_vec()).await?;
    let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
    books::settled(&system.database.pool).await?;
    let told = system.api.get(&format!("/ops/stories/{}", returned.order_number)).await?.expect(200).json();
    let documents = told["documents"].as_array().context("documents")?;
    assert_eq!(documents.len(), 2, "an invoice and a credit note: {told}");
    let mut browser = Browser::of(&system)?;
    let page = browser.open(&format!("/console/orders/{}", returned.order_number)).await?.expect(200);
    let token = page.form_token();
    let fields = [("actor", "anita"), ("reason", "the customer asks for a copy"), ("form_token", &*token)];
    let recorded = "select count(*) from messaging.operator_actions where action = 'REVEAL'";
    for (before, document) in documents.iter().enumerate() {
        let path = format!("/console/documents/{}", document["id"].as_str().context("an id")?);
        page.has(&format!("action=\"{path}\""));
        for (without, status) in [("reason", 422), ("form_token", 422)] {
            let less: Vec<_> = fields.into_iter().filter(|(name, _)| *name != without).collect();
            browser.send(&path, &less).await?.expect(status);
        }
        let led = browser.open(&path).await?.expect(200);
        assert_eq!(led.path, path.replace("documents", "orders").replace('-', "%2D"), "an address alone opens no PDF");
        assert_eq!(books::count(&system.database.pool, recorded).await?, i64::try_from(before)?);
        let answer = browser.filled_in(&path, &fields).send().await?.error_for_status()?;
        let headers = answer.headers().clone();
        let (kind, name) = (headers[CONTENT_TYPE].to_str()?, headers[CONTENT_DISPOSITION].to_str()?);
        assert!(kind == "application/pdf" && name.starts_with("inline; filename=\""), "{kind}, {name}");
        assert_eq!(headers["cache-control"], "private, no-store");
        let file = answer.bytes().await?;
        assert!(file.starts_with(b"%PDF-") && Some(file.len() as u64) == document["size_bytes"].as_u64());
        let named = "select count(*) from messaging.operator_actions
                     where action = 'REVEAL' and actor = 'anita' and source = 'CONSOLE' and target = jsonb_build_object('documents', jsonb_build_array($1::text))";
        let number = document["number"].as_str().context("a number")?;
        let named: i64 = sqlx::query_scalar(named).bind(number).fetch_one(&system.database.pool).await?;
        assert_eq!(named, 1, "{number}");
    }
    let unknown = format!("/console/documents/{}", Uuid::nil());
    browser.send(&unknown, &fields).await?.expect(404).has("DOCUMENT_NOT_FOUND");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_without_a_pdf_says_why() -> Result<()> {
    let system = System::start(|options| options.parts = Part::ALL.to_vec()).await?;
    let order = shop::order_in(&system.api, OrderState::Shipped).await?;
    let pool = &system.database.pool;
    let stored = "select id from work.invoices where stored_at is not null";
    let id: Uuid =
        eventually("an invoice", SOON, async || Ok(sqlx::query_scalar(stored).fetch_optional(pool).await?)).await?;
    let mut browser = Browser::of(&system)?;
    let page = browser.open(&format!("/console/orders/{}", order.order_number)).await?.expect(200);
    let token = page.form_token();
    let fields = [("actor", "anita"), ("reason", "a test"), ("form_token", &*token)];
    let path = format!("/console/documents/{id}");
    let file = system.invoices().join(format!("invoice_{}.pdf", order.order_number));
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside)?;
    browser.send(&path, &fields).await?.expect(404).has("DOCUMENT_FILE_MISSING").has("is gone");
    std::fs::rename(&aside, &file)?;
    browser.filled_in(&path, &fields).send().await?.error_for_status()?;
    system.finish().await
}
