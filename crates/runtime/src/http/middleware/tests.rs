use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::*;
use crate::http::{ApiJson, ApiQuery, RequestContext, current_request_id};

#[derive(Debug, Deserialize, Serialize)]
struct NewOrder {
    customer: String,
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, i32>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Gift,
    Sized { size: i32 },
}

#[derive(Debug, Deserialize, Serialize)]
struct Item {
    sku: String,
    quantity: i32,
}

#[derive(Debug, Deserialize)]
struct Page {
    limit: Option<u8>,
    name: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct AllOptional {
    reason: Option<String>,
}

async fn slow() {
    tokio::time::sleep(Duration::from_mins(1)).await;
}

async fn panics() {
    panic!("hush");
}

async fn fails() -> ApiError {
    ApiError::internal("hush")
}

async fn unavailable() -> ApiError {
    ApiError::unavailable("hush")
}

async fn page(ApiQuery(page): ApiQuery<Page>) -> String {
    format!("{:?} {:?}", page.limit, page.name)
}

async fn context(context: RequestContext) -> axum::Json<Value> {
    axum::Json(json!({
        "request_id": context.request_id,
        "task_request_id": current_request_id().map(|id| id.to_string()),
        "actor": context.actor,
        "ip_address": context.ip_address,
    }))
}

fn router(limits: &HttpLimits) -> Router {
    let router = Router::new()
        .route("/orders", post(|ApiJson(order): ApiJson<NewOrder>| async { axum::Json(order) }))
        .route("/optional", post(|ApiJson(body): ApiJson<AllOptional>| async { axum::Json(body) }))
        .route("/raw", post(|body: axum::body::Bytes| async move { body.len().to_string() }))
        .route("/orders/{id}", get(|Path(id): Path<Uuid>| async move { id.to_string() }))
        .route("/page", get(page))
        .route("/context", get(context))
        .route("/slow", get(slow))
        .route("/panics", get(panics))
        .route("/fails", get(fails))
        .route("/unavailable", get(unavailable))
        .route("/bare-404", get(|| async { StatusCode::NOT_FOUND }));
    layered(router, "test", limits)
}

fn limits() -> HttpLimits {
    HttpLimits { max_body_bytes: 1_000, request_timeout: Duration::from_millis(50), ..HttpLimits::default() }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Checks the shape and the echoed id, and returns (code, message, details).
    fn error(&self) -> (String, String, Value) {
        let body: crate::error::ErrorBody = serde_json::from_str(&self.text).expect("the error shape");
        assert_eq!(self.headers["x-request-id"], "req-7");
        assert_eq!(body.error.request_id, "req-7");
        assert!(!self.text.contains("hush"), "{}", self.text);
        assert!(body.error.details.is_object());
        (body.error.code, body.error.message, body.error.details)
    }

    fn only_field(&self) -> (String, String) {
        let (code, _, details) = self.error();
        assert_eq!((self.status, code.as_str()), (422, "VALIDATION_FAILED"), "{}", self.text);
        let fields = details["fields"].as_array().expect("fields");
        assert_eq!(fields.len(), 1, "{}", self.text);
        let text = |name: &str| fields[0][name].as_str().expect("text").to_owned();
        (text("field"), text("message"))
    }
}

async fn send(limits: &HttpLimits, request: axum::http::request::Builder, body: impl Into<Body>) -> Answer {
    let request = request.body(body.into()).expect("a request");
    let response = router(limits).oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.expect("a body");
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).expect("UTF-8"),
    }
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("x-request-id", "req-7")
}

async fn ask(path: &str) -> Answer {
    send(&limits(), request("GET", path), Body::empty()).await
}

async fn post_json(path: &str, body: impl Into<Body>) -> Answer {
    send(&limits(), request("POST", path).header("content-type", "application/json"), body).await
}

#[tokio::test]
async fn a_good_body_passes() {
    let order = json!({"customer": "c", "items": [{"sku": "s", "quantity": 2}], "note": "back\\slash \\u0000"});
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/vnd.shop+json"] {
        let request = request("POST", "/orders").header("content-type", content_type);
        let answer = send(&limits(), request, order.to_string()).await;
        assert_eq!((answer.status, answer.json()), (200, order.clone()), "{content_type}");
    }
}

