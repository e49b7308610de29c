//! Exports: files that are made in the background.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use chrono::Duration;
use contracts::{OrderState, ReturnState};
use query::reports::{Report, SalesDay};
use query::{ExportDocument, ExportList, ExportStatus};
use runtime::Clock;
use serde_json::{Value, json};
use standalone::Part;
use tests::waiting::SOON;
use tests::{Api, System, books, eventually, servers, shop};
use uuid::Uuid;

async fn ask(api: &Api, body: &Value) -> Result<ExportDocument> {
    Ok(serde_json::from_slice(&api.post("/exports", body).await?.expect(202).body)?)
}

async fn look(api: &Api, id: Uuid) -> Result<ExportDocument> {
    Ok(serde_json::from_slice(&api.get(&format!("/exports/{id}")).await?.expect(200).body)?)
}

async fn ended(api: &Api, id: Uuid) -> Result<ExportDocument> {
    eventually("the export has ended", SOON, async || {
        let export = look(api, id).await?;
        let is_open = matches!(export.status, ExportStatus::Pending | ExportStatus::Running);
        Ok((!is_open).then_some(export))
    })
    .await
}

/// Asks for an export, waits for it, and fetches its file.
async fn export(api: &Api, body: &Value) -> Result<(ExportDocument, Vec<u8>)> {
    let ready = ended(api, ask(api, body).await?.id).await?;
    assert_eq!((ready.status, &ready.error), (ExportStatus::Ready, &None));
    let file = api.get(link(&ready)?).await?.expect(200);
    assert_eq!(file.body.len().to_string(), ready.bytes.to_string());
    Ok((ready, file.body))
}

fn link(export: &ExportDocument) -> Result<&str> {
    export.url.as_deref().and_then(|url| url.strip_prefix("/api/v1")).context("a link")
}

/// The rows of a CSV, by the names of its header.
fn rows(file: &[u8]) -> Result<Vec<BTreeMap<String, String>>> {
    let text = std::str::from_utf8(file)?.strip_prefix('\u{feff}').context("a byte order mark")?;
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| Ok(row?)).collect()
}

fn sum(rows: &[BTreeMap<String, String>], column: &str) -> i64 {
    rows.iter().map(|row| row[column].parse::<i64>().expect("a number")).sum()
}

