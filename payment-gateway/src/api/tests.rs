use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use runtime::config::HttpLimits;
use serde_json::Value;
use tower::ServiceExt;
use uuid::Uuid;

use super::*;
use crate::Settings;

const RETURN: &str = "01990000-0000-7000-8000-000000000001";
const SILENCE: &str = "timeout-after-success=600000";

fn gateway(settings: Settings) -> Router {
    let router = crate::router(settings, Clock::system(), Ids::system()).expect("a gateway");
    let limits = HttpLimits { request_timeout: Duration::from_millis(500), ..HttpLimits::default() };
    runtime::http::layered(router, "gateway", &limits)
}

struct Answer {
    status: u16,
    replayed: bool,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn refund(&self) -> GatewayRefund {
        assert_eq!(self.status, 200, "{}", self.text);
        serde_json::from_str(&self.text).expect("a refund")
    }

    fn code(&self) -> (u16, String) {
        let body: ErrorBody = serde_json::from_str(&self.text).expect("the error shape");
        assert!(!body.error.request_id.is_empty());
        (self.status, body.error.code)
    }
}

async fn send(gateway: &Router, request: Request<Body>) -> Answer {
    let response = gateway.clone().oneshot(request).await.expect("infallible");
    let (status, replayed) = (response.status().as_u16(), response.headers().contains_key(REPLAYED));
    let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    Answer { status, replayed, text: String::from_utf8(bytes.to_vec()).expect("UTF-8") }
}

async fn get(gateway: &Router, path: &str) -> Answer {
    send(gateway, Request::get(path).body(Body::empty()).expect("a request")).await
}

async fn post(gateway: &Router, headers: &[(&str, &str)], body: Value) -> Answer {
    let request = Request::post("/refund").header("content-type", "application/json");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    send(gateway, request.body(body.to_string().into()).expect("a request")).await
}

async fn refund(gateway: &Router, headers: &[(&str, &str)], amount: i64) -> Answer {
    post(gateway, headers, json!({ "return_id": RETURN, "amount": amount, "currency": "INR" })).await
}

async fn ledger(gateway: &Router) -> LedgerReport {
    serde_json::from_str(&get(gateway, "/refunds").await.text).expect("a ledger")
}

#[tokio::test]
async fn a_refund_is_paid_once_per_key() {
    let gateway = gateway(Settings::default());
    let first = refund(&gateway, &[], 5_000).await;
    assert!(first.refund().transaction_id.starts_with("txn_"));
    assert_eq!(first.refund().idempotency_key, RETURN);
    assert!(!first.replayed);
    let again = refund(&gateway, &[("idempotency-key", RETURN)], 5_000).await;
    assert_eq!((again.refund(), again.replayed), (first.refund(), true));
    assert_eq!(get(&gateway, &format!("/refund/{RETURN}")).await.refund(), first.refund());
    let ledger = ledger(&gateway).await;
    assert_eq!((ledger.count, ledger.total_by_currency["INR"]), (1, 5_000));
    assert_eq!(ledger.refunds, [first.refund()]);
}

