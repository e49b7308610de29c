//! Reports: figures worked out by hand, and the same after every event has come again.

use anyhow::Result;
use chrono::{DateTime, Duration, Utc};
use contracts::{OrderDocument, OrderState, ReturnState};
use query::reports::{
    DailyFigure, GstReport, LeadTime, OrdersInState, RefundTotals, Report, ReturnsForReason, ReturnsOfSku, SalesDay,
};
use runtime::Clock;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use standalone::Part;
use tests::waiting::SOON;
use tests::{Api, System, books, eventually, shop};

/// Of a shop in Karnataka.
const GSTIN: &str = "29AAHCM7727Q1ZI";

/// Half past eleven in the evening in Kolkata, the 10th of March.
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

/// Two days of a shop: three orders, one of them cancelled after it was paid; one bowl of another comes back.
async fn two_days(system: &System, clock: &Clock) -> Result<OrderDocument> {
    let api = &system.api;
    let kept = shop::place(api, &order("cust-1", "Karnataka", 3)).await?;
    let called_off = shop::place(api, &order("cust-2", "Maharashtra", 1)).await?;
    shop::place(api, &order("cust-3", "Goa", 1)).await?;
    clock.advance(Duration::minutes(10));
    shop::bring(api, kept.clone(), OrderState::Paid).await?;
    shop::bring(api, called_off.clone(), OrderState::Paid).await?;
    // After midnight in Kolkata.
    clock.advance(Duration::minutes(30));
    shop::step(api, called_off.id, "cancel").await?.expect(200);
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
async fn reports_add_up_what_has_happened_and_nothing_twice() -> Result<()> {
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
    let pool = &system.database.pool;
    sqlx::query("update messaging.inbox set status = 'ready', finished_at = null where queue = 'projections'")
        .execute(pool)
        .await?;
    books::settled(pool).await?;
    for (path, before) in paths.into_iter().zip(before) {
        assert_eq!(report::<Value>(api, path).await?, before, "{path}");
    }
    system.finish().await
}

async fn check_sales_and_states(api: &Api) -> Result<()> {
    let sales: Report<SalesDay> = report(api, "sales/daily?from=2026-03-01").await?;
    let [first, second] = &sales.data[..] else { panic!("two days: {sales:?}") };
    assert_eq!((first.day.to_string(), first.placed, first.orders, first.units), ("2026-03-10".to_owned(), 3, 2, 6));
    // 3 × 1,120 + 1,180 and 1,120 + 1,180; the tax in it is 12/112 of bowls, 18/118 of lamps.
    assert_eq!((first.subtotal_minor, first.total_minor, first.net_minor), (684_000, 684_000, 684_000));
    assert_eq!(first.tax_minor, 4 * 12_000 + 2 * 18_000);
    assert_eq!((second.placed, second.orders, second.cancelled, second.cancelled_minor), (0, 0, 1, 230_000));
    assert_eq!((second.refunds, second.refunded_minor, second.net_minor), (1, 112_000, -342_000));
    assert_eq!(sales.to.map(|day| day.to_string()).as_deref(), Some("2026-03-11"), "today");

    let states: Report<OrdersInState> = report(api, "orders-by-state").await?;
    let states: Vec<_> = states.data.iter().map(|row| (row.state.as_str(), row.orders, row.total_minor)).collect();
    assert_eq!(states, [("PENDING_PAYMENT", 1, 230_000), ("DELIVERED", 1, 454_000), ("CANCELLED", 1, 230_000)]);
    let none: Report<OrdersInState> = report(api, "orders-by-state?to=2026-03-09").await?;
    assert!(none.data.is_empty());
    Ok(())
}

async fn check_returns_and_refunds(api: &Api) -> Result<()> {
    for dated in ["return", "order"] {
        let skus: Report<ReturnsOfSku> = report(api, &format!("returns?dated={dated}")).await?;
        let [bowl, lamp] = &skus.data[..] else { panic!("two kinds of goods: {skus:?}") };
        assert_eq!((bowl.sku.as_str(), bowl.units_sold, bowl.returns, bowl.units_returned), ("BOWL", 3, 1, 1));
        assert_eq!((bowl.return_rate, bowl.refunded_minor), (Some(0.3333), 112_000));
        assert_eq!((lamp.units_sold, lamp.units_returned, lamp.units_rejected), (1, 0, 1));
    }
    let later: Report<ReturnsOfSku> = report(api, "returns?dated=order&from=2026-03-11").await?;
    assert!(later.data.is_empty(), "nothing was sold on the 11th: {later:?}");
    let later: Report<ReturnsOfSku> = report(api, "returns?from=2026-03-11").await?;
    assert_eq!((later.data[0].units_returned, later.data[0].return_rate), (1, None), "and yet something came back");
    let reasons: Report<ReturnsForReason> = report(api, "returns?by=reason").await?;
    let [reason] = &reasons.data[..] else { panic!("one reason: {reasons:?}") };
    assert_eq!((reason.reason.as_deref(), reason.returns, reason.share), (Some("Smaller than expected"), 2, Some(1.0)));

    let refunds: Report<RefundTotals> = report(api, "refunds").await?;
    let [rupees] = &refunds.data[..] else { panic!("one currency: {refunds:?}") };
    assert_eq!((rupees.owed, rupees.in_doubt, rupees.paid, rupees.paid_minor), (0, 0, 1, 112_000));
    Ok(())
}

async fn check_lead_times(api: &Api) -> Result<()> {
    let times: Report<LeadTime> = report(api, "lead-times").await?;
    let found = |state: &str| {
        let row = times.data.iter().find(|row| row.state == state).expect("every state has a row");
        (row.left, row.p50_seconds, row.max_seconds)
    };
    assert_eq!(found("PENDING_PAYMENT"), (2, Some(600), Some(600)));
    assert_eq!(found("PAID"), (2, Some(1_800), Some(1_860)), "one was cancelled, one went on");
    assert_eq!(found("SHIPPED"), (1, Some(60), Some(60)));
    assert_eq!(found("REQUESTED"), (2, Some(0), Some(300)));
    Ok(())
}

/// The report says what the documents say.
async fn check_gst(api: &Api, kept: &OrderDocument) -> Result<()> {
    let gst: GstReport = report(api, "gst").await?;
    assert!(gst.invoices.is_empty() && gst.credit_notes.is_empty(), "no registered recipient, no other state");
    let hsn: Vec<_> = gst.hsn.iter().map(|row| (row.hsn.as_deref(), row.quantity, row.taxable_minor)).collect();
    assert_eq!(hsn, [(Some("6912"), 2, 200_000), (Some("9405"), 1, 100_000)], "three bowls less one");
    let tax: i64 = gst.hsn.iter().map(|row| row.cgst_minor + row.sgst_minor).sum();
    assert_eq!(tax, kept.tax_minor - 12_000);
    let others: i64 = gst.others.iter().map(|row| row.taxable_minor).sum();
    assert_eq!((others, gst.others[0].place_of_supply.as_str()), (300_000, "29 Karnataka"));
    let series: Vec<_> =
        gst.documents.iter().map(|row| (row.kind.as_str(), row.from_number.as_str(), row.issued)).collect();
    assert_eq!(series, [("invoice", "AC/25-26/000001", 1), ("credit_note", "CN/25-26/000001", 1)]);
    Ok(())
}

/// Invoices to registered recipients, and large ones to other states, stand by themselves; so do their credit notes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gst_report_tells_who_wants_a_line_of_his_own() -> Result<()> {
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.command.supplier_gstin = command::Gstin::parse(GSTIN).ok();
    })
    .await?;
    let api = &system.api;
    let mut registered = order("shop-1", "Maharashtra", 2);
    registered["shipping_address"]["gstin"] = json!("27AAACR4849R1ZL");
    let registered = shop::bring(api, shop::place(api, &registered).await?, OrderState::Delivered).await?;
    let large = shop::place(api, &order("cust-1", "Goa", 90)).await?;
    shop::bring(api, large, OrderState::Shipped).await?;
    let small = shop::place(api, &order("cust-2", "Goa", 1)).await?;
    let small = shop::bring(api, small, OrderState::Delivered).await?;
    for sold in [&registered, &small] {
        let returned = shop::request_return(api, sold, 0, 1).await?;
        shop::bring_return(api, returned, ReturnState::Completed).await?;
    }
    books::settled(&system.database.pool).await?;
    let gst: GstReport = report(api, "gst").await?;
    let kinds = |documents: &[query::reports::GstDocument]| -> Vec<(String, Option<f64>, i64)> {
        documents.iter().map(|row| (row.kind.clone(), row.gst_rate, row.taxable_minor)).collect()
    };
    let of = |kind: &str, rate, taxable| (kind.to_owned(), Some(rate), taxable);
    let expected =
        [of("B2B", 12.0, 200_000), of("B2B", 18.0, 100_000), of("B2CL", 12.0, 9_000_000), of("B2CL", 18.0, 100_000)];
    assert_eq!(kinds(&gst.invoices), expected);
    assert!(gst.invoices.iter().all(|row| row.igst_minor > 0 && row.cgst_minor == 0), "other states");
    assert_eq!(kinds(&gst.credit_notes), [of("CDNR", 12.0, 100_000)]);
    let invoiced = gst.invoices.iter().find(|row| row.kind == "B2B").map(|row| row.number.clone());
    assert_eq!(gst.credit_notes[0].corrects, invoiced);
    // The small one's bowl came back, its lamp did not.
    let others: Vec<_> = gst.others.iter().map(|row| (row.gst_rate, row.taxable_minor)).collect();
    assert_eq!(others, [(Some(12.0), 0), (Some(18.0), 100_000)]);
    let csv = api.get("/reports/gst?section=credit_notes&format=csv").await?.expect(200).text();
    assert!(csv.contains("\nCDNR,CN/"), "{csv}");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_come_as_csv_that_no_spreadsheet_runs() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let placed = shop::place(&system.api, &order("cust-1", "Karnataka", 1)).await?;
    let paid = shop::step(&system.api, placed.id, "pay").await?.expect(200);
    let answer =
        system.api.read("/reports/returns?format=csv&from=2026-01-01&to=2099-01-01", paid.token()).await?.expect(200);
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"returns-by-sku_2026-01-01_2099-01-01.csv\""
    );
    assert!(answer.text().starts_with("sku,title,currency,units_sold,"), "{}", answer.text());
    assert!(answer.text().contains("\nLAMP,'=Brass lamp,INR,1,0,0,0,0,0.0\n"), "{}", answer.text());
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

