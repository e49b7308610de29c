//! Whole orders and what they must come to, worked out by hand from the law: `tests/vectors/gst_cases.json`, played over HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use contracts::{InvoiceDocument, OrderDocument, OrderState, RefundStatus, ReturnDocument, ReturnState, TaxDocument};
use serde_json::{Value, json};
use standalone::{Options, Part};
use tests::waiting::SOON;
use tests::{Api, System, books, eventually, shop};

use crate::flows::poppler;

fn cases() -> Value {
    serde_json::from_str(include_str!("../../vectors/gst_cases.json")).expect("the cases are JSON")
}

fn configure(group: &Value) -> impl FnOnce(&mut Options) {
    let text = |name: &str| group[name].as_str().unwrap_or_default().to_owned();
    let (gstin, include) = (text("SUPPLIER_GSTIN"), text("PRICES_INCLUDE_TAX") == "true");
    let each_unit = text("REFUND_SHIPPING") == "each-unit";
    move |options| {
        options.parts = Part::ALL.to_vec();
        options.workers.retries.refund_retry = Duration::from_millis(40);
        options.command.supplier_gstin = command::Gstin::parse(&gstin).ok();
        options.command.prices_include_tax = include;
        if each_unit {
            options.command.refund_shipping = command::RefundShipping::EachUnit;
        }
    }
}

/// A figure, or one within the range that the rule leaves free.
fn fits(expected: &Value, actual: i64) -> bool {
    match expected {
        Value::Array(range) => range[0].as_i64() <= Some(actual) && Some(actual) <= range[1].as_i64(),
        exact => exact.as_i64() == Some(actual),
    }
}

#[track_caller]
fn check(case: &str, what: &str, expected: &Value, actual: i64) {
    assert!(expected.is_null() || fits(expected, actual), "{case}: {what} is {actual}, expected {expected}");
}

/// The taxes of an order, summed by rate.
fn by_rate(order: &OrderDocument) -> BTreeMap<String, TaxDocument> {
    let mut sums: BTreeMap<String, TaxDocument> = BTreeMap::new();
    for item in &order.items {
        let Some(rate) = item.gst_rate else { continue };
        let sum = sums.entry(rate.to_string()).or_default();
        for tax in [item.tax, item.shipping_tax].into_iter().flatten() {
            *sum = sum.plus(&tax);
        }
    }
    sums
}

fn check_placed(case: &str, expected: &Value, order: &OrderDocument) {
    let terms = order.tax_terms.as_ref().expect("a registered shop");
    assert_eq!(expected["supply"].as_str(), Some(terms.supply.as_str()), "{case}");
    let place = expected["place_of_supply"].as_str().expect("a code");
    assert!(terms.place_of_supply.starts_with(place), "{case}: {}", terms.place_of_supply);
    check(case, "the subtotal", &expected["subtotal_minor"], order.subtotal_minor);
    check(case, "the total", &expected["total_minor"], order.total_minor);
    check(case, "the tax", &expected["tax_minor"], order.tax_minor);
    let rates: Vec<_> = order.items.iter().map(|item| json!(item.gst_rate)).collect();
    let wanted: Vec<_> =
        expected["rates"].as_array().expect("a list").iter().map(|rate| json!(rate.as_f64())).collect();
    assert_eq!(rates, wanted, "{case}");
    let sums = by_rate(order);
    for (rate, wanted) in expected["by_rate"].as_object().expect("an object") {
        let rate: f64 = rate.parse().expect("a rate");
        let sum = sums.get(&rate.to_string()).unwrap_or_else(|| panic!("{case}: nothing at {rate}"));
        check(case, "what is taxed", &wanted["taxable"], sum.taxable_minor);
        check(case, "CGST", &wanted["cgst"], sum.cgst_minor);
        check(case, "SGST", &wanted["sgst"], sum.sgst_minor);
        check(case, "IGST", &wanted["igst"], sum.igst_minor);
        check(case, "the round-off", &wanted["round_off"], sum.round_off_minor);
    }
    for (line, item) in expected["lines"].as_array().into_iter().flatten().zip(&order.items) {
        check(case, "what the line costs", &line["paid"], item.paid_minor);
        check(case, "its shipping", &line["shipping"], item.shipping_minor);
    }
}

