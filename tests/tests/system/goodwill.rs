//! Money that is given back without a return, fees that are kept back from one, and the documents that follow.

use anyhow::{Context, Result};
use contracts::{CreditNoteDocument, OrderDocument, OrderState, RefundDocument, ReturnState, TaxDocument};
use futures_util::future::try_join_all;
use reqwest::Method;
use runtime::Clock;
use serde_json::{Value, json};
use standalone::Part;
use tests::waiting::{SOON, eventually_equal};
use tests::{Answer, Api, System, books, eventually, shop};
use uuid::Uuid;

use crate::flows::poppler;

/// The GSTIN of a shop in Karnataka.
const GSTIN: &str = "29AAHCM7727Q1ZI";

async fn registered(parts: &[Part]) -> Result<System> {
    System::start(|options| {
        options.parts = parts.to_vec();
        options.command.supplier_gstin = command::Gstin::parse(GSTIN).ok();
    })
    .await
}

/// Two lamps at 500.00 with 18 %, a box at 1,000.00 with 5 %, and shipping of 100.00.
fn order() -> Value {
    json!({
        "customer_id": "cust-1", "customer_email": "asha@example.com",
        "shipping_address": { "line1": "14, Kasturba Road", "state": "KA" },
        "items": [
            { "sku": "LMP", "title": "Brass lamp", "quantity": 2, "unit_price_minor": 50_000, "hsn": "8306", "gst_rate": 18 },
            { "sku": "BOX", "title": "Stone inlay box", "quantity": 1, "unit_price_minor": 100_000, "hsn": "6802", "gst_rate": 5 },
        ],
        "shipping_minor": 10_000,
    })
}

async fn order_in(api: &Api, state: OrderState) -> Result<OrderDocument> {
    shop::bring(api, shop::place(api, &order()).await?, state).await
}

async fn give_back(api: &Api, order: &OrderDocument, body: &Value) -> Result<Answer> {
    api.post(&format!("/orders/{}/refunds", order.id), body).await
}

fn refund(answer: Answer) -> RefundDocument {
    serde_json::from_value(answer.expect(201).json()).expect("a refund")
}