/// Orders in all states, and returns of them.
async fn some_orders(system: &System, orders: usize) -> Result<()> {
    let api = &system.api;
    for number in 0..orders {
        let placed = shop::place(api, &shop::order_of(&[(2, 8_999)])).await?;
        match number % 3 {
            0 => {}
            1 => drop(shop::bring(api, placed, OrderState::Paid).await?),
            _ => {
                let order = shop::bring(api, placed, OrderState::Delivered).await?;
                let returned = shop::request_return(api, &order, 0, 1).await?;
                shop::bring_return(api, returned, ReturnState::Completed).await?;
            }
        }
    }
    books::settled(&system.database.pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_has_what_lists_and_reports_have() -> Result<()> {
    let system = System::start(|options| options.parts = Part::ALL.to_vec()).await?;
    let api = &system.api;
    some_orders(&system, 9).await?;
    eventually("the documents are issued", SOON, async || {
        let invoices = api.get("/invoices").await?.expect(200).json();
        let notes = api.get("/credit-notes").await?.expect(200).json();
        let count = |page: &Value| page["data"].as_array().map(Vec::len);
        Ok(((count(&invoices), count(&notes)) == (Some(3), Some(3))).then_some(()))
    })
    .await?;
    books::settled(&system.database.pool).await?;

    let (export_of_orders, file) = export(api, &json!({ "kind": "orders" })).await?;
    let orders = rows(&file)?;
    assert_eq!((export_of_orders.rows, orders.len()), (9, 9));
    let listed = api.get("/orders?limit=100").await?.expect(200).json();
    let listed = listed["data"].as_array().context("a list")?;
    for row in &orders {
        let order = listed.iter().find(|order| order["id"] == row["order_id"].as_str()).context("the order")?;
        let of_order = |name: &str| order[name].to_string().trim_matches('"').to_owned();
        for name in ["order_number", "customer_id", "state", "currency", "subtotal_minor", "tax_minor", "total_minor"] {
            assert_eq!(row[name], of_order(name), "{name}");
        }
        let invoice = order["invoice"]["invoice_number"].as_str().unwrap_or_default();
        assert_eq!(row["invoice_number"], invoice);
        assert_eq!(row.keys().filter(|name| name.contains("email") || name.contains("name")).count(), 0);
    }
    let sales: Report<SalesDay> = serde_json::from_slice(&api.get("/reports/sales/daily").await?.expect(200).body)?;
    let sold: i64 = sales.data.iter().map(|day| day.total_minor).sum();
    let paid: Vec<_> = orders.iter().filter(|row| !row["paid_on"].is_empty()).cloned().collect();
    assert_eq!(sum(&paid, "total_minor"), sold);
    let (_, file) = export(api, &json!({ "kind": "sales_daily", "from": "1999-01-01" })).await?;
    assert_eq!(sum(&rows(&file)?, "total_minor"), sold);

    for (kind, count, total) in [("returns", 3, "refund_amount_minor"), ("refunds", 3, "amount_minor")] {
        let (_, file) = export(api, &json!({ "kind": kind })).await?;
        let rows = rows(&file)?;
        assert_eq!((rows.len(), sum(&rows, total)), (count, 3 * 8_999), "{kind}");
    }
    let mut taxed = 0;
    for (kind, each) in [("invoices", 2 * 8_999), ("credit_notes", 8_999)] {
        let (_, file) = export(api, &json!({ "kind": kind })).await?;
        let rows = rows(&file)?;
        assert_eq!((rows.len(), sum(&rows, "total_minor")), (3, 3 * each), "{kind}");
        taxed += sum(&rows, "taxable_minor");
    }
    let (_, file) = export(api, &json!({ "kind": "tax_lines" })).await?;
    assert_eq!(sum(&rows(&file)?, "taxable_minor"), taxed);
    for kind in ["returns_by_sku", "returns_by_reason", "lead_times"] {
        let (export, _) = export(api, &json!({ "kind": kind })).await?;
        assert!(export.rows > 0, "{kind}");
    }

    let (_, file) = export(api, &json!({ "kind": "orders", "format": "xlsx" })).await?;
    let workbook = servers::workbook_rows(&file)?;
    assert_eq!(workbook.len(), 10);
    let column = workbook[0].iter().position(|name| name == "total_minor").context("the column")?;
    let total: i64 = workbook[1..].iter().filter_map(|row| row[column].as_i64()).sum();
    assert_eq!(total, sum(&orders, "total_minor"), "as numbers");

    let (none, file) = export(api, &json!({ "kind": "orders", "to": "2001-01-01" })).await?;
    assert_eq!((none.rows, rows(&file)?.len()), (0, 0));
    assert!(String::from_utf8(file)?.contains("order_number,"), "a header");
    let all: ExportList = serde_json::from_slice(&api.get("/exports").await?.expect(200).body)?;
    assert_eq!((all.data.len(), all.data[0].id), (12, none.id), "the newest first");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_exported_page_by_page() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let copies = "insert into read.order_facts (order_id, currency, state, units, subtotal_minor, discount_minor, shipping_minor, tax_minor,
                      total_minor, placed_on)
                  select id, 'INR', 'PENDING_PAYMENT', 1, n, 0, 0, 0, n, date '2025-01-01' + n / 3000
                  from (select gen_random_uuid() as id, n from generate_series(1, 7000) as n) as one";
    sqlx::query(copies).execute(&system.database.pool).await?;
    sqlx::query(
        "insert into read.orders (id, version, order_number, customer_id, state, created_at, updated_at, document)
         select order_id, 1, total_minor::text, 'c', 'PENDING_PAYMENT', now(), now(), '{}' from read.order_facts",
    )
    .execute(&system.database.pool)
    .await?;
    let (ready, file) = export(&system.api, &json!({ "kind": "orders", "from": "2025-01-01" })).await?;
    let rows = rows(&file)?;
    assert_eq!((ready.rows, rows.len(), sum(&rows, "total_minor")), (7_000, 7_000, 7_000 * 7_001 / 2));
    let numbers: std::collections::BTreeSet<_> = rows.iter().map(|row| &row["order_number"]).collect();
    assert_eq!(numbers.len(), 7_000, "each once");
    let (ready, _) =
        export(&system.api, &json!({ "kind": "orders", "from": "2025-01-02", "to": "2025-01-02" })).await?;
    assert_eq!(ready.rows, 3_000);

    // A workbook has its limit, and says so.
    sqlx::query(
        "insert into read.order_facts select gen_random_uuid(), currency, state, units, subtotal_minor, discount_minor, shipping_minor,
             tax_minor, total_minor, placed_on from read.order_facts, generate_series(1, 14)",
    )
    .execute(&system.database.pool)
    .await?;
    sqlx::query(
        "insert into read.orders (id, version, order_number, customer_id, state, created_at, updated_at, document)
         select order_id, 1, order_id::text, 'c', 'PENDING_PAYMENT', now(), now(), '{}' from read.order_facts on conflict do nothing",
    )
    .execute(&system.database.pool)
    .await?;
    let asked = ask(&system.api, &json!({ "kind": "orders", "format": "xlsx" })).await?;
    let refused = ended(&system.api, asked.id).await?;
    assert_eq!(refused.status, ExportStatus::Failed);
    assert!(refused.error.context("a reason")?.contains("ask for csv"), "once, and not three times");
    // No event has made these orders, so there is nothing to be audited.
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_signed_and_ends() -> Result<()> {
    let clock = Clock::fixed(Clock::system().now());
    let system = System::start(|options| options.clock = clock.clone()).await?;
    let api = &system.api;
    shop::place(api, &shop::order_of(&[(1, 8_999)])).await?;
    let (ready, _) = export(api, &json!({ "kind": "orders" })).await?;
    let url = link(&ready)?.to_owned();
    let other = ended(api, ask(api, &json!({ "kind": "returns" })).await?.id).await?;
    let (_, signed) = url.split_once('?').context("a query")?;
    let expires = ready.url_expires_at.context("an end")?.timestamp();
    for forged in [
        format!("/exports/{}/file?{signed}", other.id),
        url.replace(&expires.to_string(), &(expires + 1).to_string()),
        url.to_uppercase()
            .replace("/EXPORTS", "/exports")
            .replace("FILE?EXPIRES", "file?expires")
            .replace("SIGNATURE", "signature"),
    ] {
        api.get(&forged).await?.refused(403, "LINK_INVALID");
    }
    api.get(&format!("/exports/{}/file", ready.id)).await?.refused(422, "VALIDATION_FAILED");
    clock.advance(Duration::minutes(15));
    api.get(&url).await?.refused(403, "LINK_EXPIRED");
    let again = look(api, ready.id).await?;
    api.get(link(&again)?).await?.expect(200);

    // A day later the file is gone, and a link that is still good says so.
    let last = again.expires_at.context("an end")?;
    clock.set(last - Duration::minutes(1));
    let late = look(api, ready.id).await?;
    assert!(late.url_expires_at.context("an end")? <= last);
    clock.set(last);
    ask(api, &json!({ "kind": "refunds" })).await?;
    eventually("the file is deleted", SOON, async || {
        Ok((look(api, ready.id).await?.status == ExportStatus::Expired).then_some(()))
    })
    .await?;
    let left: i64 = sqlx::query_scalar("select count(*) from read.export_parts where export_id = $1")
        .bind(ready.id)
        .fetch_one(&system.database.pool)
        .await?;
    assert_eq!((left, look(api, ready.id).await?.url), (0, None));
    clock.set(last - Duration::minutes(1));
    api.get(link(&late)?).await?.refused(410, "EXPORT_EXPIRED");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_outlives_who_makes_it() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let placed = shop::place(api, &shop::order_of(&[(1, 8_999)])).await?;
    api.read(&format!("/orders/{}", placed.id), &system.token("order", placed.id, 1).await?).await?.expect(200);
    // One that a killed process has half made, and one that has killed three.
    let dead = "insert into read.exports (id, kind, format, requested_by, status, owner, owned_until, attempts, rows, bytes, created_at)
                values ($1, 'orders', 'csv', 'anonymous', 'RUNNING', gen_random_uuid(), now() - interval '1 s', $2, 1, 3, now())";
    let [half, deadly] = [Uuid::from_u128(1), Uuid::from_u128(2)];
    for (id, attempts) in [(half, 1), (deadly, 3)] {
        sqlx::query(dead).bind(id).bind(attempts).execute(pool).await?;
        let part = "insert into read.export_parts values ($1, 0, 'old'), ($1, 1, 'old')";
        sqlx::query(part).bind(id).execute(pool).await?;
    }
    let (_, new) = export(api, &json!({ "kind": "orders" })).await?;
    let ready = ended(api, half).await?;
    assert_eq!(ready.status, ExportStatus::Ready);
    assert_eq!(api.get(link(&ready)?).await?.expect(200).body, new);
    let failed = ended(api, deadly).await?;
    assert_eq!(failed.status, ExportStatus::Failed);
    assert!(failed.error.context("a reason")?.contains("failed 3 times"));
    let left: i64 =
        sqlx::query_scalar("select count(*) from read.export_parts where content = 'old'").fetch_one(pool).await?;
    assert_eq!(left, 0);

    // An attempt that fails is repeated.
    sqlx::query("alter table read.order_facts rename to mislaid").execute(pool).await?;
    let asked = ask(api, &json!({ "kind": "orders" })).await?;
    let attempts = async || -> Result<i32> {
        Ok(sqlx::query_scalar("select attempts from read.exports where id = $1").bind(asked.id).fetch_one(pool).await?)
    };
    eventually("it was tried", SOON, async || Ok((attempts().await? > 0).then_some(()))).await?;
    sqlx::query("alter table read.mislaid rename to order_facts").execute(pool).await?;
    assert_eq!(ended(api, asked.id).await?.status, ExportStatus::Ready);
    assert!(attempts().await? > 1);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_request_says_what_is_wrong() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let api = &system.api;
    for (body, field) in [
        (json!({}), "kind"),
        (json!({ "kind": "secrets" }), "kind"),
        (json!({ "kind": "orders", "format": "pdf" }), "format"),
        (json!({ "kind": "orders", "from": "2026-02-30" }), "from"),
        (json!({ "kind": "orders", "from": "1850-01-01" }), "from"),
        (json!({ "kind": "orders", "from": "2026-02-02", "to": "2026-02-01" }), "to"),
        (json!({ "kind": "orders", "colour": "red" }), "colour"),
    ] {
        let refused = api.post("/exports", &body).await?.refused(422, "VALIDATION_FAILED");
        assert_eq!(refused.details["fields"][0]["field"], field, "{body}: {}", refused.details);
    }
    api.get(&format!("/exports/{}", Uuid::nil())).await?.refused(404, "EXPORT_NOT_FOUND");
    api.get("/exports/7").await?.refused(404, "EXPORT_NOT_FOUND");

    // What no process makes yet is one export, and no more than ten of a caller wait.
    let pool = &system.database.pool;
    let waiting = "insert into read.exports (id, kind, format, from_day, requested_by, status, owner, owned_until, created_at)
                   select gen_random_uuid(), 'orders', 'csv', date '2025-01-01' + n, 'anonymous', 'RUNNING', gen_random_uuid(),
                       now() + interval '1 h', now() from generate_series(1, 10) as n";
    sqlx::query(waiting).execute(pool).await?;
    let refused = api.post("/exports", &json!({ "kind": "orders" })).await?.refused(429, "TOO_MANY_EXPORTS");
    assert!(refused.message.contains("10 exports"), "{}", refused.message);
    let later = "update read.exports set status = 'PENDING', owner = null, retry_at = now() + interval '1 h'";
    sqlx::query(later).execute(pool).await?;
    let [first, second] = [(); 2].map(|()| json!({ "kind": "orders", "from": "2025-01-03" }));
    assert_eq!(ask(api, &first).await?.id, ask(api, &second).await?.id);
    system.finish().await
}
