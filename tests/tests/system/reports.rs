//! Reports: figures that were worked out by hand, and stay the same when every event comes again.
//!
//! `two_days` tells what happened; the snapshots hold what each report makes of it.

use anyhow::Result;
use chrono::{DateTime, Duration, Utc};
use contracts::{OrderDocument, OrderState, ReturnState};
use query::Projector;
use query::reports::{
    DailyFigure, GstReport, LeadTime, OrdersInState, RefundTotals, Report, ReturnsForReason, ReturnsOfSku, SalesDay,
};
use reqwest::Method;
use runtime::Clock;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use standalone::Part;
use tests::waiting::SOON;
use tests::{Api, System, books, eventually, shop};
use uuid::Uuid;

/// The GSTIN of a shop in Karnataka.
const GSTIN: &str = "29AAHCM7727Q1ZI";

/// 23:30 on the 10th of March in Kolkata.
fn evening() -> DateTime<Utc> {
    "2026-03-10T18:00:00Z".parse().expect("a time")
}

fn order(customer: &str, state: &str, bowls: i64) -> Value {
    json!({
        "customer_id": customer,
        "shipping_address": { "name": "Meera", "line1": "14, Kasturba Road", "state": state },
        "items": [
            { "sku": "BOWL", "title": "Blue pottery bowl", "quantity": bowls, "unit_price_minor": 112_000, "hsn": "6912", "gst_rate": 12 },
            { "sku": "LAMP", "title": "=Brass lamp", "quantity": 1, "unit_price_minor": 118_000, "hsn": "9405", "gst_rate": 18 },
        ],
    })
}

async fn report<T: DeserializeOwned>(api: &Api, path: &str) -> Result<T> {
    Ok(serde_json::from_slice(&api.get(&format!("/reports/{path}")).await?.expect(200).body)?)
}

/// Two days of a shop: three orders, one of them cancelled after it was paid, and one returned bowl of another.
async fn two_days(system: &System, clock: &Clock) -> Result<OrderDocument> {
    let api = &system.api;
    let kept = shop::place(api, &order("cust-1", "Karnataka", 3)).await?;
    let cancelled = shop::place(api, &order("cust-2", "Maharashtra", 1)).await?;
    shop::place(api, &order("cust-3", "Goa", 1)).await?;
    clock.advance(Duration::minutes(10));
    shop::bring(api, kept.clone(), OrderState::Paid).await?;
    shop::bring(api, cancelled.clone(), OrderState::Paid).await?;
    // Past midnight in Kolkata.
    clock.advance(Duration::minutes(30));
    shop::step(api, cancelled.id, "cancel").await?.expect(200);
    for step in ["processing", "ship", "deliver"] {
        clock.advance(Duration::minutes(1));
        shop::step(api, kept.id, step).await?.expect(200);
    }
    clock.advance(Duration::minutes(1));
    let returned = shop::request_return(api, &kept, 0, 1).await?;
    clock.advance(Duration::minutes(5));
    shop::bring_return(api, returned, ReturnState::Completed).await?;
    let refused = shop::request_return(api, &kept, 1, 1).await?;
    shop::bring_return(api, refused, ReturnState::Rejected).await?;
    books::settled(&system.database.pool).await?;
    Ok(kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_count_every_event_once() -> Result<()> {
    let clock = Clock::fixed(evening());
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.clock = clock.clone();
        options.command.supplier_gstin = command::Gstin::parse(GSTIN).ok();
    })
    .await?;
    let kept = two_days(&system, &clock).await?;
    let api = &system.api;
    check_sales_and_states(api).await?;
    check_returns_and_refunds(api).await?;
    check_lead_times(api).await?;
    check_gst(api, &kept).await?;

    let paths = ["sales/daily", "orders-by-state", "returns", "returns?by=reason", "refunds", "lead-times", "gst"];
    let mut before = Vec::new();
    for path in paths {
        before.push(report::<Value>(api, path).await?);
    }
    let events: Vec<Uuid> =
        sqlx::query_scalar("select event_id from messaging.outbox").fetch_all(&system.database.pool).await?;
    let projector = Projector::new(system.database.pool_as("articurated_query").await?, None, clock);
    assert_eq!(projector.apply_events(&events).await?, 0, "every event can be applied again");
    for (path, before) in paths.into_iter().zip(before) {
        assert_eq!(report::<Value>(api, path).await?, before, "{path}");
    }
    system.finish().await
}

/// On the 10th the sales are 3 × 1,120 + 1,180 and 1,120 + 1,180. The tax in them is 12/112 of the bowls and 18/118 of the lamps.
/// On the 11th the second sale is cancelled, and one bowl of the first is refunded.
async fn check_sales_and_states(api: &Api) -> Result<()> {
    let sales: Report<SalesDay> = report(api, "sales/daily?from=2026-03-01").await?;
    insta::assert_yaml_snapshot!("sales", sales);
    let states: Report<OrdersInState> = report(api, "orders-by-state").await?;
    insta::assert_yaml_snapshot!("states", states);
    let none: Report<OrdersInState> = report(api, "orders-by-state?to=2026-03-09").await?;
    assert!(none.data.is_empty());
    Ok(())
}