/// The order, unless it is rightly refused.
async fn place(api: &Api, case: &Value) -> Result<Option<OrderDocument>> {
    let (name, expected) = (case["id"].as_str().context("an id")?, &case["place"]);
    let answer = api.post("/orders", &case["order"]).await?;
    let refusal = if expected["status"] == 422 { &expected["field"] } else { &expected["accept_refusal"] };
    if answer.status == 422 {
        let field = refusal.as_str().with_context(|| format!("{name} was refused: {}", answer.json()))?;
        let refused = answer.refused(422, "VALIDATION_FAILED").details;
        let fields = refused["fields"].as_array().context("the fields")?;
        let named = fields.iter().any(|one| one["field"].as_str().is_some_and(|one| one.contains(field)));
        anyhow::ensure!(named, "{name}: {refused} does not name {field}");
        return Ok(None);
    }
    anyhow::ensure!(expected["status"] == 201 && answer.status == 201, "{name} was answered {}", answer.status);
    let order = answer.order();
    check_placed(name, expected, &order);
    Ok(Some(order))
}

async fn request(api: &Api, name: &str, order: &OrderDocument, step: &Value) -> Result<ReturnDocument> {
    let items: Vec<_> = step["items"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|item| {
            let line = item[0].as_u64().and_then(|line| usize::try_from(line).ok()).expect("a line");
            json!({ "order_item_id": order.items[line].id, "quantity": item[1] })
        })
        .collect();
    let answer = api.post("/returns", &json!({ "order_id": order.id, "items": items })).await?;
    let returned = answer.expect(201).returned();
    check(name, "the refund", &step["refund_minor"], returned.refund_amount_minor);
    Ok(returned)
}

async fn play(system: &System, case: &Value) -> Result<()> {
    let (api, name) = (&system.api, case["id"].as_str().context("an id")?);
    let Some(mut order) = place(api, case).await? else { return Ok(()) };
    if case["end"].get("gst_delta").is_some() {
        // The invoices of earlier cases are part of what was there before.
        books::settled(&system.database.pool).await?;
    }
    let before = gst_report(api).await?;
    let (mut returns, mut refunded) = (BTreeMap::new(), 0);
    for step in case["steps"].as_array().into_iter().flatten() {
        let of = step["name"].as_str().unwrap_or_default().to_owned();
        match step["do"].as_str().context("a step")? {
            "ship" => order = shop::bring(api, order, OrderState::Shipped).await?,
            "deliver" => order = shop::bring(api, order, OrderState::Delivered).await?,
            "cancel_paid" => {
                order = shop::bring(api, order, OrderState::Paid).await?;
                order = shop::step(api, order.id, "cancel").await?.expect(200).order();
                refunded += 1;
            }
            "return" => {
                let returned = request(api, name, &order, step).await?;
                if step["then"] == "complete" {
                    let completed = shop::bring_return(api, returned, ReturnState::Completed).await?;
                    check(name, "what is refunded", &step["refund_minor"], completed.refund_amount_minor);
                    refunded += 1;
                } else {
                    returns.insert(of, returned);
                }
            }
            "reject" => {
                let returned = returns.remove(&of).context("a return")?;
                shop::bring_return(api, returned, ReturnState::Rejected).await?;
            }
            "complete" => {
                let returned = returns.remove(&of).context("a return")?;
                shop::bring_return(api, returned, ReturnState::Completed).await?;
                refunded += 1;
            }
            other => anyhow::bail!("{name}: what is {other:?}?"),
        }
    }
    let refunds = eventually("the refunds are paid", SOON, async || {
        let page = api.get(&format!("/refunds?order_id={}", order.id)).await?.expect(200).json();
        let refunds: Vec<contracts::RefundDocument> = serde_json::from_value(page["data"].clone())?;
        let paid = refunds.iter().filter(|refund| refund.status == RefundStatus::Processed).count();
        Ok((paid == refunded).then_some(refunds))
    })
    .await?;
    let sum = refunds.iter().map(|refund| refund.amount_minor).sum();
    for (end, expected) in case["end"].as_object().into_iter().flatten() {
        match end.as_str() {
            "refunds_minor" | "gateway_minor" => check(name, end, expected, sum),
            "returns_equal_order" => assert_eq!(sum, order.total_minor, "{name}"),
            "pdf_contains" => check_pdf(system, name, &order, expected).await?,
            "gst_invoice_kinds" => check_kinds(api, name, &order, expected).await?,
            "gst_delta" => check_delta(api, name, &order, &before, expected).await?,
            other => anyhow::bail!("{name}: what is {other:?}?"),
        }
    }
    Ok(())
}

