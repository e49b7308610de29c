//! GST on orders, and its refund on returns.

use anyhow::Result;
use contracts::{OrderDocument, OrderState, ReturnDocument, Supply, TaxDocument};
use serde_json::{Value, json};
use standalone::Part;
use tests::waiting::SOON;
use tests::{System, eventually, shop};

use crate::flows::poppler;

/// The GSTIN of a shop in Karnataka.
const GSTIN: &str = "29AAHCM7727Q1ZI";

async fn registered(configure: impl FnOnce(&mut command::Settings)) -> Result<System> {
    System::start(|options| {
        options.parts = vec![Part::Command];
        options.command.supplier_gstin = command::Gstin::parse(GSTIN).ok();
        configure(&mut options.command);
    })
    .await
}

/// 3 units at 999.00 with 18 %, 1 at 2,300.00 with the 5 % of its HSN code, and an exempt booklet; a discount of
/// 100.00, shipping of 90.00.
fn order(state: &str) -> Value {
    json!({
        "customer_id": "cust-1", "shipping_address": { "line1": "14, Kasturba Road", "state": state },
        "items": [
            { "sku": "LMP", "title": "Brass lamp", "quantity": 3, "unit_price_minor": 99_900, "gst_rate": 18 },
            { "sku": "SHL", "title": "Stone inlay box", "quantity": 1, "unit_price_minor": 230_000, "hsn": "6802" },
            { "sku": "BKL", "title": "Booklet", "quantity": 1, "unit_price_minor": 10_000, "hsn": "4901", "gst_rate": 0 },
        ],
        "discount_minor": 10_000, "shipping_minor": 9_000,
    })
}

fn taxes(order: &OrderDocument) -> Vec<TaxDocument> {
    order.items.iter().flat_map(|item| [item.tax, item.shipping_tax]).flatten().collect()
}