/// What is made at midnight says what the other reports say of the day, and stays as it is.
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
    let figure = |day: &str, name: &str| {
        let found = reports.data.iter().find(|figure| figure.day.to_string() == day && figure.figure == name);
        found.map(|figure| (figure.count, figure.amount_minor))
    };
    assert_eq!(figure("2026-03-10", "placed"), Some((2, 0)));
    assert_eq!(figure("2026-03-10", "sold"), Some((1, 342_000)));
    assert_eq!(figure("2026-03-10", "net_sales"), Some((0, 342_000)));
    assert_eq!(figure("2026-03-10", "orders_pending_payment"), Some((1, 230_000)));
    assert_eq!(figure("2026-03-11", "sold"), None, "nothing happened");
    assert_eq!(figure("2026-03-11", "orders_paid"), Some((1, 342_000)));
    // A run that is repeated changes nothing, and makes what is missing.
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
    assert_eq!(of(&again, "2026-03-10"), of(&reports, "2026-03-10"), "what is made stays as it is");
    assert!(!of(&again, "2026-03-11").is_empty(), "what was missing is made");
    let csv = api.get("/reports/daily?format=csv").await?.expect(200).text();
    assert!(csv.contains("2026-03-10,sold,INR,1,342000,"), "{csv}");
    // The read models were written to by hand.
    system.abandon().await
}
