//! E-invoices: the JSON for the registration portal, and what the portal answers.

use anyhow::{Context, Result};
use contracts::{InvoiceDocument, OrderDocument, OrderState, ReturnState, day_in_india, irn};
use reqwest::Method;
use serde_json::{Value, json};
use standalone::Part;
use tests::portal::{BUYER, SHOP, answer_to};
use tests::waiting::SOON;
use tests::{Api, System, books, eventually, shop};

use crate::flows::poppler;

async fn registered() -> Result<System> {
    configured(|_| ()).await
}

async fn configured(adjust: impl FnOnce(&mut command::Settings)) -> Result<System> {
    System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.command.supplier_gstin = command::Gstin::parse(SHOP).ok();
        options.command.e_invoicing = true;
        options.workers.e_invoicing = true;
        "14, Kasturba Road".clone_into(&mut options.workers.supplier_address);
        options.workers.supplier_city = Some("Bengaluru".to_owned());
        options.workers.supplier_postal_code = Some("560001".to_owned());
        adjust(&mut options.command);
    })
    .await
}

/// Three lamps at 999.99 with 18 %, a box at 1,000.00 with 5 %, and shipping of 100.00.
fn order() -> Value {
    json!({
        "customer_id": "cust-1", "customer_email": "asha@example.com",
        "billing_address": { "name": "Rasa \"Interiors\" LLP", "line1": "2, Colaba Causeway", "city": "Mumbai", "state": "MH",
                             "postal_code": "400 005", "gstin": BUYER, "phone": "+91 98200 12345" },
        "items": [
            { "sku": "LMP", "title": "Brass lamp", "quantity": 3, "unit_price_minor": 99_999, "hsn": "83062100", "gst_rate": 18 },
            { "sku": "BOX", "title": "Box", "quantity": 1, "unit_price_minor": 100_000, "hsn": "68022900", "gst_rate": 5 },
        ],
        "shipping_minor": 10_000,
    })
}

/// The order once its invoice is made, in this edition.
async fn invoiced(api: &Api, order: &OrderDocument, edition: i32) -> Result<InvoiceDocument> {
    eventually("the invoice is made", SOON, async || {
        let seen = api.get(&format!("/orders/{}", order.id)).await?;
        // The read models may not have the order yet.
        let invoice = if seen.status == 200 { seen.order().invoice } else { None };
        Ok(invoice.filter(|invoice| invoice.edition == edition))
    })
    .await
}

async fn e_invoice(api: &Api, path: &str) -> Result<Value> {
    Ok(api.get(&format!("{path}/e-invoice.json")).await?.expect(200).json())
}

fn rupees(value: &Value) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "rupees with two decimals")]
    let minor = (value.as_f64().expect("a number") * 100.0).round() as i64;
    minor
}

fn sum(file: &Value, member: &str) -> i64 {
    file["ItemList"].as_array().into_iter().flatten().map(|item| rupees(&item[member])).sum()
}

