//! Refunds while the gateway misbehaves: no refund is paid twice or lost.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Json;
use axum::routing::post;
use contracts::{Queue, RefundStatus, ReturnDocument, ReturnState};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use standalone::{Options, Part, Ports};
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, eventually, shop};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Every part, with retries in milliseconds. These tests need no PDF, so no browser starts.
fn hasty(options: &mut Options) {
    options.parts = Part::ALL.to_vec();
    options.workers.pdf.chromium_path = Some(PathBuf::from("/there/is/no/browser"));
    options.workers.retries.refund_retry = Duration::from_millis(40);
    options.workers.gateway_timeout = Duration::from_millis(400);
}

async fn misbehaving(faults: &str, rate: f64, seed: u64) -> Result<System> {
    let faults = faults.parse()?;
    System::start(|options| {
        hasty(options);
        options.gateway.gateway_faults = faults;
        options.gateway.gateway_fault_rate = rate;
        options.gateway.gateway_fault_seed = seed;
    })
    .await
}

/// The amounts that the gateway has paid for a return.
async fn paid(system: &System, returned: &ReturnDocument) -> Result<Vec<i64>> {
    let ledger = system.gateway.get("/refunds").await?.expect(200).json();
    let entries = ledger["refunds"].as_array().context("a list")?;
    Ok(entries
        .iter()
        .filter(|one| one["return_id"] == json!(returned.id))
        .filter_map(|one| one["amount"].as_i64())
        .collect())
}

/// The return as the API shows it after its refund has succeeded or failed.
async fn settled(system: &System, returned: &ReturnDocument) -> Result<ReturnDocument> {
    let path = format!("/returns/{}", returned.id);
    eventually("the refund has succeeded or failed", SOON, async || {
        let seen = system.api.read(&path, &system.token("return", returned.id, 5).await?).await?.expect(200).returned();
        let status = seen.refund.as_ref().map(|refund| refund.status);
        let ended = [RefundStatus::Processed, RefundStatus::Failed];
        Ok(status.is_some_and(|status| ended.contains(&status)).then_some(seen))
    })
    .await
}

async fn attempts(system: &System, returned: &ReturnDocument) -> Result<i32> {
    let attempts = sqlx::query_scalar(
        "select attempts from messaging.inbox join command.refunds on refunds.id = aggregate_id
         where queue = 'refunds' and return_id = $1",
    );
    Ok(attempts.bind(returned.id).fetch_one(&system.database.pool).await?)
}