async fn invoice(api: &Api, order: &OrderDocument) -> Result<InvoiceDocument> {
    eventually("the invoice is made", SOON, async || {
        let seen = api.get(&format!("/orders/{}", order.id)).await?;
        Ok(if seen.status == 200 { seen.order().invoice } else { None })
    })
    .await
}

async fn check_pdf(system: &System, name: &str, order: &OrderDocument, expected: &Value) -> Result<()> {
    let invoice = invoice(&system.api, order).await?;
    let text = poppler("pdftotext", &["-layout"], &system.invoices().join(&invoice.path))?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in expected.as_array().context("a list")?.iter().filter_map(Value::as_str) {
        anyhow::ensure!(text.contains(wanted), "{name}: {wanted} is not in the invoice:\n{text}");
    }
    Ok(())
}

/// In which table of documents the invoice is listed, if in any.
async fn check_kinds(api: &Api, name: &str, order: &OrderDocument, expected: &Value) -> Result<()> {
    let number = invoice(api, order).await?.invoice_number;
    let report = gst_report(api).await?;
    let rows = report["invoices"].as_array().context("invoices")?.iter().filter(|row| row["number"] == json!(number));
    let kinds: Vec<_> = rows.map(|row| row["kind"].clone()).collect();
    anyhow::ensure!(json!(kinds) == *expected, "{name}: {kinds:?}, expected {expected}");
    Ok(())
}

/// What the invoice has added to the report.
async fn check_delta(api: &Api, name: &str, order: &OrderDocument, before: &Value, expected: &Value) -> Result<()> {
    invoice(api, order).await?;
    let after = gst_report(api).await?;
    let more = |table: &str, member: &str, of: &dyn Fn(&Value) -> bool| {
        let sum = |report: &Value| -> i64 {
            let rows = report[table].as_array().into_iter().flatten().filter(|row| of(row));
            rows.filter_map(|row| row[member].as_i64()).sum()
        };
        sum(&after) - sum(before)
    };
    let all = |_: &Value| true;
    check(name, "table 7", &expected["others_taxable_minor"], more("others", "taxable_minor", &all));
    check(name, "table 8", &expected["nil_minor"], more("nil", "nil_minor", &all));
    for row in expected["hsn"].as_array().context("a list")? {
        let rate = |row: &Value| row["gst_rate"].as_f64().unwrap_or_default().to_string();
        let of = |found: &Value| found["hsn"] == row["hsn"] && rate(found) == rate(row);
        for member in ["taxable_minor", "total_minor"] {
            check(name, "table 12", &row[member], more("hsn", member, &of));
        }
    }
    Ok(())
}

async fn gst_report(api: &Api) -> Result<Value> {
    Ok(api.get("/reports/gst").await?.expect(200).json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_come_to_what_the_law_says() -> Result<()> {
    let all = cases();
    let mut wrong = Vec::new();
    for (group, settings) in all["groups"].as_object().context("groups")? {
        let system = System::start(configure(settings)).await?;
        for case in all["cases"].as_array().context("cases")?.iter().filter(|case| case["group"] == *group) {
            if let Err(error) = play(&system, case).await {
                wrong.push(format!("{error:#}"));
            }
        }
        system.finish().await?;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
