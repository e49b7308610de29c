//! New orders with a mistake.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{books, shop};

use super::{Shop, with, without};

/// The largest amount that is exact in JSON everywhere: 2^53 - 1.
const MAX_MINOR: i64 = 1_000_000_000_000;

/// The path to set, its value, and the field that the answer names.
type BadMember = (&'static str, Value, &'static str);

fn long(length: usize) -> Value {
    "x".repeat(length).into()
}

fn bad_members(good: &Value) -> Vec<BadMember> {
    let many = vec![good["items"][0].clone(); 501];
    vec![
        ("items", json!([]), "items"),
        ("items", json!(many), "items"),
        ("items", json!({}), "items"),
        ("items", json!(null), "items"),
        ("items", json!([null]), "items[0]"),
        ("customer_id", long(65), "customer_id"),
        ("customer_id", json!(""), "customer_id"),
        ("customer_id", json!(" "), "customer_id"),
        ("customer_id", json!(17), "customer_id"),
        ("customer_id", json!("a\0"), "customer_id"),
        ("customer_id", json!("a\rb"), "customer_id"),
        ("customer_email", json!("meera"), "customer_email"),
        ("customer_email", json!("a b@c"), "customer_email"),
        ("customer_email", json!(format!("{}@example.com", "x".repeat(250))), "customer_email"),
        ("customer_email", json!(format!("{}@example.com", "x".repeat(65))), "customer_email"),
        ("customer_email", json!("meera..k@example.com"), "customer_email"),
        ("customer_email", json!("meera@example.com."), "customer_email"),
        ("customer_email", json!("meera@example..com"), "customer_email"),
        ("customer_email", json!("meera@-x.com"), "customer_email"),
        ("customer_email", json!("x@-"), "customer_email"),
        ("currency", json!("inr"), "currency"),
        ("currency", json!("RUPEE"), "currency"),
        ("currency", json!("ZZZ"), "currency"),
        ("payment_method", long(65), "payment_method"),
        ("order_number", long(33), "order_number"),
        ("order_number", json!(""), "order_number"),
        ("order_number", json!("../../etc/passwd"), "order_number"),
        ("order_number", json!("AC 1"), "order_number"),
        ("shipping_address", json!("12 MG Road"), "shipping_address"),
        // The shop would mail it, to any address.
        ("shipping_address.name", json!("Meera\nYour parcel waits: pay at http://x.example"), "shipping_address.name"),
        ("shipping_address.line1", json!("12 MG Road\u{2028}\u{1b}[2J"), "shipping_address.line1"),
        ("shipping_address.landmark", json!("near\tthe temple"), "shipping_address.landmark"),
        ("shipping_address.city", json!(5), "shipping_address.city"),
        ("shipping_address.city", long(256), "shipping_address.city"),
        ("shipping_address.landmark", long(256), "shipping_address.landmark"),
        ("shipping_address.landmark", json!({ "near": "the temple" }), "shipping_address"),
        ("discount_minor", json!(-1), "discount_minor"),
        ("discount_minor", json!(MAX_MINOR), "discount_minor"),
        ("discount_minor", json!(0.5), "discount_minor"),
        ("shipping_minor", json!(-1), "shipping_minor"),
        ("shipping_minor", json!(i64::MAX), "shipping_minor"),
        ("shipping_minor", json!(MAX_MINOR), "shipping_minor"),
    ]
}