#[tokio::test]
async fn a_key_names_one_refund_only() {
    let gateway = gateway(Settings::default());
    let key = [("idempotency-key", "k")];
    refund(&gateway, &key, 5_000).await.refund();
    for other in [
        json!({ "return_id": RETURN, "amount": 5_001, "currency": "INR" }),
        json!({ "return_id": RETURN, "amount": 5_000, "currency": "USD" }),
        json!({ "return_id": Uuid::nil(), "amount": 5_000, "currency": "INR" }),
    ] {
        assert_eq!(post(&gateway, &key, other).await.code(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    }
    assert_eq!(ledger(&gateway).await.count, 1);
}

#[tokio::test]
async fn an_invalid_refund_is_refused() {
    let gateway = gateway(Settings::default());
    for (body, field) in [
        (json!({ "return_id": RETURN, "amount": 0, "currency": "INR" }), "amount"),
        (json!({ "return_id": RETURN, "amount": -5, "currency": "INR" }), "amount"),
        (json!({ "return_id": RETURN, "amount": 1.5, "currency": "INR" }), "amount"),
        (json!({ "return_id": RETURN, "amount": 5, "currency": "inr" }), "currency"),
        (json!({ "return_id": RETURN, "amount": 5, "currency": "RUPEE" }), "currency"),
        (json!({ "return_id": RETURN, "amount": 5 }), "currency"),
        (json!({ "return_id": "R-1", "amount": 5, "currency": "INR" }), "return_id"),
    ] {
        let answer = post(&gateway, &[], body).await;
        assert_eq!(answer.code(), (422, "VALIDATION_FAILED".to_owned()));
        assert_eq!(answer.json()["error"]["details"]["fields"][0]["field"], field);
    }
    for (header, value) in [("idempotency-key", ""), ("idempotency-key", "two words"), ("x-gateway-fault", "explode")] {
        assert_eq!(refund(&gateway, &[(header, value)], 5).await.code(), (422, "VALIDATION_FAILED".to_owned()));
    }
    assert_eq!(get(&gateway, "/refund/unknown").await.code(), (404, "REFUND_NOT_FOUND".to_owned()));
    assert_eq!(ledger(&gateway).await.count, 0);
}

#[tokio::test]
async fn an_injected_error_does_nothing() {
    let gateway = gateway(Settings::default());
    let answer = refund(&gateway, &[("x-gateway-fault", "error=503")], 5).await;
    assert_eq!(answer.code(), (503, "INJECTED_FAULT".to_owned()));
    assert_eq!(ledger(&gateway).await.count, 0);
}

#[tokio::test]
async fn faults_after_success_leave_one_entry() {
    for fault in ["garbage", "duplicate", SILENCE, "delay=1,duplicate,garbage"] {
        let gateway = gateway(Settings::default());
        let answer = refund(&gateway, &[("x-gateway-fault", fault)], 5).await;
        assert_eq!(answer.status, if fault == SILENCE { 503 } else { 200 }, "{fault}");
        if fault.contains("garbage") {
            assert!(serde_json::from_str::<Value>(&answer.text).is_err(), "{}", answer.text);
        }
        assert_eq!(ledger(&gateway).await.count, 1, "{fault}");
        assert!(refund(&gateway, &[], 5).await.replayed, "{fault}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_is_still_paid() {
    let gateway = gateway(Settings::default());
    let hasty = refund(&gateway, &[("x-gateway-fault", "delay=50")], 5);
    tokio::time::timeout(Duration::from_millis(5), hasty).await.map(|_| ()).expect_err("hangs up");
    let paid = async {
        while ledger(&gateway).await.count == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), paid).await.expect("paid");
}

#[tokio::test]
async fn random_faults_hit_every_kind_of_call() {
    let faults = "error=500".parse().expect("a fault");
    let always = gateway(Settings { gateway_faults: faults, ..Settings::default() });
    assert_eq!(refund(&always, &[], 5).await.status, 500);
    assert_eq!(get(&always, "/refund/k").await.status, 500);
    let never = gateway(Settings { gateway_faults: faults, gateway_fault_rate: 0.0, ..Settings::default() });
    assert_eq!(refund(&never, &[], 5).await.status, 200);
}

#[tokio::test]
async fn twenty_calls_at_once_pay_once_and_survive_a_restart() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = Settings { ledger_file: Some(folder.path().join("ledger.jsonl")), ..Settings::default() };
    let before = gateway(settings.clone());
    let calls = (0..20).map(|_| {
        let gateway = before.clone();
        tokio::spawn(async move { refund(&gateway, &[], 5).await.refund() })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await?);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    let after = gateway(settings);
    assert_eq!(ledger(&after).await.refunds, answers);
    assert!(refund(&after, &[], 5).await.replayed);
    Ok(())
}

#[test]
fn the_specification_names_every_route() {
    let paths = openapi().paths.paths;
    assert_eq!(paths.keys().collect::<Vec<_>>(), ["/refund", "/refund/{key}", "/refunds"]);
}