/// The portal's rules between amounts.
fn adds_up(file: &Value) {
    for item in file["ItemList"].as_array().expect("items") {
        let quantity = item["Qty"].as_f64().expect("a quantity").max(1.0);
        let gross = item["UnitPrice"].as_f64().expect("a price") * quantity;
        assert!((gross * 100.0 - item["TotAmt"].as_f64().expect("an amount") * 100.0).abs() < 0.6, "{item}");
        assert_eq!(rupees(&item["AssAmt"]), rupees(&item["TotAmt"]) - rupees(&item["Discount"]), "{item}");
        let taxes = ["IgstAmt", "CgstAmt", "SgstAmt"].map(|tax| rupees(&item[tax])).iter().sum::<i64>();
        assert_eq!(rupees(&item["TotItemVal"]), rupees(&item["AssAmt"]) + taxes, "{item}");
        let due = item["AssAmt"].as_f64().expect("an amount") * item["GstRt"].as_f64().expect("a rate");
        #[expect(clippy::cast_precision_loss, reason = "small amounts")]
        let off_by = (due - taxes as f64).abs();
        assert!(off_by < 100.0, "within a rupee: {item}");
    }
    let totals = &file["ValDtls"];
    for (total, member) in
        [("AssVal", "AssAmt"), ("IgstVal", "IgstAmt"), ("CgstVal", "CgstAmt"), ("SgstVal", "SgstAmt")]
    {
        assert_eq!(rupees(&totals[total]), sum(file, member), "{total}");
    }
    assert_eq!(rupees(&totals["TotInvVal"]), sum(file, "TotItemVal") + rupees(&totals["RndOffAmt"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registered_invoice_is_printed_again_and_mailed_then() -> Result<()> {
    let system = registered().await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let order = shop::bring(api, shop::place(api, &order()).await?, OrderState::Delivered).await?;
    let first = invoiced(api, &order, 1).await?;
    books::settled(pool).await?;
    let mails = "select count(*) from work.emails where kind in ('order_shipped', 'invoice_registered')";
    assert_eq!(books::count(pool, mails).await?, 0, "it waits for the registration");

    let diagnosed = async || {
        let findings = api.get("/ops/doctor").await?.expect(200).json()["findings"].to_string();
        anyhow::Ok(findings.contains("INVOICES_UNREGISTERED"))
    };
    assert!(diagnosed().await?);

    let path = format!("/orders/{}", order.id);
    let file = e_invoice(api, &path).await?;
    adds_up(&file);
    assert_eq!(file["TranDtls"]["SupTyp"], "B2B");
    assert_eq!(file["DocDtls"]["No"], json!(first.invoice_number));
    assert_eq!(file["DocDtls"]["Dt"], json!(day_in_india(first.issued_at).format("%d/%m/%Y").to_string()));
    assert_eq!(file["SellerDtls"]["Pin"], 560_001);
    let buyer = json!({ "Gstin": BUYER, "LglNm": "Rasa 'Interiors' LLP", "Pos": "27", "Stcd": "27", "Addr1": "2, Colaba Causeway",
                        "Loc": "Mumbai", "Pin": 400_005, "Ph": "919820012345", "Em": "asha@example.com" });
    assert_eq!(file["BuyerDtls"], buyer);
    assert_eq!(rupees(&file["ValDtls"]["TotInvVal"]), order.total_minor);

    let number = irn(SHOP, first.issued_at, "INV", &first.invoice_number);
    let answer = answer_to(&file, &number);
    let enter = async |body: &Value| api.post(&format!("{path}/e-invoice"), body).await;
    let foreign = answer_to(&file, &irn(SHOP, first.issued_at, "INV", "AC/26-27/0000002"));
    let refused = enter(&foreign).await?.refused(422, "VALIDATION_FAILED");
    assert!(refused.details.to_string().contains("irn"), "{:?}", refused.details);
    let mut dearer = file.clone();
    dearer["ValDtls"]["TotInvVal"] = json!(1.0);
    let refused = enter(&answer_to(&dearer, &number)).await?.refused(422, "VALIDATION_FAILED");
    assert!(refused.details.to_string().contains("signed_qr_code"), "{:?}", refused.details);

    // Another date, another buyer, a time that has not come: of another document, or not of the portal.
    for (pointer, value) in [("/DocDtls/Dt", json!("01/01/2026")), ("/BuyerDtls/Gstin", json!("29AAHCM7727Q1ZI"))] {
        let mut changed = file.clone();
        *changed.pointer_mut(pointer).context("a member")? = value;
        let refused = enter(&answer_to(&changed, &number)).await?.refused(422, "VALIDATION_FAILED");
        assert!(refused.details.to_string().contains("signed_qr_code"), "{pointer}: {:?}", refused.details);
    }
    let mut early = answer.clone();
    early["acknowledged_at"] = json!("2036-01-01T00:00:00Z");
    let refused = enter(&early).await?.refused(422, "VALIDATION_FAILED");
    assert!(refused.details.to_string().contains("acknowledged_at"), "{:?}", refused.details);

    let entered = enter(&answer).await?.expect(200).order();
    assert_eq!((entered.version, entered.state), (order.version + 1, OrderState::Delivered));
    assert_eq!(enter(&answer).await?.expect(200).order().version, entered.version, "the same again changes nothing");
    let mut other = answer.clone();
    other["acknowledgement_number"] = json!("112610000000124");
    enter(&other).await?.refused(409, "CONFLICTING_FACT");

    let second = invoiced(api, &order, 2).await?;
    assert_eq!((&second.invoice_number, second.issued_at), (&first.invoice_number, first.issued_at));
    assert_eq!(second.e_invoice.as_ref().map(|e_invoice| e_invoice.irn.as_str()), Some(number.as_str()));
    let text = poppler("pdftotext", &["-layout"], &system.invoices().join(&second.path))?;
    let text: String = text.split_whitespace().collect();
    for wanted in [&number[..20], "112610000000123", &first.invoice_number] {
        assert!(text.contains(wanted), "{wanted} is not in the invoice:\n{text}");
    }
    let latest = api.get(&format!("{path}/invoice")).await?.expect(200);
    assert_eq!(latest.header("etag"), format!("\"{}\"", second.sha256));
    let kept = api.get(&format!("{path}/invoice?edition=1")).await?.expect(200);
    assert_eq!(kept.header("etag"), format!("\"{}\"", first.sha256));
    api.get(&format!("{path}/invoice?edition=3")).await?.refused(404, "EDITION_NOT_FOUND");

    books::settled(pool).await?;
    assert_eq!(books::count(pool, mails).await?, 1);
    assert!(!diagnosed().await?);

    // Another answer of the portal is printed in a third edition.
    let corrected = json!({ "e_invoice": other, "reason": "a digit was wrong" });
    api.call(Method::PATCH, &path).json(&corrected).send().await?.expect(200);
    let third = invoiced(api, &order, 3).await?;
    assert_eq!(third.earlier_editions.len(), 2);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_registrations_that_are_printed_at_once_the_later_is_kept() -> Result<()> {
    let system = registered().await?;
    let api = &system.api;
    let mut orders = Vec::new();
    for _ in 0..4 {
        let order = shop::bring(api, shop::place(api, &order()).await?, OrderState::Shipped).await?;
        let first = invoiced(api, &order, 1).await?;
        let path = format!("/orders/{}", order.id);
        let file = e_invoice(api, &path).await?;
        orders.push((order, path, answer_to(&file, &irn(SHOP, first.issued_at, "INV", &first.invoice_number))));
    }
    let operate = async |action: &str| {
        let call = api.call(Method::POST, &format!("/ops/queues/invoices/{action}")).header("x-actor", "asha");
        call.json(&json!({ "reason": "a paper jam" })).send().await.map(|answer| answer.expect(200))
    };
    operate("pause").await?;
    for (_, path, answer) in &mut orders {
        api.post(&format!("{path}/e-invoice"), answer).await?.expect(200);
        answer["acknowledgement_number"] = json!("112610000000777");
        let corrected = json!({ "e_invoice": answer, "reason": "a digit was wrong" });
        api.call(Method::PATCH, path).json(&corrected).send().await?.expect(200);
    }
    operate("resume").await?;
    books::settled(&system.database.pool).await?;
    for (order, path, _) in &orders {
        let shown = api.get(path).await?.expect(200).order().invoice.context("an invoice")?;
        let e_invoice = shown.e_invoice.context("a registration")?;
        assert_eq!(e_invoice.acknowledgement_number, "112610000000777", "edition {}", shown.edition);
        let text = poppler("pdftotext", &["-layout"], &system.invoices().join(&shown.path))?;
        assert!(
            text.contains("112610000000777"),
            "the PDF of {} has an earlier registration:\n{text}",
            order.order_number
        );
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credit_note_is_registered_too() -> Result<()> {
    let system = registered().await?;
    let api = &system.api;
    let order = shop::bring(api, shop::place(api, &order()).await?, OrderState::Delivered).await?;
    let invoice = invoiced(api, &order, 1).await?;
    let returned =
        shop::bring_return(api, shop::request_return(api, &order, 0, 1).await?, ReturnState::Completed).await?;
    let path = format!("/returns/{}", returned.id);
    let file = eventually("the credit note is made", SOON, async || {
        let answer = api.get(&format!("{path}/e-invoice.json")).await?;
        Ok((answer.status == 200).then(|| answer.json()))
    })
    .await?;
    adds_up(&file);
    assert_eq!(file["DocDtls"]["Typ"], "CRN");
    assert_eq!(file["RefDtls"]["PrecDocDtls"][0]["InvNo"], json!(invoice.invoice_number));
    assert_eq!(rupees(&file["ValDtls"]["TotInvVal"]), returned.refund_amount_minor);

    let goodwill = json!({ "amount_minor": 10_000, "reason": "a scratch" });
    let refund = api.post(&format!("/orders/{}/refunds", order.id), &goodwill).await?.expect(201).json();
    let path = format!("/refunds/{}/e-invoice.json", refund["id"].as_str().context("an id")?);
    let file = eventually("the credit note is made", SOON, async || {
        let answer = api.get(&path).await?;
        Ok((answer.status == 200).then(|| answer.json()))
    })
    .await?;
    adds_up(&file);
    assert_eq!(rupees(&file["ValDtls"]["TotInvVal"]), 10_000);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_registered_has_no_e_invoice_and_is_mailed_at_once() -> Result<()> {
    let system = registered().await?;
    let api = &system.api;
    let mut body = order();
    body["billing_address"].as_object_mut().context("an object")?.remove("gstin");
    let placed = shop::place(api, &body).await?;
    let at_once = system.token("order", placed.id, 1).await?;
    let early = api.read(&format!("/orders/{}/e-invoice.json", placed.id), &at_once).await?;
    let early = early.refused(404, "E_INVOICE_NOT_FOUND");
    assert_eq!(early.details["reason"], "NOT_ISSUED");
    let consumer = shop::bring(api, placed, OrderState::Shipped).await?;
    let invoice = invoiced(api, &consumer, 1).await?;
    let path = format!("/orders/{}", consumer.id);
    let refused = api.get(&format!("{path}/e-invoice.json")).await?.refused(404, "E_INVOICE_NOT_FOUND");
    assert_eq!(refused.details["reason"], "BUYER_NOT_REGISTERED");
    let file = json!({ "SellerDtls": { "Gstin": SHOP }, "DocDtls": { "No": invoice.invoice_number, "Typ": "INV" } });
    let answer = answer_to(&file, &"0".repeat(64));
    api.post(&format!("{path}/e-invoice"), &answer).await?.refused(409, "NOT_AN_E_INVOICE");
    books::settled(&system.database.pool).await?;
    let mails = "select count(*) from work.emails where kind = 'order_shipped'";
    assert_eq!(books::count(&system.database.pool, mails).await?, 1);

    // What the portal requires of a registered buyer is required of the order.
    for (field, change) in [
        ("billing_address.city", ("/billing_address/city", json!(null))),
        ("billing_address.postal_code", ("/billing_address/postal_code", json!("4000"))),
        ("billing_address.name", ("/billing_address/name", json!("R"))),
        ("items[1].hsn", ("/items/1/hsn", json!(null))),
        ("items[0].hsn", ("/items/0/hsn", json!("8306"))),
    ] {
        let mut incomplete = order();
        *incomplete.pointer_mut(change.0).context("a member")? = change.1;
        let refused = api.post("/orders", &incomplete).await?.refused(422, "VALIDATION_FAILED");
        assert!(refused.details.to_string().contains(field), "{field}: {:?}", refused.details);
    }
    system.finish().await
}

/// Zero-rated supplies under a letter of undertaking: no tax, an endorsed invoice, and a kind of their own at the portal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_and_special_economic_zones_are_endorsed_and_registered_as_such() -> Result<()> {
    const LUT: &str = "AD290326000001X";
    let system = configured(|settings| settings.lut_reference = Some(LUT.to_owned())).await?;
    let api = &system.api;
    let (mut zone, mut export) = (order(), order());
    zone["billing_address"]["sez"] = json!(true);
    export["billing_address"] = json!({ "name": "Jane Roe", "line1": "1 Main Street", "city": "Columbus", "state": "Ohio",
                                        "postal_code": "43004", "country": "United States" });
    for (body, kind, endorsed) in
        [(zone, "SEZWOP", "SEZ UNIT OR SEZ DEVELOPER"), (export, "EXPWOP", "MEANT FOR EXPORT")]
    {
        let sold = shop::bring(api, shop::place(api, &body).await?, OrderState::Shipped).await?;
        assert_eq!((sold.tax_minor, sold.total_minor), (0, 409_997), "{kind}");
        let invoice = invoiced(api, &sold, 1).await?;
        let text = poppler("pdftotext", &["-layout"], &system.invoices().join(&invoice.path))?;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for wanted in [endorsed, LUT, "WITHOUT PAYMENT OF INTEGRATED TAX", "Tax Invoice"] {
            assert!(text.contains(wanted), "{wanted} is not in the invoice:\n{text}");
        }
        let file = e_invoice(api, &format!("/orders/{}", sold.id)).await?;
        adds_up(&file);
        assert_eq!(file["TranDtls"]["SupTyp"], kind);
        if kind == "EXPWOP" {
            assert_eq!(file["ExpDtls"]["CntCode"], "US");
            let buyer = &file["BuyerDtls"];
            assert_eq!((&buyer["Gstin"], &buyer["Pos"], &buyer["Pin"]), (&json!("URP"), &json!("96"), &json!(999_999)));
        }
    }
    // GSTIN and zone are facts of the buyer, and the goods go to the zone.
    let home = json!({ "name": "Asha Rao", "line1": "1 MG Road", "city": "Bengaluru", "state": "KA", "postal_code": "560002" });
    let mut unit = order()["billing_address"].clone();
    unit["sez"] = json!(true);
    for (billing, shipping, field) in [
        (&home, &unit, "billing_address.sez"),
        (&home, &order()["billing_address"], "billing_address.gstin"),
        (&unit, &home, "shipping_address.sez"),
    ] {
        let mut mixed = order();
        (mixed["billing_address"], mixed["shipping_address"]) = (billing.clone(), shipping.clone());
        let refused = api.post("/orders", &mixed).await?.refused(422, "VALIDATION_FAILED");
        assert!(refused.details.to_string().contains(field), "{field}: {:?}", refused.details);
    }
    let mut own = order();
    own["billing_address"]["gstin"] = json!(SHOP);
    own["billing_address"]["state"] = json!("KA");
    let refused = api.post("/orders", &own).await?.refused(422, "VALIDATION_FAILED");
    assert!(refused.details.to_string().contains("the shop's own"), "{:?}", refused.details);
    let mut hidden = order();
    hidden["items"][0]["title"] = json!("\u{feff}\u{200b}");
    let refused = api.post("/orders", &hidden).await?.refused(422, "VALIDATION_FAILED");
    assert!(refused.details.to_string().contains("items[0].title"), "{:?}", refused.details);

    // A misspelt country would make an export of it.
    let mut misspelt = order();
    misspelt["billing_address"] = json!({ "name": "Asha Rao", "line1": "1 Main Street", "country": "Indai" });
    let refused = api.post("/orders", &misspelt).await?.refused(422, "VALIDATION_FAILED");
    assert!(refused.details.to_string().contains("billing_address.country"), "{:?}", refused.details);
    system.finish().await
}

/// The workers do not start without what every e-invoice says of the shop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e_invoicing_requires_the_place_of_the_shop() {
    let started = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.workers.e_invoicing = true;
    })
    .await;
    let error = started.err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(error.contains("SUPPLIER_CITY"), "{error}");
}
