//! Outgoing webhooks: signed, at least once, in order per entity, and nothing into our own network.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use contracts::{EventDocument, OrderState};
use futures_util::future::try_join_all;
use messaging::leases::Consumer;
use reqwest::Method;
use runtime::{Clock, Ids};
use serde_json::{Value, json};
use standalone::{Options, Part};
use standardwebhooks::Webhook;
use tests::books::count;
use tests::events::record;
use tests::old_entries::{hold_snapshot, reads_little};
use tests::waiting::{SOON, eventually_equal};
use tests::{Api, System, books, eventually, shop};
use tokio::net::TcpListener;
use uuid::Uuid;

/// What a receiver got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn event(&self) -> EventDocument {
        serde_json::from_slice(&self.body).expect("an event")
    }
}

/// A receiver, which answers with the statuses of a list to events of a customer, and else with 204.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receiver {
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<(&'static str, VecDeque<u16>)>>,
}

impl Receiver {
    pub(crate) async fn start() -> Result<(Self, String)> {
        let receiver = Self::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/hooks", listener.local_addr()?);
        let router = Router::new().route("/hooks", post(receive)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((receiver, url))
    }

    fn answer(&self, customer: &'static str, statuses: &[u16]) {
        *self.answers.lock().expect("not poisoned") = (customer, statuses.iter().copied().collect());
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().expect("not poisoned").clone()
    }

    /// Waits until so many have come.
    pub(crate) async fn receive(&self, count: usize) -> Result<Vec<Got>> {
        eventually(&format!("{count} webhooks"), SOON, async || {
            let got = self.got();
            Ok((got.len() >= count).then_some(got))
        })
        .await
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    receiver.got.lock().expect("not poisoned").push(Got { headers, body: body.to_vec() });
    let status = {
        let (customer, answers) = &mut *receiver.answers.lock().expect("not poisoned");
        let is_theirs = String::from_utf8_lossy(&body).contains(&format!("\"{customer}\""));
        if is_theirs { answers.pop_front() } else { None }
    };
    let status = StatusCode::from_u16(status.unwrap_or(204)).expect("a status");
    (status, [("location", "http://127.0.0.1:1/elsewhere")]).into_response()
}

/// Every part. These tests need no PDF, so no browser starts.
pub(crate) fn with_workers(options: &mut Options) {
    options.parts = Part::ALL.to_vec();
    options.workers.pdf.chromium_path = Some(PathBuf::from("/there/is/no/browser"));
}

async fn system() -> Result<System> {
    System::start(|options| {
        with_workers(options);
        options.workers.webhooks.webhook_allow_private = true;
    })
    .await
}

async fn ops(api: &Api, method: Method, path: &str, body: &Value) -> Result<tests::Answer> {
    api.call(method, &format!("/ops/webhooks{path}")).header("x-actor", "asha").json(body).send().await
}

/// Registers an endpoint; returns its id and secret.
async fn register(api: &Api, url: &str, types: &[&str]) -> Result<(Uuid, String)> {
    let body = json!({ "url": url, "event_types": types, "reason": "test" });
    let made = ops(api, Method::POST, "", &body).await?.expect(201).json();
    let id = made["id"].as_str().context("an id")?.parse()?;
    Ok((id, made["secret"].as_str().context("a secret")?.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_gets_what_it_wants_signed_and_in_order() -> Result<()> {
    let system = system().await?;
    let api = &system.api;
    let (all, url) = Receiver::start().await?;
    let (some, other) = Receiver::start().await?;
    let (_, secret) = register(api, &url, &[]).await?;
    register(api, &other, &["order.shipped"]).await?;
    let order = shop::order_in(api, OrderState::Delivered).await?;
    let got = all.receive(5).await?;
    let events: Vec<_> = got.iter().map(Got::event).collect();
    let types: Vec<_> = events.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["order.created", "order.paid", "order.processing", "order.shipped", "order.delivered"]);
    let webhook = Webhook::new(&secret)?;
    for (version, (got, event)) in (1..).zip(got.iter().zip(&events)) {
        webhook.verify(&got.body, &got.headers).context("the signature")?;
        assert_eq!(got.headers["webhook-id"].to_str()?, event.id.to_string());
        assert_eq!((event.data.version, event.data.entity_id), (version, order.id));
        assert_eq!(event.data.object["version"], version);
        // Who reads after an event does not read anything older.
        let read = api.read(&format!("/orders/{}", order.id), &event.consistency_token).await?.expect(200).order();
        assert!(read.version >= version);
    }
    assert_eq!(
        (events[1].data.previous_state.as_deref(), events[1].data.state.as_str()),
        (Some("PENDING_PAYMENT"), "PAID")
    );
    let shipped = some.receive(1).await?;
    assert_eq!(shipped[0].event().event_type, "order.shipped");
    assert!(webhook.verify(&shipped[0].body, &shipped[0].headers).is_err(), "each endpoint has a secret of its own");
    system.finish().await?;
    assert_eq!(some.got().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_delivery_is_repeated_and_the_later_ones_of_its_order_wait() -> Result<()> {
    let system = system().await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let (receiver, url) = Receiver::start().await?;
    let (id, _) = register(api, &url, &[]).await?;
    receiver.answer("unlucky", &[500, 302, 429]);
    let mut unlucky = shop::order();
    unlucky["customer_id"] = json!("unlucky");
    let first = shop::place(api, &unlucky).await?;
    shop::bring(api, first.clone(), OrderState::Shipped).await?;
    receiver.receive(1).await?;
    // Another order does not wait.
    let other = shop::place(api, &shop::order()).await?;
    for attempts in 2..=4 {
        let due = "update messaging.webhook_deliveries set due_at = clock_timestamp() where due_at is not null and claim_id is null";
        eventually("the next attempt", SOON, async || {
            sqlx::query(due).execute(pool).await?;
            let tried = receiver.got().iter().filter(|got| got.event().data.entity_id == first.id).count();
            Ok((tried >= attempts).then_some(()))
        })
        .await?;
    }
    let got = receiver.receive(8).await?;
    let of = |order: Uuid| -> Vec<i32> {
        got.iter()
            .map(Got::event)
            .filter(|event| event.data.entity_id == order)
            .map(|event| event.data.version)
            .collect()
    };
    assert_eq!(of(other.id), [1]);
    assert_eq!(of(first.id)[..3], [1, 1, 1], "three attempts failed");
    assert_eq!(of(first.id)[3..], [1, 2, 3, 4]);
    let log = eventually("the log is complete", SOON, async || {
        let path = format!("/ops/webhooks/{id}/deliveries/{}", got[0].event().id);
        let log = api.get(&path).await?.expect(200).json();
        Ok((log["delivery"]["status"] == "DELIVERED").then_some(log))
    })
    .await?;
    let codes: Vec<_> =
        log["attempts"].as_array().into_iter().flatten().map(|attempt| attempt["status_code"].clone()).collect();
    assert_eq!(json!(codes), json!([500, 302, 429, 204]));
    assert!(
        log["attempts"][1]["error"].as_str().is_some_and(|error| error.contains("redirects are not followed")),
        "{log}"
    );
    let listed = api.get(&format!("/ops/webhooks/{id}/deliveries?status=DELIVERED&limit=2")).await?.expect(200).json();
    assert_eq!((listed["data"].as_array().map(Vec::len), listed["next_before"].is_string()), (Some(2), true));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_gone_or_fails_for_three_days_is_disabled_and_recovers() -> Result<()> {
    let system = system().await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let (receiver, url) = Receiver::start().await?;
    let (id, _) = register(api, &url, &[]).await?;
    let started = Clock::system().now();
    let disabled = || async {
        eventually("the endpoint is disabled", SOON, async || {
            let shown = api.get(&format!("/ops/webhooks/{id}")).await?.expect(200).json();
            Ok(shown["disabled_reason"].as_str().map(str::to_owned))
        })
        .await
    };
    receiver.answer("cust-1", &[410]);
    shop::place(api, &shop::order()).await?;
    assert!(disabled().await?.contains("410 Gone"));
    let findings = api.get("/ops/doctor").await?.expect(200).json()["findings"].to_string();
    assert!(findings.contains("WEBHOOK_DISABLED") && findings.contains(&id.to_string()), "{findings}");
    // Nothing is recorded meanwhile.
    shop::place(api, &shop::order()).await?;
    books::passed(pool, Consumer::Webhooks, SOON).await?;
    let enable = json!({ "enabled": true, "reason": "it is back" });
    ops(api, Method::POST, &format!("/{id}/test"), &json!({ "reason": "is it?" }))
        .await?
        .refused(409, "WEBHOOK_DISABLED");
    ops(api, Method::PATCH, &format!("/{id}"), &enable).await?.expect(200);

    receiver.answer("cust-1", &[503]);
    shop::place(api, &shop::order()).await?;
    eventually("it fails", SOON, async || {
        let failing = sqlx::query("update messaging.webhook_endpoints set failing_since = failing_since - interval '73 hours' where failing_since is not null");
        Ok((failing.execute(pool).await?.rows_affected() > 0).then_some(()))
    })
    .await?;
    receiver.answer("cust-1", &[503]);
    shop::place(api, &shop::order()).await?;
    assert!(disabled().await?.contains("for three days"));
    shop::place(api, &shop::order()).await?;
    books::passed(pool, Consumer::Webhooks, SOON).await?;
    ops(api, Method::PATCH, &format!("/{id}"), &enable).await?.expect(200);
    let recover = json!({ "since": started, "reason": "it was away" });
    let recovered = ops(api, Method::POST, &format!("/{id}/recover"), &recover).await?.expect(200).json();
    assert!(recovered["deliveries"].as_u64() >= Some(2), "{recovered}");
    eventually("every order has come", SOON, async || {
        sqlx::query("update messaging.webhook_deliveries set due_at = clock_timestamp() where due_at is not null and claim_id is null")
            .execute(pool)
            .await?;
        let pending: i64 = sqlx::query_scalar("select count(*) from messaging.webhook_deliveries where status <> 'DELIVERED'").fetch_one(pool).await?;
        Ok((pending == 0).then_some(()))
    })
    .await?;
    let mut orders: BTreeMap<Uuid, usize> = BTreeMap::new();
    for got in receiver.got() {
        *orders.entry(got.event().data.entity_id).or_default() += 1;
    }
    assert_eq!(orders.len(), 5);
    system.finish().await
}

/// What the workers read while the endpoint was disabled they have passed over, though an open transaction keeps their mark behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_finds_what_was_read_and_is_not_behind_the_mark_yet() -> Result<()> {
    let system = system().await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let (receiver, url) = Receiver::start().await?;
    let (id, _) = register(api, &url, &[]).await?;
    let (_, witness_url) = Receiver::start().await?;
    register(api, &witness_url, &[]).await?;
    let switch = |on: bool| json!({ "enabled": on, "reason": "test" });
    ops(api, Method::PATCH, &format!("/{id}"), &switch(false)).await?.expect(200);

    let started = Clock::system().now();
    let mut open = pool.begin().await?;
    record(&mut open, Ids::system().next(), 1).await?;
    let missed = shop::place(api, &shop::order()).await?;
    let read = "select count(*) from messaging.webhook_deliveries where event_type = 'order.created'";
    eventually_equal("the workers have read it", SOON, 1, async || count(pool, read).await).await?;
    ops(api, Method::PATCH, &format!("/{id}"), &switch(true)).await?.expect(200);
    let recover = json!({ "since": started, "reason": "it was away" });
    let path = format!("/{id}/recover");
    let (recovered, ended) = tokio::join!(ops(api, Method::POST, &path, &recover), async {
        // The recovery has started once it has asked for the marks; both ways of the race must end well.
        tokio::task::yield_now().await;
        open.rollback().await
    });
    ended?;
    recovered?.expect(200);
    let got = receiver.receive(1).await?;
    assert_eq!(got[0].event().data.entity_id, missed.id);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_rotated_with_an_overlap_and_a_test_event_is_logged() -> Result<()> {
    let system = system().await?;
    let api = &system.api;
    let (receiver, url) = Receiver::start().await?;
    let (id, first) = register(api, &url, &["order.cancelled"]).await?;
    let rotate = |overlap: u64| {
        let body = json!({ "overlap_seconds": overlap, "reason": "yearly" });
        async move { ops(api, Method::POST, &format!("/{id}/rotate-secret"), &body).await }
    };
    let second = rotate(3_600).await?.expect(200).json()["secret"].as_str().context("a secret")?.to_owned();
    let test = |reason: &str| {
        let body = json!({ "reason": reason });
        async move { anyhow::Ok(ops(api, Method::POST, &format!("/{id}/test"), &body).await?.expect(202).json()) }
    };
    let started = test("does it arrive?").await?;
    let got = receiver.receive(1).await?;
    assert_eq!(got[0].event_type(), "webhook.test");
    for secret in [&first, &second] {
        Webhook::new(secret)?.verify(&got[0].body, &got[0].headers).context("both secrets sign")?;
    }
    rotate(0).await?.expect(200);
    test("and now?").await?;
    let got = receiver.receive(2).await?;
    assert!(Webhook::new(&first)?.verify(&got[1].body, &got[1].headers).is_err());
    assert!(Webhook::new(&second)?.verify(&got[1].body, &got[1].headers).is_err());
    let event = started["event_id"].as_str().context("an event")?;
    let path = format!("/ops/webhooks/{id}/deliveries/{event}");
    eventually("it is logged", SOON, async || {
        let log = api.get(&path).await?.expect(200).json();
        Ok((log["delivery"]["status"] == "DELIVERED" && log["attempts"][0]["status_code"] == 204).then_some(()))
    })
    .await?;
    ops(api, Method::POST, &format!("/{id}/deliveries/{event}/redeliver"), &json!({ "reason": "once more" }))
        .await?
        .expect(202);
    receiver.receive(3).await?;

    for (wrong, field) in [
        (json!({ "url": "ftp://example.com", "reason": "x" }), "url"),
        (json!({ "url": "https://user:secret@example.com", "reason": "x" }), "url"),
        (json!({ "url": url, "event_types": ["order.eaten"], "reason": "x" }), "event_types"),
        (json!({ "url": url, "event_types": ["snapshot.taken"], "reason": "x" }), "event_types"),
    ] {
        let refused = ops(api, Method::POST, "", &wrong).await?.refused(422, "VALIDATION_FAILED");
        assert_eq!(refused.details["fields"][0]["field"], field);
    }
    ops(api, Method::POST, &format!("/{id}/delete"), &json!({ "reason": "no longer used" })).await?.expect(200);
    api.get(&format!("/ops/webhooks/{id}")).await?.refused(404, "WEBHOOK_NOT_FOUND");
    assert_eq!(api.get("/ops/webhooks").await?.expect(200).json()["data"], json!([]));
    let actions = api.get("/ops/actions").await?.expect(200).text();
    for action in ["CREATE_WEBHOOK", "ROTATE_WEBHOOK", "TEST_WEBHOOK", "REDELIVER_WEBHOOK", "DELETE_WEBHOOK"] {
        assert!(actions.contains(action), "{action}");
    }
    assert!(!actions.contains("whsec_"));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_into_our_own_network_unless_it_is_allowed() -> Result<()> {
    let system = System::start(with_workers).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    for url in [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://localhost/",
        "https://10.0.0.1:8443/x",
        "https://169.254.169.254/",
    ] {
        let refused =
            ops(api, Method::POST, "", &json!({ "url": url, "reason": "x" })).await?.refused(422, "VALIDATION_FAILED");
        assert_eq!(refused.details["fields"][0]["field"], "url", "{url}");
    }
    // An address that became private after it was entered: a name is looked up at every attempt.
    let (receiver, url) = Receiver::start().await?;
    let (id, _) = register(api, "https://shop.example/hooks", &[]).await?;
    sqlx::query("update messaging.webhook_endpoints set url = $1")
        .bind(url.replace("http:", "https:"))
        .execute(pool)
        .await?;
    shop::place(api, &shop::order()).await?;
    let error = eventually("the attempt is refused", SOON, async || {
        let log = api.get(&format!("/ops/webhooks/{id}/deliveries")).await?.expect(200).json();
        Ok(log["data"][0]["last_error"].as_str().map(str::to_owned))
    })
    .await?;
    assert!(error.contains("not a public address"), "{error}");
    assert!(receiver.got().is_empty());
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_endpoints_leave_room_for_the_others() -> Result<()> {
    let system = System::start(|options| {
        with_workers(options);
        options.workers.webhooks.webhook_allow_private = true;
        options.workers.webhooks.webhook_slots = 4;
        options.workers.webhooks.webhook_timeout = Duration::from_secs(2);
    })
    .await?;
    let api = &system.api;
    // It accepts connections and never answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    for place in 0..4 {
        register(api, &format!("http://{}/{place}", silent.local_addr()?), &[]).await?;
    }
    let (receiver, url) = Receiver::start().await?;
    register(api, &url, &[]).await?;
    for _ in 0..40 {
        shop::place(api, &shop::order()).await?;
    }
    receiver.receive(40).await?;
    system.abandon().await
}

trait EventType {
    fn event_type(&self) -> String;
}

impl EventType for Got {
    fn event_type(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).expect("JSON");
        body["type"].as_str().unwrap_or_default().to_owned()
    }
}

/// Settled deliveries stay in the index while a snapshot is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_snapshot_does_not_make_each_look_walk_over_what_is_settled() -> Result<()> {
    const ORDERS: i64 = 150;
    let system = system().await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let (_receiver, url) = Receiver::start().await?;
    register(api, &url, &["order.created"]).await?;
    let snapshot = hold_snapshot(pool).await?;
    for _ in 0..ORDERS / 10 {
        let order = shop::order();
        try_join_all((0..10).map(|_| shop::place(api, &order))).await?;
    }
    let delivered = "select count(*) from messaging.webhook_deliveries where status = 'DELIVERED'";
    eventually_equal("all are delivered", SOON, ORDERS, async || count(pool, delivered).await).await?;
    // The workers look twice a second; each look that began at the oldest entry would read one for each order or more.
    reads_little(pool, "webhook_deliveries%due_at%", 2 * ORDERS).await?;
    snapshot.rollback().await?;
    system.finish().await
}