/// How often the refund was tried, those tries included that an outage ended and that cost no attempt.
async fn tries(system: &System, returned: &ReturnDocument) -> Result<i64> {
    let tries = sqlx::query_scalar(
        "select count(*) from messaging.claims join messaging.inbox as job on event_id = any(event_ids)
         join command.refunds on refunds.id = aggregate_id
         where claims.queue = 'refunds' and job.queue = 'refunds' and return_id = $1",
    );
    Ok(tries.bind(returned.id).fetch_one(&system.database.pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_return_is_refunded_once_under_every_fault_of_the_gateway() -> Result<()> {
    // With one return at a time the order of calls is fixed, so the seed decides which calls are hit. The last column is
    // the least number of tries: with fewer, no fault has hit and the test would prove nothing.
    for (faults, rate, seed, least) in [
        ("timeout-after-success=2000", 1.0, 0, 2),
        ("error=503", 0.5, THREE_HITS, 4),
        ("error=429", 0.5, THREE_HITS, 4),
        ("garbage", 0.5, THREE_HITS, 4),
        // The gateway's key is being changed, or it does not know the payment yet: not paid, and tried again.
        ("error=401", 0.5, THREE_HITS, 4),
        ("error=403", 0.5, THREE_HITS, 3),
        ("error=404", 0.5, THREE_HITS, 3),
        ("error=425", 0.5, THREE_HITS, 3),
        // Another request under the key is at work: the money may be on its way.
        ("error=409", 0.5, THREE_HITS, 4),
        ("error=423", 0.5, THREE_HITS, 4),
        ("error=500", 0.5, THREE_HITS, 4),
        // Longer than the worker's time-out: the gateway executes the first call after the worker has given it up.
        ("delay=600", 0.5, THREE_HITS, 3),
        ("duplicate", 1.0, 0, 1),
    ] {
        let system = misbehaving(faults, rate, seed).await?;
        let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
        let seen = settled(&system, &returned).await?;
        let refund = seen.refund.context("a refund")?;
        assert_eq!(refund.status, RefundStatus::Processed, "{faults}");
        assert_eq!(refund.amount_minor, returned.refund_amount_minor, "{faults}");
        // A call that the worker has given up may still be paid.
        eventually("the gateway has decided every call", SOON, async || {
            let ledger = system.gateway.get("/refunds").await?.expect(200).json();
            Ok((ledger["open_calls"] == json!(0)).then_some(()))
        })
        .await?;
        assert_eq!(paid(&system, &returned).await?, [returned.refund_amount_minor], "{faults}");
        assert!(tries(&system, &returned).await? >= least, "{faults}: {}", tries(&system, &returned).await?);
        system.finish().await?;
    }
    Ok(())
}

/// With this seed the faults hit the first three calls and not the next two.
const THREE_HITS: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_all_faults_at_once_nothing_is_paid_twice_and_nothing_is_unknown() -> Result<()> {
    let system = misbehaving("timeout-after-success=1000,error=503,garbage,duplicate", 0.3, 7).await?;
    let returns = try_join_all((0..12).map(|_| shop::return_in(&system.api, ReturnState::Completed))).await?;
    for returned in &returns {
        let refund = settled(&system, returned).await?.refund.context("a refund")?;
        assert_eq!(refund.status, RefundStatus::Processed, "only the gateway's word makes a refund FAILED");
        assert_eq!(paid(&system, returned).await?, [returned.refund_amount_minor]);
    }
    let ledger = system.gateway.get("/refunds").await?.expect(200).json();
    assert!(ledger["count"].as_u64() <= Some(12), "{ledger}");
    books::drained(&system.database.pool, Queue::Refunds, SOON).await?;
    system.finish().await
}

type Received = Arc<Mutex<Vec<Value>>>;

/// A webhook that keeps the alerts it gets.
fn kept() -> (Received, axum::Router) {
    let received = Received::default();
    let store = received.clone();
    let router = axum::Router::new().route(
        "/alert",
        post(move |Json(alert): Json<Value>| async move { store.lock().expect("not poisoned").push(alert) }),
    );
    (received, router)
}

async fn webhook() -> Result<(String, Received)> {
    let (received, router) = kept();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/alert", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((url, received))
}

/// The history of a refund: state, actor's type and reason.
async fn history(system: &System, refund: Uuid) -> Result<Vec<(String, String, Option<String>)>> {
    let rows =
        "select to_state, actor_type, reason from command.state_transitions where entity_id = $1 order by version";
    Ok(sqlx::query_as(rows).bind(refund).fetch_all(&system.database.pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_the_gateway_refuses_is_failed_raises_an_alert_and_is_paid_when_retried() -> Result<()> {
    let (url, alerts) = webhook().await?;
    let refusing = async |database: Option<Database>, faults: &str| {
        let faults = faults.parse()?;
        let configure = |options: &mut Options| {
            hasty(options);
            options.gateway.gateway_faults = faults;
            options.workers.alert_webhook_url = Some(url.clone());
        };
        match database {
            None => System::start(configure).await,
            Some(database) => System::start_on(database, configure).await,
        }
    };
    let system = refusing(None, "error=422").await?;
    let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
    let refund = settled(&system, &returned).await?.refund.context("a refund")?;
    assert_eq!((refund.status, refund.transaction_id), (RefundStatus::Failed, None));
    assert!(refund.failure.is_some_and(|why| why.contains("422")));
    assert_eq!(paid(&system, &returned).await?, Vec::<i64>::new());
    let diagnosed = system.api.get("/ops/doctor").await?.expect(200).json()["findings"].to_string();
    assert!(diagnosed.contains("REFUNDS_FAILED"), "{diagnosed}");

    // The gateway's word ends the job; whether the refund is tried again is decided by a command.
    let job: (String, i32, Value) = sqlx::query_as(
        "select status, attempts, result from messaging.inbox where queue = 'refunds' and aggregate_id = $1",
    )
    .bind(refund.id)
    .fetch_one(&system.database.pool)
    .await?;
    assert_eq!((job.0.as_str(), job.1), ("done", 1));
    assert!(job.2["failed"].as_str().is_some_and(|why| why.contains("422")), "{}", job.2);
    let of_refund = |alert: &&Value| alert["queue"] == "refunds";
    let alert = eventually("the webhook is called", SOON, async || {
        Ok(alerts.lock().expect("not poisoned").iter().find(of_refund).cloned())
    })
    .await?;
    assert_eq!((&alert["aggregate_id"], &alert["event_type"]), (&json!(refund.id), &json!("refund.initiated")));
    assert!(alert["reason"].as_str().is_some_and(|reason| reason.contains("422")), "{alert}");

    let system = refusing(Some(system.stop().await?), "").await?;
    let retry = format!("/refunds/{}/retry", refund.id);
    system.api.post(&format!("/refunds/{}/retry", Uuid::nil()), &json!({})).await?.refused(404, "REFUND_NOT_FOUND");
    let why = json!({ "reason": "the account is open again", "actor": "anita" });
    let retried = system.api.post(&retry, &why).await?.expect(200).json();
    assert_eq!((&retried["status"], &retried["version"]), (&json!("PENDING"), &json!(3)));
    assert!(retried.get("failure").is_none(), "{retried}");
    let again = system.api.post(&retry, &why).await?.expect(200).json();
    assert!(["PENDING", "PROCESSED"].map(|status| json!(status)).contains(&again["status"]), "{again}");
    let refund = eventually("the refund is paid", SOON, async || {
        let seen = system.api.get(&format!("/refunds/{}", refund.id)).await?.expect(200).json();
        Ok((seen["status"] == "PROCESSED").then_some(seen))
    })
    .await?;
    assert_eq!(refund["version"], 4, "{refund}");
    assert_eq!(paid(&system, &returned).await?, [returned.refund_amount_minor]);
    let id = refund["id"].as_str().context("an id")?.parse()?;
    let states: Vec<String> = history(&system, id).await?.into_iter().map(|(state, ..)| state).collect();
    assert_eq!(states, ["PENDING", "FAILED", "PENDING", "PROCESSED"]);
    let told = system.api.get(&format!("/refunds/{id}/history")).await?.expect(200).json();
    assert_eq!(told["data"][2]["actor"], "anita", "{told}");
    system.finish().await
}

/// What failed at the gateway stays FAILED under its key. A retry is asked for under another one, and nothing is paid twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_failed_at_the_gateway_is_paid_under_the_key_of_its_retry() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ledger");
    let configure = |faults: &'static str| {
        let file = file.clone();
        move |options: &mut Options| {
            hasty(options);
            options.gateway.gateway_faults = faults.parse().expect("faults");
            options.gateway.ledger_file = Some(file);
        }
    };
    let system = System::start(configure("declined")).await?;
    let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
    let refund = settled(&system, &returned).await?.refund.context("a refund")?;
    assert_eq!(refund.status, RefundStatus::Failed);
    let retry = format!("/refunds/{}/retry", refund.id);
    let ended = async |system: &System, version: i32| {
        eventually("the refund has ended", SOON, async || {
            let seen = system.api.get(&format!("/refunds/{}", refund.id)).await?.expect(200).json();
            Ok((seen["version"] == version).then(|| seen["status"].clone()))
        })
        .await
    };
    system.api.post(&retry, &json!({ "reason": "again" })).await?.expect(200);
    assert_eq!(ended(&system, 4).await?, "FAILED");

    let system = System::start_on(system.stop().await?, configure("")).await?;
    system.api.post(&retry, &json!({ "reason": "the account is open again" })).await?.expect(200);
    assert_eq!(ended(&system, 6).await?, "PROCESSED");
    let entries = system.gateway.get("/refunds").await?.expect(200).json();
    let statuses: Vec<_> =
        entries["refunds"].as_array().context("entries")?.iter().map(|entry| &entry["status"]).collect();
    assert_eq!(statuses, ["FAILED", "FAILED", "SUCCESS"]);
    system.finish().await
}

/// A webhook that is down loses no alert, and neither does a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_waits_for_its_webhook() -> Result<()> {
    let port = embedded::free_port()?;
    let url = format!("http://127.0.0.1:{port}/alert");
    let configure = |options: &mut Options| {
        hasty(options);
        options.gateway.gateway_faults = "error=400".parse().expect("a fault");
        options.workers.alert_webhook_url = Some(url.clone());
    };
    let system = System::start(configure).await?;
    let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
    settled(&system, &returned).await?;
    let twice = "select count(*) from work.alerts where attempts >= 2";
    eventually_equal("the webhook is tried twice", SOON, 1, async || books::count(&system.database.pool, twice).await)
        .await?;
    let system = System::start_on(system.stop().await?, configure).await?;

    let (received, store) = kept();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    tokio::spawn(async move { axum::serve(listener, store).await });
    // It may just have started to wait for some seconds.
    let due = "update work.alerts set due_at = now()";
    sqlx::query(due).execute(&system.database.pool).await?;
    let left = "select count(*) from work.alerts";
    eventually_equal("the alert is delivered", SOON, 0, async || books::count(&system.database.pool, left).await)
        .await?;
    let received = received.lock().expect("not poisoned").clone();
    assert_eq!((received.len(), &received[0]["alert"]), (1, &json!("refund is refused")), "{received:?}");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_wait_for_a_gateway_that_is_down_and_lose_no_attempt() -> Result<()> {
    let port = embedded::free_port()?;
    let system = System::start(|options| {
        hasty(options);
        options.parts.retain(|part| *part != Part::Gateway);
        options.workers.gateway_url = format!("http://127.0.0.1:{port}");
    })
    .await?;
    let pool = &system.database.pool;
    let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
    let failed = "select coalesce(max(failures), 0)::bigint from messaging.outages where queue = 'refunds'";
    eventually("two probes have failed", SOON, async || Ok((books::count(pool, failed).await? >= 3).then_some(())))
        .await?;
    let waiting = system.api.get(&format!("/returns/{}", returned.id)).await?.expect(200).returned();
    assert_eq!(waiting.refund.context("a refund")?.status, RefundStatus::Pending);
    let charged =
        "select count(*) from messaging.inbox where queue = 'refunds' and status <> 'running' and attempts > 0";
    assert_eq!(books::count(pool, charged).await?, 0);

    let ports = Ports::bind(Ipv4Addr::LOCALHOST.into(), 0, port).await?;
    let gateway = Options { parts: vec![Part::Gateway], ..Options::new(system.database.url.clone()) };
    let gateway = standalone::start_on(ports, gateway, CancellationToken::new()).await?;
    let refund = settled(&system, &returned).await?.refund.context("a refund")?;
    assert_eq!(refund.status, RefundStatus::Processed);
    assert_eq!(attempts(&system, &returned).await?, 1);
    eventually_equal("the outage has ended", SOON, 0, async || books::count(pool, failed).await).await?;
    gateway.stop().await?;
    system.finish().await
}