fn sum(taxes: &[TaxDocument], of: fn(&TaxDocument) -> i64) -> i64 {
    taxes.iter().map(of).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_a_state_half_of_the_tax_is_cgst_and_half_sgst() -> Result<()> {
    let system = registered(|_| ()).await?;
    let order = shop::place(&system.api, &order("KA")).await?;
    let terms = order.tax_terms.clone().expect("a registered shop");
    assert_eq!((terms.supply, terms.place_of_supply.as_str()), (Supply::IntraState, "29 Karnataka"));
    assert_eq!((terms.supplier_gstin.as_str(), terms.prices_include_tax), (GSTIN, true));
    assert_eq!(order.total_minor, 299_700 + 230_000 + 10_000 - 10_000 + 9_000, "prices contain the tax");
    assert_eq!(order.items.iter().map(|item| item.gst_rate).collect::<Vec<_>>(), [Some(18.0), Some(5.0), Some(0.0)]);
    let exempt = order.items[2].tax.expect("it has a rate");
    assert_eq!((exempt.taxable_minor, exempt.cgst_minor, exempt.sgst_minor), (order.items[2].paid_minor, 0, 0));

    let paid: i64 = order.items.iter().map(|item| item.paid_minor + item.shipping_minor).sum();
    assert_eq!(paid, order.total_minor);
    let taxes = taxes(&order);
    assert_eq!(sum(&taxes, |tax| tax.cgst_minor), sum(&taxes, |tax| tax.sgst_minor));
    assert_eq!(sum(&taxes, |tax| tax.cgst_minor + tax.sgst_minor), order.tax_minor);
    assert!(order.tax_minor > 0 && sum(&taxes, |tax| tax.igst_minor) == 0);
    for item in &order.items[..2] {
        for (amount, tax) in [(item.paid_minor, item.tax), (item.shipping_minor, item.shipping_tax)] {
            let tax = tax.expect("a taxed item");
            let parts = tax.taxable_minor + tax.cgst_minor + tax.sgst_minor + tax.igst_minor + tax.round_off_minor;
            assert_eq!(parts, amount);
        }
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_states_the_tax_is_igst_added_to_prices_without_tax() -> Result<()> {
    let system = registered(|settings| settings.prices_include_tax = false).await?;
    let placed = shop::place(&system.api, &order("Maharashtra")).await?;
    let terms = placed.tax_terms.clone().expect("a registered shop");
    assert_eq!((terms.supply, terms.place_of_supply.as_str()), (Supply::InterState, "27 Maharashtra"));
    // After the discount, 3 × 999.00 with its share of the shipping is taxed at 18 %, and 2,300.00 with its share at 5 %.
    let (lamps, box_) = (299_700 - 5_553 + 4_998, 230_000 - 4_262 + 3_835);
    let taxes = taxes(&placed);
    let booklet = 10_000 - 185 + 167;
    assert_eq!(sum(&taxes, |tax| tax.taxable_minor), lamps + box_ + booklet);
    let nearest = |amount: i64, per_cent: i64| (2 * amount * per_cent + 100) / 200;
    assert_eq!(sum(&taxes, |tax| tax.igst_minor), nearest(lamps, 18) + nearest(box_, 5));
    assert_eq!(sum(&taxes, |tax| tax.cgst_minor + tax.sgst_minor + tax.round_off_minor.abs()), 0);
    assert_eq!(placed.total_minor, 538_700 + placed.tax_minor);

    let abroad = json!({ "line1": "1 Main Street", "state": "Ohio", "country": "US" });
    let mut body = order("KA");
    body["shipping_address"] = abroad;
    let terms = shop::place(&system.api, &body).await?.tax_terms.expect("a registered shop");
    assert_eq!((terms.supply, terms.place_of_supply.as_str()), (Supply::InterState, "96 Outside India"));
    body.as_object_mut().expect("an object").remove("shipping_address");
    let terms = shop::place(&system.api, &body).await?.tax_terms.expect("a registered shop");
    assert_eq!((terms.supply, terms.place_of_supply.as_str()), (Supply::IntraState, "29 Karnataka"));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_tax_would_be_wrong_is_refused() -> Result<()> {
    let system = registered(|_| ()).await?;
    let refused = async |field: &str, change: fn(&mut Value)| {
        let mut body = order("KA");
        change(&mut body);
        let answer = system.api.post("/orders", &body).await?;
        let details = answer.refused(422, "VALIDATION_FAILED").details.to_string();
        assert!(details.contains(field), "{details}");
        anyhow::Ok(())
    };
    refused("shipping_address.state", |body| body["shipping_address"]["state"] = json!("Bavaria")).await?;
    refused("shipping_address.gstin", |body| body["shipping_address"]["gstin"] = json!("24AAGCC7144L6ZE")).await?;
    refused("items[1].gst_rate", |body| body["items"][1]["gst_rate"] = json!(5.0001)).await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_that_is_not_registered_charges_no_tax() -> Result<()> {
    let system = System::commands_only().await?;
    let order = shop::place(&system.api, &order("Bavaria")).await?;
    assert_eq!((order.tax_minor, &order.tax_terms, order.items[0].tax), (0, &None, None));
    assert_eq!(order.total_minor, 538_700);
    system.finish().await
}

async fn give_back(system: &System, order: &OrderDocument, items: &[(usize, i64)]) -> Result<ReturnDocument> {
    let items: Vec<_> = items
        .iter()
        .map(|(line, quantity)| json!({ "order_item_id": order.items[*line].id, "quantity": quantity }))
        .collect();
    let body = json!({ "order_id": order.id, "items": items });
    Ok(system.api.post("/returns", &body).await?.expect(201).returned())
}

/// The refunds of successive returns add up to what the customer paid; the last one refunds the shipping.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returns_refund_what_was_paid_and_the_last_one_refunds_the_shipping() -> Result<()> {
    let system = registered(|_| ()).await?;
    let order = shop::bring(&system.api, shop::place(&system.api, &order("KA")).await?, OrderState::Delivered).await?;
    let first = give_back(&system, &order, &[(0, 1), (1, 1)]).await?;
    let second = give_back(&system, &order, &[(0, 2)]).await?;
    assert!([&first, &second].iter().flat_map(|back| &back.items).all(|item| item.shipping_minor == 0));

    // The units of a rejected return can be returned again.
    shop::return_step(&system.api, second.id, "reject").await?.expect(200);
    let last = give_back(&system, &order, &[(0, 2), (2, 1)]).await?;
    assert_eq!(last.items.iter().map(|item| item.quantity).collect::<Vec<_>>(), [2, 1, 0]);
    assert_eq!(last.items.iter().map(|item| item.shipping_minor).sum::<i64>(), 9_000);
    assert_eq!(
        last.items[2].amount_minor, order.items[1].shipping_minor,
        "the shipping of the box, which was returned before"
    );
    assert_eq!(first.refund_amount_minor + last.refund_amount_minor, order.total_minor);
    let given_back: Vec<_> = [&first, &last]
        .iter()
        .flat_map(|back| &back.items)
        .flat_map(|item| [item.tax, item.shipping_tax])
        .flatten()
        .collect();
    let parts: [fn(&TaxDocument) -> i64; 4] =
        [|tax| tax.taxable_minor, |tax| tax.cgst_minor, |tax| tax.sgst_minor, |tax| tax.round_off_minor];
    for part in parts {
        assert_eq!(sum(&given_back, part), sum(&taxes(&order), part));
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_decides_whether_returns_refund_shipping() -> Result<()> {
    for (policy, expected) in [(command::RefundShipping::EachUnit, true), (command::RefundShipping::Never, false)] {
        let system = registered(|settings| settings.refund_shipping = policy).await?;
        let order =
            shop::bring(&system.api, shop::place(&system.api, &order("KA")).await?, OrderState::Delivered).await?;
        let mut shipping = 0;
        for _ in 0..3 {
            let back = give_back(&system, &order, &[(0, 1)]).await?;
            shipping += back.items[0].shipping_minor;
            assert_eq!(back.items[0].shipping_minor > 0, expected, "{policy:?}");
        }
        assert_eq!(shipping, if expected { order.items[0].shipping_minor } else { 0 });
        system.finish().await?;
    }
    Ok(())
}

/// From the order to the credit note, for a customer in another state than the registered shop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credit_note_takes_back_the_tax_at_the_original_rates() -> Result<()> {
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.command.supplier_gstin = command::Gstin::parse(GSTIN).ok();
    })
    .await?;
    let placed = shop::place(&system.api, &order("Maharashtra")).await?;
    let order = shop::bring(&system.api, placed, OrderState::Delivered).await?;
    let returned = give_back(&system, &order, &[(0, 2)]).await?;
    for step in ["approve", "in-transit", "received"] {
        shop::return_step(&system.api, returned.id, step).await?.expect(200);
    }
    let completed = shop::return_step(&system.api, returned.id, "complete").await?.expect(200);
    let note = eventually("the credit note is made", SOON, async || {
        let path = format!("/returns/{}", returned.id);
        Ok(system.api.read(&path, completed.token()).await?.expect(200).returned().credit_note)
    })
    .await?;
    assert_eq!(note.total_minor, returned.refund_amount_minor);

    let tax = returned.items[0].tax.expect("lamps are taxed");
    assert_eq!(tax.taxable_minor + tax.igst_minor + tax.round_off_minor, returned.refund_amount_minor);
    let text = poppler("pdftotext", &["-layout"], &system.invoices().join(&note.path))?;
    let money = |minor| contracts::money(minor, "INR");
    for wanted in [
        "Credit Note",
        GSTIN,
        "27 Maharashtra",
        "18 %",
        &note.invoice_number,
        &money(tax.taxable_minor),
        &money(tax.igst_minor),
        &money(returned.refund_amount_minor),
    ] {
        assert!(text.contains(wanted), "{wanted} is not in the credit note:\n{text}");
    }
    system.finish().await
}