/// One of three bowls came back; the lamp's return was rejected.
async fn check_returns_and_refunds(api: &Api) -> Result<()> {
    for dated in ["return", "order"] {
        let skus: Report<ReturnsOfSku> = report(api, &format!("returns?dated={dated}")).await?;
        insta::assert_yaml_snapshot!("returns_by_sku", skus);
    }
    let later: Report<ReturnsOfSku> = report(api, "returns?dated=order&from=2026-03-11").await?;
    assert!(later.data.is_empty(), "nothing was sold on the 11th: {later:?}");
    // Without a sale in the period there is no rate.
    let later: Report<ReturnsOfSku> = report(api, "returns?from=2026-03-11").await?;
    insta::assert_yaml_snapshot!("returns_without_sales", later);
    let reasons: Report<ReturnsForReason> = report(api, "returns?by=reason").await?;
    insta::assert_yaml_snapshot!("returns_by_reason", reasons);
    let refunds: Report<RefundTotals> = report(api, "refunds").await?;
    insta::assert_yaml_snapshot!("refunds", refunds);
    Ok(())
}

/// Two orders were paid after ten minutes. After another half hour one was cancelled; the other took a minute more to its
/// warehouse, and a minute for each further step.
async fn check_lead_times(api: &Api) -> Result<()> {
    let times: Report<LeadTime> = report(api, "lead-times").await?;
    insta::assert_yaml_snapshot!("lead_times", times);
    Ok(())
}

/// The report says what the documents say. Three bowls were sold and one came back; all recipients are unregistered and in the
/// shop's own state, so no document is reported on its own.
async fn check_gst(api: &Api, kept: &OrderDocument) -> Result<()> {
    let gst: GstReport = report(api, "gst").await?;
    insta::assert_yaml_snapshot!("gst", gst);
    let tax: i64 = gst.hsn.iter().map(|row| row.cgst_minor + row.sgst_minor).sum();
    assert_eq!(tax, kept.tax_minor - 12_000);
    Ok(())
}

/// The sum of a member over all rows of a table, however deep they are.
fn sum_of(table: &Value, member: &str) -> f64 {
    match table {
        Value::Array(rows) => rows.iter().map(|row| sum_of(row, member)).sum(),
        Value::Object(members) => {
            let own = members.get(member).and_then(Value::as_f64).unwrap_or(0.0);
            own + members.values().filter(|value| !value.is_number()).map(|value| sum_of(value, member)).sum::<f64>()
        }
        _ => 0.0,
    }
}

/// What is taxed in the tables of documents is what is taxed in the table of HSN codes, and each document is counted once.
fn adds_up(file: &Value, gst: &GstReport) {
    let sold: f64 = ["b2b", "b2cl", "b2cs", "exp"].iter().map(|table| sum_of(&file[table], "txval")).sum();
    let returned: f64 = ["cdnr", "cdnur"].iter().map(|table| sum_of(&file[table], "txval")).sum();
    let by_code = sum_of(&file["hsn"], "txval") - sum_of(&file["nil"], "nil_amt");
    assert!((sold - returned - by_code).abs() < 0.005, "{sold} - {returned} is not {by_code}");
    let issued: i64 = gst.documents.iter().map(|series| series.issued).sum();
    assert!((sum_of(&file["doc_issue"], "net_issue") - f64::from(i32::try_from(issued).expect("few"))).abs() < 0.5);
}

