//! A customer's name, address and e-mail leave the service in documents and e-mails, and nowhere else: not in logs, traces, metrics or
//! error answers.

use std::fs::File;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use contracts::{OrderState, Queue, ReturnState};
use embedded::child::{Child, Signal, bound_to_parent};
use embedded::free_port;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tests::books::count;
use tests::services::Broker;
use tests::waiting::SOON;
use tests::{Api, Database, books, eventually, programs, shop};

/// Nothing else contains it, in capital letters or small ones.
const CANARY: &str = "quetzalcoatlus";

/// A collector that keeps what it gets.
async fn collector() -> Result<(String, Arc<Mutex<Vec<u8>>>)> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    let router = Router::new().route(
        "/v1/traces",
        post(move |body: Bytes| async move { keep.lock().expect("not poisoned").extend_from_slice(&body) }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((address, kept))
}

/// Whether it is there, as text or as the numbers of its bytes.
fn has_canary(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let numbers: Vec<_> = CANARY.bytes().map(|byte| byte.to_string()).collect();
    text.contains(CANARY) || text.contains(&numbers.join(", "))
}

/// Requests that are refused for other members than those with the canary.
async fn refusals(api: &Api) -> Result<()> {
    let with = |member: &str, value: Value| {
        let mut order = shop::order_of_person(CANARY);
        order[member] = value;
        order
    };
    for body in [
        with("currency", json!("rupees")),
        with("items", json!([])),
        with("customer_id", json!(7)),
        with("colour", json!("blue")),
        with("discount_minor", json!(i64::MAX)),
        // Here the canary itself is wrong.
        with("shipping_address", json!({ "name": CANARY.repeat(40) })),
        with("customer_email", json!(format!("{CANARY}@"))),
        with("payment_method", json!(format!("{CANARY}\u{7}{CANARY}"))),
    ] {
        let answer = api.post("/orders", &body).await?;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(!has_canary(&answer.body), "{}", answer.text());
    }
    let answer = api
        .call(reqwest::Method::POST, "/orders")
        .body(Some("application/json"), format!("{{\"{CANARY}").into_bytes())
        .send()
        .await?;
    assert!(answer.status == 400 && !has_canary(&answer.body), "{}", answer.text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_about_a_person_is_in_no_log_trace_metric_or_error() -> Result<()> {
    play(None).await
}

/// The broker returns a message that no queue takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_with_a_broker_that_returns_messages() -> Result<()> {
    play(Some(Broker::new().await?)).await
}

async fn play(broker: Option<Broker>) -> Result<()> {
    let database = Database::new().await?;
    let (collector, traces) = collector().await?;
    let folder = tempfile::tempdir()?;
    let (log, port) = (folder.path().join("log"), free_port()?);
    let programs = tokio::task::spawn_blocking(programs::folder).await?;
    let mut command = bound_to_parent(Signal::SIGKILL, programs.join("standalone"));
    command.env_clear().envs(programs::environment()).env("DATABASE_URL", &database.url);
    if let Some(broker) = &broker {
        command.env("RABBITMQ_URL", broker.transport().rabbitmq_url.context("a broker")?.expose_secret());
    }
    command.env("LOG", "debug,lapin=trace,sqlx=info,hyper=info,h2=info").env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    command.env("PORT", port.to_string()).env("GATEWAY_PORT", free_port()?.to_string());
    command.env("DATA_DIR", folder.path().join("data")).env("INVOICE_STORE_URL", folder.path().join("invoices"));
    let written = File::create(&log)?;
    command.stdout(Stdio::from(written.try_clone()?)).stderr(Stdio::from(written));
    let process = Child::spawn("standalone", command)?;
    let base = Api::new(&format!("http://127.0.0.1:{port}"))?;
    let api = Api::new(&format!("http://127.0.0.1:{port}/api/v1"))?;
    eventually("it is ready", SOON, async || {
        Ok(base.get("/health/ready").await.is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .await?;

    let order =
        shop::bring(&api, shop::place(&api, &shop::order_of_person(CANARY)).await?, OrderState::Delivered).await?;
    let returned =
        shop::bring_return(&api, shop::request_return(&api, &order, 0, 1).await?, ReturnState::Completed).await?;
    refusals(&api).await?;
    books::settled(&database.pool).await?;
    for path in [format!("/orders/{}", order.id), format!("/returns/{}", returned.id)] {
        api.get(&path).await?.expect(200);
    }
    let seen = api.get(&format!("/orders/{}", order.id)).await?.expect(200);
    assert!(has_canary(&seen.body), "the canary is alive");
    if let Some(broker) = &broker {
        let parked = "select count(*) from messaging.outbox_exceptions where status = 'PARKED'";
        // A relay that connects for its other shards declares the binding again, so one attempt may not be enough.
        eventually("an event is parked", SOON, async || {
            broker.unbind(Queue::Notifications).await?;
            shop::place(&api, &shop::order_of_person(CANARY)).await?;
            Ok((count(&database.pool, parked).await? > 0).then_some(()))
        })
        .await?;
    }
    let metrics = base.get("/metrics").await?.expect(200);
    process.signal(Signal::SIGTERM);
    eventually("it has stopped", SOON, async || Ok(process.exited().map(drop))).await?;

    let log = std::fs::read(&log)?;
    let line = log.split(|byte| *byte == b'\n').find(|line| has_canary(line));
    assert_eq!(line.map(String::from_utf8_lossy), None);
    assert!(log.windows(8).any(|window| window == b"answered"), "the log has the requests");
    assert!(!has_canary(&metrics.body));
    let traces = traces.lock().ok().context("not poisoned")?;
    assert!(!traces.is_empty() && !has_canary(&traces), "{} bytes of traces", traces.len());
    Ok(())
}
