//! Unknown routes, wrong methods and bad headers.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use super::Shop;

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
                // An id that is not UTF-8 is not text, so it cannot be looked up.
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
async fn the_answer_to_a_wrong_method_lists_the_allowed_ones() -> Result<()> {
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
    wrong(&order, &[Method::POST, Method::PUT, Method::DELETE], &["GET", "PATCH"]).await?;
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
