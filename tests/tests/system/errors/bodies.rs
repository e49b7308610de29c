//! Bodies that every endpoint refuses.

use anyhow::Result;
use serde_json::{Value, json};

use super::{JSON, Shop, with};

/// A body, and the error with which every endpoint refuses it.
struct BadBody {
    what: &'static str,
    content_type: Option<&'static str>,
    body: Vec<u8>,
    refusal: (u16, &'static str),
}

impl BadBody {
    fn new(
        what: &'static str,
        content_type: Option<&'static str>,
        body: impl Into<Vec<u8>>,
        refusal: (u16, &'static str),
    ) -> Self {
        Self { what, content_type, body: body.into(), refusal }
    }
}

/// Text that is not JSON, or not an object.
fn no_objects(good: &Value) -> Vec<BadBody> {
    let text = good.to_string();
    let cut_off = &text[..text.len() - 1];
    let twice = [text.as_str(), text.as_str()].concat();
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    vec![
        BadBody::new("half a body", JSON, cut_off, (400, "MALFORMED_JSON")),
        BadBody::new("no JSON", JSON, b"<order/>", (400, "MALFORMED_JSON")),
        BadBody::new("a trailing comma", JSON, b"{\"actor\": \"x\",}", (400, "MALFORMED_JSON")),
        BadBody::new("two bodies", JSON, twice, (400, "MALFORMED_JSON")),
        BadBody::new("half a character", JSON, b"{\"actor\": \"\xe0\xa4\"}", (400, "MALFORMED_JSON")),
        BadBody::new("half a surrogate pair", JSON, br#"{"actor": "\ud83d"}"#, (400, "MALFORMED_JSON")),
        BadBody::new("a number out of all range", JSON, br#"{"actor": 1e999}"#, (400, "MALFORMED_JSON")),
        BadBody::new("a raw NUL", JSON, b"{\"actor\": \"a\0b\"}", (422, "VALIDATION_FAILED")),
        BadBody::new("bottomless brackets", JSON, deep, (422, "VALIDATION_FAILED")),
        BadBody::new("a list", JSON, b"[]", (422, "VALIDATION_FAILED")),
        BadBody::new("a string", JSON, b"\"order\"", (422, "VALIDATION_FAILED")),
        BadBody::new("null", JSON, b"null", (422, "VALIDATION_FAILED")),
    ]
}

/// Good bodies with one mistake.
fn spoilt(good: &Value) -> Vec<BadBody> {
    let text = good.to_string();
    let with = |name: &str, value: Value| with(good, name, value).to_string();
    let two_mebibytes = with("actor", "x".repeat(2 * 1024 * 1024).into());
    vec![
        BadBody::new("a text/plain body", Some("text/plain"), text.as_str(), (415, "UNSUPPORTED_MEDIA_TYPE")),
        BadBody::new("a form", Some("application/x-www-form-urlencoded"), b"reason=x", (415, "UNSUPPORTED_MEDIA_TYPE")),
        BadBody::new("a body of no type", None, text.as_str(), (415, "UNSUPPORTED_MEDIA_TYPE")),
        BadBody::new("2 MiB", JSON, two_mebibytes, (413, "BODY_TOO_LARGE")),
        BadBody::new("an unknown field", JSON, with("colour", json!("blue")), (422, "VALIDATION_FAILED")),
        BadBody::new("an actor that is a number", JSON, with("actor", json!(7)), (422, "VALIDATION_FAILED")),
        BadBody::new("an empty actor", JSON, with("actor", json!("")), (422, "VALIDATION_FAILED")),
        BadBody::new("an actor of blanks", JSON, with("actor", json!("   ")), (422, "VALIDATION_FAILED")),
        BadBody::new("an actor of 65 letters", JSON, with("actor", "ä".repeat(65).into()), (422, "VALIDATION_FAILED")),
        BadBody::new("an actor with NUL", JSON, with("actor", json!("a\0b")), (422, "VALIDATION_FAILED")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_endpoint_accepts_a_malformed_body() -> Result<()> {
    let shop = Shop::open().await?;
    for (method, path, good) in shop.commands() {
        for BadBody { what, content_type, body, refusal: (status, code) } in
            no_objects(&good).into_iter().chain(spoilt(&good))
        {
            shop.send(&method, &path, content_type, body).await?.refused(status, code);
            shop.assert_unchanged(&format!("{method} {path} with {what}")).await?;
        }
    }
    shop.system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_is_a_text_of_at_most_a_thousand_characters() -> Result<()> {
    let shop = Shop::open().await?;
    for (method, path, good) in shop.commands() {
        if path == "/orders" {
            continue;
        }
        for reason in [json!(["x"]), json!("r".repeat(1001)), json!("a\0b"), json!("a\u{1b}[2J"), json!("")] {
            shop.send_json(&method, &path, &with(&good, "reason", reason)).await?.refused(422, "VALIDATION_FAILED");
        }
        shop.assert_unchanged(&format!("{method} {path} with a bad reason")).await?;
    }
    let returned = format!("/returns/{}/approve", shop.returned);
    shop.system.api.post(&returned, &json!({ "reason": format!("{}\n", "क".repeat(999)) })).await?.expect(200);
    shop.system.finish().await
}