/// Invoices to registered recipients, large invoices to other states, and their credit notes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gst_report_lists_registered_and_large_invoices_one_by_one() -> Result<()> {
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.clock = Clock::fixed(evening());
        options.command.supplier_gstin = command::Gstin::parse(GSTIN).ok();
    })
    .await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let mut registered = order("shop-1", "Maharashtra", 2);
    registered["shipping_address"]["gstin"] = json!("27AAACR4849R1ZL");
    let mut delivered = Vec::new();
    // One after the other, so that each document always gets the same number.
    for sold in [registered, order("cust-1", "Goa", 90), order("cust-2", "Goa", 1)] {
        delivered.push(shop::bring(api, shop::place(api, &sold).await?, OrderState::Delivered).await?);
        books::settled(pool).await?;
    }
    let [registered, _large, small] = &delivered[..] else { panic!("three orders") };
    for sold in [registered, small] {
        let returned = shop::request_return(api, sold, 0, 1).await?;
        shop::bring_return(api, returned, ReturnState::Completed).await?;
        books::settled(pool).await?;
    }
    // The small order's bowl came back, its lamp did not.
    let gst: GstReport = report(api, "gst").await?;
    insta::assert_yaml_snapshot!("gst_one_by_one", gst);
    let file = api.get("/reports/gst/gstr1.json?month=2026-03").await?.expect(200).json();
    insta::assert_yaml_snapshot!("gstr1", file);
    adds_up(&file, &gst);
    api.get("/reports/gst/gstr1.json?month=2026-02").await?.refused(404, "NO_TAX_DOCUMENTS");
    api.get("/reports/gst/gstr1.json?month=2026-13").await?.refused(422, "VALIDATION_FAILED");
    let csv = api.get("/reports/gst?section=credit_notes&format=csv").await?.expect(200).text();
    assert!(csv.contains("\nCDNR,CN/"), "{csv}");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_csv_report_has_no_formula_that_a_spreadsheet_would_run() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let placed = shop::place(&system.api, &order("cust-1", "Karnataka", 1)).await?;
    let paid = shop::step(&system.api, placed.id, "pay").await?.expect(200);
    let answer =
        system.api.read("/reports/returns?format=csv&from=2026-01-01&to=2028-12-31", paid.token()).await?.expect(200);
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"returns-by-sku_2026-01-01_2028-12-31.csv\""
    );
    assert!(answer.text().starts_with("\u{feff}sku,title,currency,units_sold,"), "{}", answer.text());
    assert!(answer.text().contains("\nLAMP,'=Brass lamp,INR,1,0,0,0,0,0.0\n"), "{}", answer.text());
    let empty = system.api.get("/reports/refunds?format=csv&from=2001-01-01&to=2001-01-31").await?.expect(200).text();
    assert!(empty.starts_with("\u{feff}currency,") && empty.lines().count() == 1, "{empty}");
    let unwanted = system.api.call(Method::GET, "/reports/refunds").header("accept", "text/csv;q=0").send().await?;
    assert_eq!(unwanted.expect(200).header("content-type"), "application/json");
    for (wrong, fields) in [
        ("sales/daily?from=yesterday", vec!["from"]),
        ("refunds?from=2026-02-01&to=2026-01-01&format=xml", vec!["to", "format"]),
        ("returns?by=weight&dated=never", vec!["by", "dated"]),
        ("gst?format=csv", vec!["section"]),
    ] {
        let refused = system.api.get(&format!("/reports/{wrong}")).await?.refused(422, "VALIDATION_FAILED");
        let named: Vec<_> =
            refused.details["fields"].as_array().into_iter().flatten().map(|field| &field["field"]).collect();
        assert_eq!(named, fields, "{wrong}");
    }
    system.api.get("/reports/sales/daily?until=2026-01-01").await?.refused(422, "VALIDATION_FAILED");
    system.finish().await
}

/// The report of a day agrees with the other reports, and never changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_of_a_day_is_made_in_the_night_after_it() -> Result<()> {
    let clock = Clock::fixed(evening());
    let system = System::start(|options| options.clock = clock.clone()).await?;
    let api = &system.api;
    let placed = shop::place(api, &order("cust-1", "Karnataka", 2)).await?;
    shop::bring(api, placed, OrderState::Paid).await?;
    shop::place(api, &order("cust-2", "Karnataka", 1)).await?;
    let pool = &system.database.pool;
    eventually("the schedule is there", SOON, async || {
        let schedules =
            "select count(*) from messaging.schedules where name = 'daily_report' and next_due_at is not null";
        Ok((books::count(pool, schedules).await? == 1).then_some(()))
    })
    .await?;
    // Two midnights pass: each day has its own report.
    clock.advance(Duration::days(2));
    let reports: Report<DailyFigure> = eventually("both reports are made", SOON, async || {
        let reports: Report<DailyFigure> = report(api, "daily").await?;
        let days: std::collections::BTreeSet<_> = reports.data.iter().map(|figure| figure.day).collect();
        Ok((days.len() == 2).then_some(reports))
    })
    .await?;
    insta::assert_snapshot!("daily_csv", api.get("/reports/daily?format=csv").await?.expect(200).text());
    // The next run changes no report, and makes a missing one.
    let pool = &system.database.pool;
    sqlx::query("delete from read.daily_reports where day = '2026-03-11'").execute(pool).await?;
    sqlx::query("update read.order_facts set state = 'SHIPPED' where state = 'PAID'").execute(pool).await?;
    clock.advance(Duration::days(1));
    let again: Report<DailyFigure> = eventually("the report of the third day is made", SOON, async || {
        let reports: Report<DailyFigure> = report(api, "daily").await?;
        Ok(reports.data.iter().any(|figure| figure.day.to_string() == "2026-03-12").then_some(reports))
    })
    .await?;
    let of = |reports: &Report<DailyFigure>, day: &str| -> Vec<DailyFigure> {
        reports.data.iter().filter(|figure| figure.day.to_string() == day).cloned().collect()
    };
    assert_eq!(of(&again, "2026-03-10"), of(&reports, "2026-03-10"), "a report never changes");
    assert!(!of(&again, "2026-03-11").is_empty(), "the missing report is made");
    // The test has written to the read models.
    system.abandon().await
}