#[tokio::test]
async fn an_empty_body_counts_as_an_empty_object() {
    assert_eq!(send(&limits(), request("POST", "/optional"), Body::empty()).await.json(), json!({"reason": null}));
    assert_eq!(post_json("/optional", "").await.status, 200);
    assert_eq!(post_json("/orders", "").await.only_field(), ("customer".to_owned(), "is required".to_owned()));
}

#[tokio::test]
async fn a_misfit_names_its_field() {
    for (body, field, message) in [
        (
            r#"{"customer":"c","items":[{"sku":"s","quantity":"two"}]}"#,
            "items[0].quantity",
            "must be a whole number, not text",
        ),
        (
            r#"{"customer":"c","items":[{"sku":"s","quantity":1},{"sku":"s","quantity":1.5}]}"#,
            "items[1].quantity",
            "must be a whole number, not 1.5",
        ),
        (
            r#"{"customer":"c","items":[{"sku":"s","quantity":99999999999}]}"#,
            "items[0].quantity",
            "must be a whole number from -2147483648 to 2147483647, not 99999999999",
        ),
        (r#"{"customer":"c","items":[{"quantity":1}]}"#, "items[0].sku", "is required"),
        (r#"{"customer":"c","items":{}}"#, "items", "must be a list, not an object"),
        (r#"{"customer":null}"#, "customer", "must be text, not null"),
        (r#"{"customer":"a","customer":"b"}"#, "customer", "is given more than once"),
        ("[\"c\", []]", "", "the request must be an object, not a list"),
        (r#"{"customer":"c","items":[["s",1]]}"#, "items[0]", "must be an object, not a list"),
        (r#"{"customer":"c","kind":{"gift":null}}"#, "kind", "must be text, not an object"),
        (r#"{"customer":"c","kind":7}"#, "kind", "must be text, not 7"),
        (r#"{"customer":"c","kind":{"sized":[7]}}"#, "kind.sized", "must be an object, not a list"),
        (r#"{"customer":"c","tags":{"a":1,"\u0061":2}}"#, "tags.a", "is given more than once"),
        ("7", "", "the request must be an object, not 7"),
        (r#"{"customer":"a\u0000b"}"#, "customer", "must not contain the character U+0000"),
        (
            r#"{"customer":"a","items":[{"sku":"\\\u0000","quantity":1}]}"#,
            "items[0].sku",
            "must not contain the character U+0000",
        ),
        ("{\"customer\":\"a\0b\"}", "", "the request must not contain the character U+0000"),
    ] {
        let answer = post_json("/orders", body).await;
        assert_eq!(answer.only_field(), (field.to_owned(), message.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn malformed_json_names_its_place() {
    for (body, line, column) in [
        (&b"{\"customer\": }"[..], 1, 14),
        (b"{\n  \"customer\": \"c\",\n}", 3, 1),
        (b"{\"customer\": \"c\"", 1, 16),
        (b"{\"customer\": \"c\"} tail", 1, 19),
        (b"{\"customer\": \"\xff\xfe\"}", 1, 15),
        (b"nonsense", 1, 2),
    ] {
        let answer = post_json("/orders", body).await;
        let (code, message, details) = answer.error();
        assert_eq!((answer.status, code.as_str()), (400, "MALFORMED_JSON"), "{message}");
        assert_eq!(details, json!({"line": line, "column": column}), "{message}");
    }
    let deep = post_json("/orders", "[".repeat(500)).await;
    assert_eq!(deep.error().0, "MALFORMED_JSON");
}

#[tokio::test]
async fn another_content_type_is_refused() {
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let answer = send(&limits(), request("POST", "/orders").header("content-type", content_type), "{}").await;
        assert_eq!((answer.status, answer.error().0.as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"), "{content_type}");
    }
    let answer = send(&limits(), request("POST", "/orders"), "{}").await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_or_without_its_length() {
    let long = "x".repeat(1_001);
    for path in ["/orders", "/raw"] {
        let sized = request("POST", path).header("content-type", "application/json").header("content-length", "1001");
        let answer = send(&limits(), sized, long.clone()).await;
        assert_eq!((answer.status, answer.error().2), (413, json!({"limit_bytes": 1_000})));

        let pieces = vec![Ok::<_, std::io::Error>("x".repeat(600)), Ok("x".repeat(401))];
        let answer = post_json(path, Body::from_stream(futures_util::stream::iter(pieces))).await;
        assert_eq!((answer.status, answer.error().0.as_str()), (413, "BODY_TOO_LARGE"));
    }
    let exactly = format!("{{\"customer\":\"{}\"}}", "x".repeat(1_000 - 15));
    assert_eq!(exactly.len(), 1_000);
    assert_eq!(post_json("/orders", exactly).await.status, 200);
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    let pieces = ["{\"cust", "omer\":", "\"c\"}"].map(Ok::<_, std::io::Error>);
    let answer = post_json("/orders", Body::from_stream(futures_util::stream::iter(pieces))).await;
    assert_eq!(answer.json()["customer"], "c");
    let broken = [Ok("{"), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
    let answer = post_json("/orders", Body::from_stream(futures_util::stream::iter(broken))).await;
    assert_eq!((answer.status, answer.error().0.as_str()), (400, "BODY_INCOMPLETE"));
}

#[tokio::test]
async fn a_bad_parameter_is_named() {
    assert_eq!(ask("/page?limit=7&name=x").await.text, "Some(7) Some(\"x\")");
    for (query, field, message) in [
        ("limit=many", "limit", "must be a whole number"),
        ("limit=300", "limit", "is too large"),
        ("limit=", "limit", "must be a whole number"),
        ("name=a%00b", "name", "must not contain the character U+0000"),
        ("limit=1&limit=2", "limit", "is given more than once"),
    ] {
        assert_eq!(
            ask(&format!("/page?{query}")).await.only_field(),
            (field.to_owned(), message.to_owned()),
            "{query}"
        );
    }
}

#[tokio::test]
async fn what_axum_refuses_has_the_shape_too() {
    for (method, path, status, code) in [
        ("GET", "/nowhere", 404, "ROUTE_NOT_FOUND"),
        ("DELETE", "/orders", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/orders/not-a-uuid", 400, "BAD_REQUEST"),
        ("GET", "/bare-404", 404, "NOT_FOUND"),
    ] {
        let answer = send(&limits(), request(method, path), Body::empty()).await;
        assert_eq!((answer.status, answer.error().0.as_str()), (status, code), "{method} {path}");
    }
    let answer = send(&limits(), request("DELETE", "/orders"), Body::empty()).await;
    assert_eq!(answer.headers["allow"], "POST");
    assert_eq!(answer.headers["content-type"], "application/json");
}

#[tokio::test]
async fn failures_carry_a_request_id_and_nothing_else() {
    for (path, status, code) in [
        ("/panics", 500, "INTERNAL_ERROR"),
        ("/fails", 500, "INTERNAL_ERROR"),
        ("/unavailable", 503, "SERVICE_UNAVAILABLE"),
        ("/slow", 503, "REQUEST_TIMEOUT"),
    ] {
        let answer = ask(path).await;
        assert_eq!((answer.status, answer.error().0.as_str()), (status, code), "{path}");
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503, "{path}");
    }
}

#[tokio::test]
async fn a_request_id_is_echoed_or_made() {
    for given in ["req-7", "~!", &"x".repeat(128)] {
        let answer = send(&limits(), Request::builder().uri("/context").header("x-request-id", given), "").await;
        assert_eq!(answer.headers["x-request-id"], given);
        assert_eq!(answer.json()["request_id"], given);
        assert_eq!(answer.json()["task_request_id"], given);
    }
    for unfit in ["", "two words", "caf\u{e9}", &"x".repeat(129)] {
        let answer = send(&limits(), Request::builder().uri("/context").header("x-request-id", unfit), "").await;
        let made: Uuid = answer.json()["request_id"].as_str().expect("text").parse().expect("a UUID");
        assert_eq!(made.get_version_num(), 7, "{unfit:?}");
        assert_eq!(answer.headers["x-request-id"], made.to_string());
    }
}

#[tokio::test]
async fn the_actor_is_taken_from_its_header() {
    let ask =
        async |actor: &str| send(&limits(), request("GET", "/context").header("x-actor", actor.as_bytes()), "").await;
    assert_eq!(ask(" meera ").await.json()["actor"], "meera");
    assert_eq!(ask("मीरा").await.json()["actor"], "मीरा");
    assert_eq!(ask("").await.json()["actor"], Value::Null);
    assert_eq!(ask(&"m".repeat(65)).await.only_field().0, "X-Actor");
}

#[tokio::test]
async fn a_proxy_is_believed_only_when_it_is_ours() {
    let peer = ConnectInfo("[::ffff:192.0.2.1]:4000".parse::<SocketAddr>().expect("an address"));
    for (ours, header, address) in [
        (None, "203.0.113.9", "192.0.2.1"),
        (Some("192.0.2.0/24"), "198.51.100.7, 203.0.113.9, 192.0.2.7", "203.0.113.9"),
        (Some("192.0.2.0/24"), "rubbish", "192.0.2.1"),
    ] {
        let trusted_proxies = ours.into_iter().map(|network| network.parse().expect("CIDR")).collect();
        let limits = HttpLimits { trusted_proxies, ..limits() };
        let request = request("GET", "/context").header("x-forwarded-for", header).extension(peer);
        assert_eq!(send(&limits, request, "").await.json()["ip_address"], address, "{ours:?} {header}");
    }
}

#[tokio::test]
async fn a_long_answer_is_compressed_for_those_who_can_read_it() {
    let long =
        || async { ([(header::ETAG, "\"3\""), (header::CONTENT_TYPE, "application/json")], "[1]".repeat(1_000)) };
    let short = || async { "[1]" };
    let pdf = || async { ([(header::CONTENT_TYPE, "application/pdf")], "%PDF".repeat(1_000)) };
    let router = Router::new().route("/long", get(long)).route("/short", get(short)).route("/pdf", get(pdf));
    let router = layered(router, "test", &limits());
    for (path, accepted, encoding, tag) in [
        ("/long", "gzip, deflate, br, zstd", Some("br"), Some("W/\"3\"")),
        ("/long", "gzip", Some("gzip"), Some("W/\"3\"")),
        ("/long", "br;q=0, gzip", Some("gzip"), Some("W/\"3\"")),
        ("/long", "identity", None, Some("\"3\"")),
        ("/short", "br, gzip", None, None),
        ("/pdf", "br, gzip", None, None),
    ] {
        let call = request("GET", path).header(header::ACCEPT_ENCODING, accepted).body(Body::empty()).expect("valid");
        let answer = router.clone().oneshot(call).await.expect("infallible");
        let headers = answer.headers().clone();
        let body = to_bytes(answer.into_body(), 100_000).await.expect("a body");
        let text = |name| headers.get(name).map(|value| value.to_str().expect("text"));
        assert_eq!(text(header::CONTENT_ENCODING), encoding, "{path} {accepted}");
        assert_eq!(body.len() < 100, encoding.is_some() || path == "/short", "{path} {accepted}: {} bytes", body.len());
        assert_eq!(text(header::ETAG), tag);
    }
}

#[tokio::test]
async fn metrics_know_the_route_not_the_path() {
    crate::metrics::install();
    let id = Uuid::nil();
    ask(&format!("/orders/{id}")).await;
    ask("/some/unknown/path").await;
    send(&limits(), request("BREW", "/orders"), "").await;
    let text = crate::metrics::render();
    let has = |labels: &str| {
        text.lines()
            .any(|line| line.starts_with("http_server_request_duration_seconds_count{") && line.contains(labels))
    };
    assert!(has(r#"route="/orders/{id}",method="GET",status="200""#), "{text}");
    assert!(has(r#"route="unmatched",method="GET",status="404""#), "{text}");
    assert!(has(r#"route="/orders",method="OTHER",status="405""#), "{text}");
    assert!(!text.contains(&id.to_string()));
}
