//! Bad input: always the error shape, never a 5xx, and nothing written.

use std::collections::BTreeMap;

use anyhow::Result;
use contracts::{OrderState, ReturnState};
use reqwest::Method;
use serde_json::{Value, json};
use standalone::Part;
use tests::{Answer, System, books, shop};
use uuid::Uuid;

/// The largest amount that is exact in JSON everywhere: 2^53 - 1.
const MAX_MINOR: i64 = 9_007_199_254_740_991;
const JSON: Option<&str> = Some("application/json");

/// A system with an order and a return to spoil, and the rows that it had before.
struct Shop {
    system: System,
    order: Uuid,
    item: Uuid,
    other_item: Uuid,
    unpaid: Uuid,
    returned: Uuid,
    rows: BTreeMap<&'static str, i64>,
}

impl Shop {
    async fn open() -> Result<Self> {
        let system = System::start(|options| options.parts = vec![Part::Command, Part::Query]).await?;
        let order = shop::order_in(&system.api, OrderState::Delivered).await?;
        let other = shop::order_in(&system.api, OrderState::Delivered).await?;
        let unpaid = shop::order_in(&system.api, OrderState::PendingPayment).await?.id;
        let returned = shop::return_in(&system.api, ReturnState::Requested).await?.id;
        let rows = books::row_counts(&system.database.pool).await?;
        let (item, other_item) = (order.items[0].id, other.items[0].id);
        Ok(Self { system, order: order.id, item, other_item, unpaid, returned, rows })
    }

    /// Every command endpoint, with a body that it would take.
    fn commands(&self) -> Vec<(Method, String, Value)> {
        let reason = json!({ "reason": "As agreed" });
        let post = |path: String, body: &Value| (Method::POST, path, body.clone());
        let mut all =
            vec![post("/orders".into(), &shop::order()), post("/returns".into(), &self.return_of(self.item, json!(1)))];
        for step in ["pay", "processing", "ship", "deliver", "cancel"] {
            all.push(post(format!("/orders/{}/{step}", self.unpaid), &reason));
        }
        for step in ["approve", "reject", "in-transit", "received", "complete"] {
            let body = if step == "reject" { json!({ "reason": "Worn", "category": "WORN" }) } else { reason.clone() };
            all.push(post(format!("/returns/{}/{step}", self.returned), &body));
        }
        all.push((Method::PATCH, format!("/orders/{}/state", self.unpaid), json!({ "new_state": "PAID" })));
        all.push((Method::PATCH, format!("/returns/{}/state", self.returned), json!({ "new_state": "APPROVED" })));
        all
    }

    fn return_of(&self, item: Uuid, quantity: Value) -> Value {
        json!({ "order_id": self.order, "items": [{ "order_item_id": item, "quantity": quantity }] })
    }

    async fn send(&self, method: &Method, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Result<Answer> {
        self.system.api.call(method.clone(), path).body(content_type, body).send().await
    }

    async fn send_json(&self, method: &Method, path: &str, body: &Value) -> Result<Answer> {
        self.send(method, path, JSON, serde_json::to_vec(body)?).await
    }

    /// Asserts that the refused request has written nothing.
    async fn assert_unchanged(&self, what: &str) -> Result<()> {
        assert_eq!(books::row_counts(&self.system.database.pool).await?, self.rows, "{what} has written something");
        Ok(())
    }
}

/// `object` with the member at the dotted path set.
fn with(object: &Value, path: &str, value: Value) -> Value {
    let mut object = object.clone();
    let pointer = format!("/{}", path.replace('.', "/"));
    match object.pointer_mut(&pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, name) = pointer.rsplit_once('/').expect("a slash");
            object.pointer_mut(parent).expect("the parent")[name] = value;
        }
    }
    object
}