/// The parts of an amount, which are the whole.
fn is_whole(amount: i64, tax: Option<TaxDocument>) -> bool {
    let tax = tax.expect("a taxed line");
    amount == tax.taxable_minor + tax.cgst_minor + tax.sgst_minor + tax.igst_minor + tax.round_off_minor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_amount_is_spread_over_what_is_left_and_a_credit_note_follows() -> Result<()> {
    let system = registered(&Part::ALL).await?;
    let api = &system.api;
    let order = order_in(api, OrderState::Delivered).await?;
    let body = json!({ "amount_minor": 21_000, "reason": "a scratch on the glaze" });
    let path = format!("/orders/{}/refunds", order.id);
    let keyed = async || api.call(Method::POST, &path).header("idempotency-key", "g-1").json(&body).send().await;
    let first = keyed().await?;
    let granted = refund(keyed().await?);
    assert_eq!(granted, refund(first), "the same request gives nothing back again");

    // 2,100.00 were paid: 1,000.00 for each line, and half of the shipping with each.
    assert_eq!((granted.kind.as_str(), granted.amount_minor, granted.needs_credit_note), ("GOODWILL", 21_000, true));
    let amounts: Vec<_> = granted.items.iter().map(|item| (item.amount_minor, item.shipping_minor)).collect();
    assert_eq!(amounts, [(10_500, 500), (10_500, 500)]);
    assert_eq!(granted.items.iter().map(|item| item.gst_rate).collect::<Vec<_>>(), [Some(18.0), Some(5.0)]);
    for item in &granted.items {
        assert!(is_whole(item.amount_minor - item.shipping_minor, item.tax), "{item:?}");
        assert!(is_whole(item.shipping_minor, item.shipping_tax), "{item:?}");
    }
    // 100.00 with 18 % are 84.74 and 15.26, of which 7.63 is CGST.
    assert_eq!(granted.items[0].tax.map(|tax| (tax.taxable_minor, tax.cgst_minor)), Some((8_474, 763)));

    let note: CreditNoteDocument = eventually("the credit note is made", SOON, async || {
        let seen = api.get(&format!("/refunds/{}", granted.id)).await?;
        Ok(if seen.status == 200 { serde_json::from_value(seen.json()["credit_note"].clone()).ok() } else { None })
    })
    .await?;
    assert_eq!((note.refund_id, note.return_id, note.total_minor), (Some(granted.id), None, 21_000));
    let pdf = api.get(&format!("/refunds/{}/credit-note", granted.id)).await?.expect(200);
    assert_eq!(pdf.header("content-type"), "application/pdf");
    let text = poppler("pdftotext", &["-layout"], &system.invoices().join(&note.path))?;
    for wanted in ["Credit Note", "A scratch on the glaze", "Brass lamp", "84.74", "210.00", &note.invoice_number] {
        assert!(text.to_lowercase().contains(&wanted.to_lowercase()), "{wanted} is not in the credit note:\n{text}");
    }

    // A return refunds what is left: 1,000.00 less 100.00 for two lamps, and nothing of the shipping before all is back.
    let returned = shop::request_return(api, &order, 0, 1).await?;
    assert_eq!(returned.refund_amount_minor, 45_000);
    let done = shop::bring_return(api, returned, ReturnState::Completed).await?;
    assert_eq!(done.refund_amount_minor, 45_000);
    let left = order.total_minor - 21_000 - 45_000;
    let too_much = json!({ "amount_minor": left + 1, "reason": "all of it" });
    let refused = give_back(api, &order, &too_much).await?.refused(409, "REFUND_EXCEEDS_PAID");
    assert_eq!(refused.details["refundable_minor"], json!(left));
    give_back(api, &order, &json!({ "amount_minor": left, "reason": "all of it" })).await?.expect(201);
    let nothing = shop::request_return(api, &order, 1, 1).await?;
    assert_eq!(nothing.refund_amount_minor, 0);

    books::settled(&system.database.pool).await?;
    let notes = "select count(*) from work.credit_notes where stored_at is not null";
    assert_eq!(books::count(&system.database.pool, notes).await?, 3);
    let credited = "select sum(total_minor)::bigint from read.issued_documents where kind = 'credit_note'";
    assert_eq!(books::count(&system.database.pool, credited).await?, order.total_minor);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_invoice_money_given_back_lowers_the_invoice() -> Result<()> {
    let system = registered(&Part::ALL).await?;
    let api = &system.api;
    let order = order_in(api, OrderState::Paid).await?;
    let items = json!([{ "order_item_id": order.items[0].id, "amount_minor": 21_000 }]);
    let granted = refund(give_back(api, &order, &json!({ "items": items, "reason": "one lamp has a dent" })).await?);
    assert!(!granted.needs_credit_note);
    let changed = api
        .read(&format!("/orders/{}", order.id), &system.token("order", order.id, 3).await?)
        .await?
        .expect(200)
        .order();
    assert_eq!((changed.version, changed.state, changed.total_minor), (3, OrderState::Paid, order.total_minor));
    assert_eq!(changed.invoice_lines[0].paid_minor, 100_000 - 20_000);
    assert_eq!(changed.invoice_lines[0].shipping_minor, 5_000 - 1_000);
    let history = api.get(&format!("/orders/{}/history", order.id)).await?.expect(200).history();
    let last = history.last().context("a history")?;
    assert_eq!(
        (last.reason.as_deref(), &last.metadata["refund_id"]),
        (Some("one lamp has a dent"), &json!(granted.id))
    );

    for step in ["processing", "ship", "deliver"] {
        shop::step(api, order.id, step).await?.expect(200);
    }
    let invoice = eventually("the invoice is made", SOON, async || {
        Ok(api.get(&format!("/orders/{}", order.id)).await?.expect(200).order().invoice)
    })
    .await?;
    assert_eq!(invoice.total_minor, order.total_minor - 21_000);
    let lines = &invoice.tax.as_ref().context("a tax summary")?.lines;
    let lamps = lines.iter().find(|line| line.gst_rate == Some(18.0)).context("the lamps")?;
    assert_eq!(lamps.total_minor, 80_000 + 4_000);
    let text = poppler("pdftotext", &["-layout"], &system.invoices().join(&invoice.path))?;
    for wanted in ["Less", "1,890.00"] {
        assert!(text.contains(wanted), "{wanted} is not on the invoice:\n{text}");
    }

    // A lamp is worth 400.00 now, and its credit note says so.
    let returned = shop::request_return(api, &order, 0, 1).await?;
    let done = shop::bring_return(api, returned, ReturnState::Completed).await?;
    assert_eq!(done.refund_amount_minor, 40_000);
    books::settled(&system.database.pool).await?;
    let notes = "select count(*) from work.credit_notes";
    assert_eq!(books::count(&system.database.pool, notes).await?, 1, "of the return alone");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_given_back_is_refused() -> Result<()> {
    let system = registered(&[Part::Command]).await?;
    let api = &system.api;
    let unpaid = order_in(api, OrderState::PendingPayment).await?;
    let body = json!({ "amount_minor": 100, "reason": "sorry" });
    give_back(api, &unpaid, &body).await?.refused(409, "ORDER_NOT_PAID");
    let order = order_in(api, OrderState::Delivered).await?;
    let item = |amount: i64| json!({ "order_item_id": order.items[1].id, "amount_minor": amount });
    let unknown = json!({ "order_item_id": Uuid::nil(), "amount_minor": 1 });
    for (field, body) in [
        ("amount_minor", json!({ "reason": "sorry" })),
        ("amount_minor", json!({ "reason": "sorry", "amount_minor": 0 })),
        ("amount_minor", json!({ "reason": "sorry", "amount_minor": 1, "items": [item(1)] })),
        ("items[0].amount_minor", json!({ "reason": "sorry", "items": [item(-5)] })),
        ("items[1].order_item_id", json!({ "reason": "sorry", "items": [item(1), item(2)] })),
        ("items[1].order_item_id", json!({ "reason": "sorry", "items": [item(1), unknown] })),
        ("reason", json!({ "amount_minor": 1 })),
    ] {
        let refused = give_back(api, &order, &body).await?.refused(422, "VALIDATION_FAILED");
        assert!(refused.details.to_string().contains(&format!("\"{field}\"")), "{field}: {}", refused.details);
    }
    let paid = 100_000 + 5_000;
    let body = json!({ "items": [item(paid + 1)], "reason": "sorry" });
    let refused = give_back(api, &order, &body).await?.refused(409, "REFUND_EXCEEDS_PAID");
    assert_eq!(
        refused.details["items"],
        json!([{ "order_item_id": order.items[1].id, "amount_minor": paid + 1, "refundable_minor": paid }])
    );
    give_back(api, &OrderDocument { id: Uuid::nil(), ..order.clone() }, &body).await?.refused(404, "ORDER_NOT_FOUND");
    let stale = api.call(Method::POST, &format!("/orders/{}/refunds", order.id)).header("if-match", "\"2\"");
    stale.json(&json!({ "amount_minor": 1, "reason": "sorry" })).send().await?.refused(412, "VERSION_MISMATCH");

    // Eight of them, each for a third: three fit, in any order.
    let third = json!({ "amount_minor": order.total_minor / 3, "reason": "sorry" });
    let answers = try_join_all((0..8).map(|_| give_back(api, &order, &third))).await?;
    let (granted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(granted.len(), 3);
    for answer in refused {
        answer.refused(409, "REFUND_EXCEEDS_PAID");
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fees_are_kept_back_from_a_return() -> Result<()> {
    let system = registered(&Part::ALL).await?;
    let api = &system.api;
    let order = order_in(api, OrderState::Delivered).await?;
    let returned = shop::request_return(api, &order, 0, 1).await?;
    let received = shop::bring_return(api, returned, ReturnState::Received).await?;
    let path = format!("/returns/{}", received.id);
    let fee = |kind: &str, amount: i64| json!({ "kind": kind, "amount_minor": amount });
    api.patch(&path, &json!({ "fees": [fee("RESTOCKING", 1), fee("RESTOCKING", 2)] }))
        .await?
        .refused(422, "VALIDATION_FAILED");
    api.patch(&path, &json!({ "fees": [fee("WRAPPING", 1)] })).await?.refused(422, "VALIDATION_FAILED");
    let set = json!({ "fees": [fee("RETURN_SHIPPING", 4_000)], "reason": "the customer pays the way back" });
    let estimate = api.patch(&path, &set).await?.expect(200).returned();
    assert_eq!((estimate.refund_amount_minor, estimate.version), (46_000, received.version + 1));

    let complete = json!({ "fees": [fee("RETURN_SHIPPING", 4_000), fee("RESTOCKING", 1_000)] });
    let done = api.post(&format!("{path}/complete"), &complete).await?.expect(200).returned();
    assert_eq!(done.refund_amount_minor, 45_000);
    let item = &done.items[0];
    assert!(is_whole(item.amount_minor, item.tax), "{item:?}");
    let kept = item.kept.clone().context("the share of the fees")?;
    assert!(kept.goods_minor == 5_000 && is_whole(5_000, kept.tax), "{kept:?}");
    api.post(&format!("{path}/complete"), &complete).await?.expect(200);
    let other = json!({ "fees": [fee("RESTOCKING", 1_000)] });
    api.post(&format!("{path}/complete"), &other).await?.refused(409, "CONFLICTING_FACT");
    api.patch(&path, &other).await?.refused(409, "FACT_IS_FINAL");

    // The fee is not paid out with the next unit, and one that is higher than the refund leaves nothing to pay.
    let second = shop::request_return(api, &order, 0, 1).await?;
    assert_eq!(second.refund_amount_minor, 50_000);
    let second = shop::bring_return(api, second, ReturnState::Received).await?;
    let all = json!({ "fees": [fee("RESTOCKING", 60_000)] });
    let done = api.post(&format!("/returns/{}/complete", second.id), &all).await?.expect(200).returned();
    assert_eq!(done.refund_amount_minor, 0);
    books::settled(&system.database.pool).await?;
    let refunds = "select count(*) from command.refunds";
    assert_eq!(books::count(&system.database.pool, refunds).await?, 1);

    // The shop thinks better of the fee.
    let items = json!([{ "order_item_id": order.items[0].id, "amount_minor": 50_000 }]);
    give_back(api, &order, &json!({ "items": items, "reason": "as agreed on the phone" })).await?.expect(201);
    books::settled(&system.database.pool).await?;
    system.finish().await
}

/// Section 14 of the CGST Act: the tax of the day of the supply, inside what was paid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_shipped_after_a_change_of_rates_bears_the_new_ones() -> Result<()> {
    for includes_tax in [true, false] {
        let clock = Clock::fixed("2025-09-21T10:00:00Z".parse()?);
        let system = System::start(|options| {
            options.parts = vec![Part::Command];
            options.clock = clock.clone();
            options.command.supplier_gstin = command::Gstin::parse(GSTIN).ok();
            options.command.prices_include_tax = includes_tax;
        })
        .await?;
        let api = &system.api;
        let body = json!({
            "customer_id": "cust-1", "shipping_address": { "state": "KA" }, "shipping_minor": 5_000,
            "items": [
                { "sku": "FRM", "title": "Carved frame", "quantity": 1, "unit_price_minor": 112_000, "hsn": "4414" },
                { "sku": "LMP", "title": "Lamp", "quantity": 1, "unit_price_minor": 118_000, "hsn": "9405", "gst_rate": 18 },
            ],
        });
        let order = shop::bring(api, shop::place(api, &body).await?, OrderState::ProcessingInWarehouse).await?;
        assert_eq!(order.items[0].gst_rate, Some(12.0));
        clock.set("2025-09-21T18:30:00Z".parse()?);
        let shipped = shop::step(api, order.id, "ship").await?.expect(200).order();
        assert_eq!((shipped.total_minor, shipped.state), (order.total_minor, OrderState::Shipped));
        let invoiced = shipped.clone().invoiced();
        assert_eq!(invoiced.items.iter().map(|item| item.gst_rate).collect::<Vec<_>>(), [Some(5.0), Some(18.0)]);
        assert_eq!(invoiced.total_minor, order.total_minor);
        for item in &invoiced.items {
            assert!(
                is_whole(item.paid_minor, item.tax) && is_whole(item.shipping_minor, item.shipping_tax),
                "{item:?}"
            );
        }
        let paid = order.items[0].paid_minor;
        let tax = invoiced.items[0].tax.context("a taxed item")?;
        let exact = paid * 100 / 105;
        assert!((tax.taxable_minor - exact).abs() <= 1, "{tax:?} of {paid}");
        assert_eq!(invoiced.items[1].tax, order.items[1].tax, "its rate was the shop's");
        let delivered = shop::step(api, order.id, "deliver").await?.expect(200).order();
        let returned = shop::request_return(api, &delivered, 0, 1).await?;
        assert_eq!(returned.items[0].tax, invoiced.items[0].tax, "returns take back what was invoiced");
        assert_eq!(returned.items[0].gst_rate, Some(5.0));
        system.finish().await?;
    }
    Ok(())
}

/// Section 34 (2): after 30 November that follows the financial year, a credit note reduces no tax.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credit_note_that_comes_too_late_gives_back_no_tax() -> Result<()> {
    let clock = Clock::fixed("2025-03-31T10:00:00Z".parse()?);
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.clock = clock.clone();
        options.command.supplier_gstin = command::Gstin::parse(GSTIN).ok();
    })
    .await?;
    let api = &system.api;
    let order = order_in(api, OrderState::Delivered).await?;
    let note = async |amount: i64| -> Result<CreditNoteDocument> {
        let granted =
            refund(give_back(api, &order, &json!({ "amount_minor": amount, "reason": "a late complaint" })).await?);
        eventually("the credit note is made", SOON, async || {
            let seen = api.get(&format!("/refunds/{}", granted.id)).await?;
            Ok(if seen.status == 200 { serde_json::from_value(seen.json()["credit_note"].clone()).ok() } else { None })
        })
        .await
    };
    let invoiced = "select count(*) from work.invoices where stored_at is not null";
    eventually_equal("the invoice is made", SOON, 1, async || books::count(&system.database.pool, invoiced).await)
        .await?;
    clock.set("2025-11-30T18:29:00Z".parse()?);
    assert!(note(10_000).await?.tax.is_some(), "on the last day it does");
    clock.set("2025-11-30T18:31:00Z".parse()?);
    let late = note(10_000).await?;
    assert!(late.tax.is_none());
    let text = poppler("pdftotext", &["-layout"], &system.invoices().join(&late.path))?;
    assert!(text.contains("section 34") && !text.contains("SGST"), "{text}");
    system.finish().await
}