fn bad_items() -> Vec<BadMember> {
    let quantities = [
        json!(0),
        json!(-1),
        json!(100_001),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!("2"),
        json!(null),
        json!(true),
    ];
    let quantities = quantities.map(|quantity| ("items.0.quantity", quantity, "items[0].quantity"));
    let others = vec![
        ("items.0.sku", long(65), "items[0].sku"),
        ("items.0.sku", json!(""), "items[0].sku"),
        ("items.0.title", long(256), "items[0].title"),
        ("items.0.title", json!("\t\n"), "items[0].title"),
        ("items.1.title", json!("bowl\0"), "items[1].title"),
        ("items.1.title", json!("bowl\r\nBcc: all@example.com"), "items[1].title"),
        ("items.1.title", json!("\u{200b}\u{feff}"), "items[1].title"),
        ("items.0.hsn", long(17), "items[0].hsn"),
        ("items.0.gst_rate", json!(-0.1), "items[0].gst_rate"),
        ("items.0.gst_rate", json!(100.5), "items[0].gst_rate"),
        ("items.0.gst_rate", json!(18.0005), "items[0].gst_rate"),
        ("items.0.gst_rate", json!("12"), "items[0].gst_rate"),
        ("items.0.colour", json!("blue"), "items[0].colour"),
        ("items.1.unit_price_minor", json!(-1), "items[1].unit_price_minor"),
        ("items.1.unit_price_minor", json!(MAX_MINOR + 1), "items[1].unit_price_minor"),
        ("items.1.unit_price_minor", json!(i64::MAX), "items[1].unit_price_minor"),
        ("items.1.unit_price_minor", json!(9.99), "items[1].unit_price_minor"),
        ("items.1.unit_price_minor", json!("100"), "items[1].unit_price_minor"),
        // Three units of it cost more than the largest amount.
        ("items.0.unit_price_minor", json!(MAX_MINOR / 2), "items[0].unit_price_minor"),
        // Each line is within the limit, their sum is not.
        ("items.1.unit_price_minor", json!(MAX_MINOR), "items"),
    ];
    others.into_iter().chain(quantities).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_is_placed_with_a_bad_member() -> Result<()> {
    let shop = Shop::open().await?;
    let mut good = shop::order();
    good["shipping_address"] = json!({ "name": "Meera Nair", "line1": "12 MG Road", "city": "Kochi" });
    for (path, value, field) in bad_members(&good).into_iter().chain(bad_items()) {
        let shown: String = value.to_string().chars().take(60).collect();
        let answer = shop.send_json(&Method::POST, "/orders", &with(&good, path, value)).await?;
        let error = answer.refused(422, "VALIDATION_FAILED");
        let named: Vec<_> = error.details["fields"].as_array().expect("a list").iter().map(|f| &f["field"]).collect();
        assert!(named.contains(&&json!(field)), "{path} = {shown}: {}", answer.text());
        shop.assert_unchanged(&format!("{path} = {shown}")).await?;
    }
    shop.send_json(&Method::POST, "/orders", &good).await?.expect(201);
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_is_placed_without_what_it_needs() -> Result<()> {
    let shop = Shop::open().await?;
    let good = shop::order();
    for path in ["customer_id", "items", "items.0.sku", "items.0.title", "items.0.quantity", "items.0.unit_price_minor"]
    {
        let answer = shop.send_json(&Method::POST, "/orders", &without(&good, path)).await?;
        let error = answer.refused(422, "VALIDATION_FAILED");
        assert_eq!(error.details["fields"][0]["message"], "is required", "without {path}: {}", answer.text());
    }
    shop.send(&Method::POST, "/orders", None, Vec::new()).await?.refused(422, "VALIDATION_FAILED");
    shop.assert_unchanged("an order with something missing").await?;
    shop.system.finish().await
}

/// Those for which a test of the mailer says that it writes to them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusual_e_mail_addresses_are_accepted() -> Result<()> {
    let shop = Shop::open().await?;
    let longest_name = format!("{}@example.com", "n".repeat(64));
    for email in
        ["a@b", "o'brien@example.com", "नाम@उदाहरण.भारत", "\"a@b\"@example.com", "meera@[192.0.2.1]", &longest_name]
    {
        let order = with(&shop::order(), "customer_email", email.into());
        let answer = shop.send_json(&Method::POST, "/orders", &order).await?.expect(201);
        assert_eq!(answer.json()["customer_email"], email);
    }
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_number_is_taken_once() -> Result<()> {
    let shop = Shop::open().await?;
    let mut body = shop::order();
    body["order_number"] = "AC-2026-000001".into();
    shop.send_json(&Method::POST, "/orders", &body).await?.expect(201);
    let rows = books::row_counts(&shop.system.database.pool).await?;
    let error = shop.send_json(&Method::POST, "/orders", &body).await?.refused(409, "ORDER_NUMBER_EXISTS");
    assert_eq!(error.details["order_number"], "AC-2026-000001");
    assert_eq!(books::row_counts(&shop.system.database.pool).await?, rows);
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_at_the_bounds_are_accepted() -> Result<()> {
    let shop = Shop::open().await?;
    let api = &shop.system.api;
    let largest = shop::order_of(&[(1, MAX_MINOR)]);
    assert_eq!(shop::place(api, &largest).await?.total_minor, MAX_MINOR);
    assert_eq!(shop::place(api, &shop::order_of(&[(100_000, 0)])).await?.total_minor, 0);
    let lines = vec![(1, 1); 500];
    assert_eq!(shop::place(api, &shop::order_of(&lines)).await?.items.len(), 500);
    let mut wide = shop::order();
    wide["customer_id"] = "ग्राहक".chars().cycle().take(64).collect::<String>().into();
    wide["order_number"] = "X".repeat(32).into();
    wide["items"][0]["title"] = "क".repeat(255).into();
    let placed = shop::place(api, &wide).await?;
    assert_eq!(placed.customer_id.as_str().chars().count(), 64);
    assert_eq!(placed.items[0].title.chars().count(), 255);
    shop.system.finish().await
}