/// `object` without the member at the dotted path.
fn without(object: &Value, path: &str) -> Value {
    let mut object = object.clone();
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = if parent.is_empty() { String::new() } else { format!("/{}", parent.replace('.', "/")) };
    object.pointer_mut(&parent).and_then(Value::as_object_mut).expect("the parent").remove(name).expect("the member");
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_endpoint_takes_a_body_that_is_not_what_it_wants() -> Result<()> {
    let shop = Shop::open().await?;
    for (method, path, good) in shop.commands() {
        let text = serde_json::to_vec(&good)?;
        let with = |name: &str, value: Value| serde_json::to_vec(&with(&good, name, value));
        let two_mebibytes = with("actor", "x".repeat(2 * 1024 * 1024).into())?;
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        let cut_off = text[..text.len() - 1].to_vec();
        let cases: Vec<(&str, Option<&str>, Vec<u8>, u16, &str)> = vec![
            ("half a body", JSON, cut_off, 400, "MALFORMED_JSON"),
            ("no JSON", JSON, b"<order/>".to_vec(), 400, "MALFORMED_JSON"),
            ("a trailing comma", JSON, b"{\"actor\": \"x\",}".to_vec(), 400, "MALFORMED_JSON"),
            ("two bodies", JSON, [text.clone(), text.clone()].concat(), 400, "MALFORMED_JSON"),
            ("half a character", JSON, b"{\"actor\": \"\xe0\xa4\"}".to_vec(), 400, "MALFORMED_JSON"),
            ("half a surrogate pair", JSON, br#"{"actor": "\ud83d"}"#.to_vec(), 400, "MALFORMED_JSON"),
            ("a number out of all range", JSON, br#"{"actor": 1e999}"#.to_vec(), 400, "MALFORMED_JSON"),
            ("a raw NUL", JSON, b"{\"actor\": \"a\0b\"}".to_vec(), 422, "VALIDATION_FAILED"),
            ("bottomless brackets", JSON, deep, 400, "MALFORMED_JSON"),
            ("a list", JSON, b"[]".to_vec(), 422, "VALIDATION_FAILED"),
            ("a string", JSON, b"\"order\"".to_vec(), 422, "VALIDATION_FAILED"),
            ("null", JSON, b"null".to_vec(), 422, "VALIDATION_FAILED"),
            ("a text/plain body", Some("text/plain"), text.clone(), 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("a form", Some("application/x-www-form-urlencoded"), b"reason=x".to_vec(), 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("a body of no type", None, text.clone(), 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("2 MiB", JSON, two_mebibytes, 413, "BODY_TOO_LARGE"),
            ("an unknown field", JSON, with("colour", json!("blue"))?, 422, "VALIDATION_FAILED"),
            ("an actor that is a number", JSON, with("actor", json!(7))?, 422, "VALIDATION_FAILED"),
            ("an empty actor", JSON, with("actor", json!(""))?, 422, "VALIDATION_FAILED"),
            ("an actor of blanks", JSON, with("actor", json!("   "))?, 422, "VALIDATION_FAILED"),
            ("an actor of 65 letters", JSON, with("actor", "ä".repeat(65).into())?, 422, "VALIDATION_FAILED"),
            ("an actor with NUL", JSON, with("actor", json!("a\0b"))?, 422, "VALIDATION_FAILED"),
        ];
        for (what, content_type, body, status, code) in cases {
            let answer = shop.send(&method, &path, content_type, body).await?;
            answer.refused(status, code);
            shop.assert_unchanged(&format!("{method} {path} with {what}")).await?;
        }
        if path != "/orders" {
            for reason in [json!(["x"]), json!("r".repeat(1001)), json!("a\0b"), json!("")] {
                shop.send(&method, &path, JSON, with("reason", reason)?).await?.refused(422, "VALIDATION_FAILED");
            }
            shop.assert_unchanged(&format!("{method} {path} with a bad reason")).await?;
        }
    }
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_is_placed_with_a_bad_member() -> Result<()> {
    let shop = Shop::open().await?;
    let mut good = shop::order();
    good["shipping_address"] = json!({ "name": "Meera Nair", "line1": "12 MG Road", "city": "Kochi" });
    let long = |length: usize| json!("x".repeat(length));
    let many: Vec<_> = (0..501).map(|_| good["items"][0].clone()).collect();
    // (what to set, to what, the field that the answer names)
    let mut cases: Vec<(&str, Value, &str)> = vec![
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
        ("customer_email", json!("nobody"), "customer_email"),
        ("customer_email", json!("a b@c"), "customer_email"),
        ("customer_email", json!(format!("{}@example.com", "x".repeat(250))), "customer_email"),
        ("currency", json!("inr"), "currency"),
        ("currency", json!("RUPEE"), "currency"),
        ("currency", json!("ZZZ"), "currency"),
        ("payment_method", long(65), "payment_method"),
        ("order_number", long(33), "order_number"),
        ("order_number", json!(""), "order_number"),
        ("order_number", json!("../../etc/passwd"), "order_number"),
        ("order_number", json!("AC 1"), "order_number"),
        ("shipping_address", json!("12 MG Road"), "shipping_address"),
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
        ("items.0.sku", long(65), "items[0].sku"),
        ("items.0.sku", json!(""), "items[0].sku"),
        ("items.0.title", long(256), "items[0].title"),
        ("items.0.title", json!("\t\n"), "items[0].title"),
        ("items.1.title", json!("bowl\0"), "items[1].title"),
        ("items.0.hsn", long(17), "items[0].hsn"),
        ("items.0.gst_rate", json!(-0.1), "items[0].gst_rate"),
        ("items.0.gst_rate", json!(100.5), "items[0].gst_rate"),
        ("items.0.gst_rate", json!("12"), "items[0].gst_rate"),
        ("items.0.colour", json!("blue"), "items[0].colour"),
        ("items.1.unit_price_minor", json!(-1), "items[1].unit_price_minor"),
        ("items.1.unit_price_minor", json!(MAX_MINOR + 1), "items[1].unit_price_minor"),
        ("items.1.unit_price_minor", json!(i64::MAX), "items[1].unit_price_minor"),
        ("items.1.unit_price_minor", json!(9.99), "items[1].unit_price_minor"),
        ("items.1.unit_price_minor", json!("100"), "items[1].unit_price_minor"),
        // Three of them are more than 2^53.
        ("items.0.unit_price_minor", json!(MAX_MINOR / 2), "items[0].unit_price_minor"),
        // Each line is fine, their sum is not.
        ("items.1.unit_price_minor", json!(MAX_MINOR), "items"),
    ];
    for quantity in [
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
    ] {
        cases.push(("items.0.quantity", quantity, "items[0].quantity"));
    }
    for (path, value, field) in cases {
        let shown: String = value.to_string().chars().take(60).collect();
        let answer = shop.send_json(&Method::POST, "/orders", &with(&good, path, value)).await?;
        let error = answer.refused(422, "VALIDATION_FAILED");
        let named: Vec<_> = error.details["fields"].as_array().expect("a list").iter().map(|f| &f["field"]).collect();
        assert!(named.contains(&&json!(field)), "{path} = {shown}: {}", answer.text());
        shop.assert_unchanged(&format!("{path} = {shown}")).await?;
    }
    for path in ["customer_id", "items", "items.0.sku", "items.0.title", "items.0.quantity", "items.0.unit_price_minor"]
    {
        let answer = shop.send_json(&Method::POST, "/orders", &without(&good, path)).await?;
        let error = answer.refused(422, "VALIDATION_FAILED");
        assert_eq!(error.details["fields"][0]["message"], "is required", "without {path}: {}", answer.text());
    }
    shop.send(&Method::POST, "/orders", None, Vec::new()).await?.refused(422, "VALIDATION_FAILED");
    shop.assert_unchanged("an order with something missing").await?;
    shop.send_json(&Method::POST, "/orders", &good).await?.expect(201);
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_return_is_requested_that_is_not_allowed() -> Result<()> {
    let shop = Shop::open().await?;
    let returns = |body: Value| {
        let shop = &shop;
        async move { shop.send_json(&Method::POST, "/returns", &body).await }
    };
    let unknown = Uuid::from_u128(1);
    let entry = |item: Uuid, quantity: i64| json!({ "order_item_id": item, "quantity": quantity });
    let several = |entries: &[Value]| json!({ "order_id": shop.order, "items": entries });
    let not_allowed = [
        (several(&[]), json!({ "reason": "NO_ITEMS" })),
        (json!({ "order_id": shop.order }), json!({ "reason": "NO_ITEMS" })),
        (
            json!({ "order_id": shop.unpaid, "items": [entry(shop.item, 1)] }),
            json!({ "reason": "ORDER_NOT_DELIVERED", "current_state": "PENDING_PAYMENT" }),
        ),
        (several(&[entry(unknown, 1)]), json!({ "reason": "UNKNOWN_ITEM", "item_ids": [unknown] })),
        (
            several(&[entry(shop.other_item, 1)]),
            json!({ "reason": "ITEM_NOT_IN_ORDER", "item_ids": [shop.other_item] }),
        ),
        (
            several(&[entry(shop.item, 4)]),
            json!({ "reason": "QUANTITY_EXCEEDS_RETURNABLE", "item_ids": [shop.item],
                    "items": [{ "order_item_id": shop.item, "requested": 4, "returnable": 3 }] }),
        ),
        (
            several(&[entry(shop.item, 2), entry(shop.item, 2)]),
            json!({ "reason": "QUANTITY_EXCEEDS_RETURNABLE", "item_ids": [shop.item],
                    "items": [{ "order_item_id": shop.item, "requested": 4, "returnable": 3 }] }),
        ),
    ];
    for (body, details) in not_allowed {
        assert_eq!(returns(body.clone()).await?.refused(400, "RETURN_NOT_ALLOWED").details, details, "{body}");
        shop.assert_unchanged(&body.to_string()).await?;
    }
    for quantity in
        [json!(0), json!(-1), json!(100_001), json!(i64::MAX), json!(u64::MAX), json!(0.5), json!("1"), json!(null)]
    {
        returns(shop.return_of(shop.item, quantity.clone())).await?.refused(422, "VALIDATION_FAILED");
        shop.assert_unchanged(&quantity.to_string()).await?;
    }
    let good = shop.return_of(shop.item, json!(1));
    let many: Vec<_> = (0..501).map(|_| entry(shop.item, 1)).collect();
    for (path, value) in [
        ("order_id", json!("AC-1")),
        ("order_id", json!(null)),
        ("items", json!("all")),
        ("items", json!(many)),
        ("items.0.order_item_id", json!("first")),
        ("items.0.reason", json!("x".repeat(1001))),
        ("items.0.colour", json!("blue")),
    ] {
        returns(with(&good, path, value)).await?.refused(422, "VALIDATION_FAILED");
        shop.assert_unchanged(path).await?;
    }
    returns(with(&good, "order_id", json!(unknown))).await?.refused(404, "ORDER_NOT_FOUND");

    // A rejection wants both, and says so.
    let reject = format!("/returns/{}/reject", shop.returned);
    for body in
        [json!({}), json!({ "reason": "Worn" }), json!({ "category": "WORN" }), json!({ "category": "", "reason": "" })]
    {
        shop.send_json(&Method::POST, &reject, &body).await?.refused(422, "VALIDATION_FAILED");
    }
    let patch = format!("/returns/{}/state", shop.returned);
    for body in [
        json!({}),
        json!({ "new_state": "REJECTED" }),
        json!({ "new_state": "EATEN" }),
        json!({ "new_state": "approved" }),
    ] {
        shop.send_json(&Method::PATCH, &patch, &body).await?.refused(422, "VALIDATION_FAILED");
    }
    let patch = format!("/orders/{}/state", shop.unpaid);
    for body in [json!({}), json!({ "new_state": "APPROVED" }), json!({ "new_state": 3 })] {
        shop.send_json(&Method::PATCH, &patch, &body).await?.refused(422, "VALIDATION_FAILED");
    }
    shop.assert_unchanged("a half-told rejection").await?;
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist_is_not_found() -> Result<()> {
    let shop = Shop::open().await?;
    let unknown = Uuid::from_u128(1);
    for (method, path, body) in shop.commands() {
        for (known, code) in [(shop.unpaid, "ORDER_NOT_FOUND"), (shop.returned, "RETURN_NOT_FOUND")] {
            if !path.contains(&known.to_string()) {
                continue;
            }
            for id in
                [unknown.to_string(), "7".into(), "%00".into(), "%ff".into(), "a".repeat(3_000), "%E0%A4%95".into()]
            {
                let path = path.replace(&known.to_string(), &id);
                let answer = shop.send_json(&method, &path, &body).await?;
                // What is not even UTF-8 is no text that could be looked up.
                let (status, code) = if id == "%ff" { (400, "BAD_REQUEST") } else { (404, code) };
                answer.refused(status, code);
            }
            shop.assert_unchanged(&path).await?;
        }
    }
    for (path, code) in [
        (format!("/orders/{unknown}"), "ORDER_NOT_FOUND"),
        (format!("/orders/{unknown}/history"), "ORDER_NOT_FOUND"),
        (format!("/orders/{unknown}/invoice"), "ORDER_NOT_FOUND"),
        (format!("/returns/{unknown}"), "RETURN_NOT_FOUND"),
        (format!("/returns/{unknown}/history"), "RETURN_NOT_FOUND"),
        ("/orders/seven".into(), "ORDER_NOT_FOUND"),
        ("/returns/%00".into(), "RETURN_NOT_FOUND"),
        ("/nothing".into(), "ROUTE_NOT_FOUND"),
        (format!("/orders/{}/eat", shop.unpaid), "ROUTE_NOT_FOUND"),
        ("/../../etc/passwd".into(), "ROUTE_NOT_FOUND"),
        ("/orders/".into(), "ROUTE_NOT_FOUND"),
    ] {
        shop.system.api.get(&path).await?.refused(404, code);
    }
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_method_is_told_the_right_ones() -> Result<()> {
    let shop = Shop::open().await?;
    let wrong = |path: &str, methods: &[Method], allowed: &[&str]| {
        let (path, methods) = (path.to_owned(), methods.to_vec());
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let shop = &shop;
        async move {
            for method in methods {
                let answer = shop.system.api.call(method, &path).send().await?;
                answer.refused(405, "METHOD_NOT_ALLOWED");
                let told = answer.header("allow").to_owned();
                assert!(allowed.iter().all(|method| told.split(',').any(|one| one.trim() == method)), "{path}: {told}");
            }
            anyhow::Ok(())
        }
    };
    let order = format!("/orders/{}", shop.unpaid);
    wrong("/orders", &[Method::PUT, Method::DELETE, Method::PATCH], &["GET", "POST"]).await?;
    wrong("/returns", &[Method::PUT, Method::DELETE, Method::PATCH], &["GET", "POST"]).await?;
    wrong(&order, &[Method::POST, Method::PUT, Method::DELETE, Method::PATCH], &["GET"]).await?;
    wrong(&format!("{order}/state"), &[Method::GET, Method::POST, Method::DELETE], &["PATCH"]).await?;
    wrong(&format!("{order}/pay"), &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE], &["POST"]).await?;
    wrong(&format!("{order}/history"), &[Method::POST, Method::DELETE], &["GET"]).await?;
    wrong(&format!("/returns/{}/approve", shop.returned), &[Method::GET, Method::PATCH], &["POST"]).await?;
    shop.assert_unchanged("a wrong method").await?;
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_headers_are_refused_and_a_bad_request_id_is_replaced() -> Result<()> {
    let shop = Shop::open().await?;
    let pay = format!("/orders/{}/pay", shop.unpaid);
    for (name, value) in [
        ("Idempotency-Key", String::new()),
        ("Idempotency-Key", "k".repeat(256)),
        ("Idempotency-Key", "ключ".into()),
        ("If-Match", "two".into()),
        ("If-Match", "99999999999".into()),
        ("X-Actor", "a".repeat(65)),
    ] {
        let call = shop.system.api.call(Method::POST, &pay).header(name, &value);
        call.json(&json!({})).send().await?.refused(422, "VALIDATION_FAILED");
        shop.assert_unchanged(&format!("{name}: {value}")).await?;
    }
    for (sent, kept) in [("order-7/retry.1", true), (&"r".repeat(129), false), ("two words", false)] {
        let answer = shop.system.api.call(Method::GET, "/nothing").header("X-Request-Id", sent).send().await?;
        let given = answer.refused(404, "ROUTE_NOT_FOUND").request_id;
        assert_eq!(given == sent, kept, "{sent} became {given}");
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
async fn bounds_that_may_be_reached_can_be_reached() -> Result<()> {
    let shop = Shop::open().await?;
    let api = &shop.system.api;
    let largest = shop::order_of(&[(1, MAX_MINOR)]);
    assert_eq!(shop::place(api, &largest).await?.total_minor, MAX_MINOR);
    assert_eq!(shop::place(api, &shop::order_of(&[(100_000, 0)])).await?.total_minor, 0);
    let lines = vec![(1, 1); 500];
    assert_eq!(shop::place(api, &shop::order_of(&lines)).await?.items.len(), 500);
    let mut wide = shop::order();
    wide["customer_id"] = "ग्राहक".chars().cycle().take(64).collect::<String>().into();
    wide["order_number"] = "A".repeat(32).into();
    wide["items"][0]["title"] = "क".repeat(255).into();
    let placed = shop::place(api, &wide).await?;
    assert_eq!(placed.customer_id.chars().count(), 64);
    assert_eq!(placed.items[0].title.chars().count(), 255);
    shop.system.finish().await
}
