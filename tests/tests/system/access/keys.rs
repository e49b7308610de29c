//! The life of a key.

use std::num::NonZeroU32;
use std::time::Duration;

use access::Role;
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use tests::waiting::SOON;
use tests::{Api, System, eventually};

use super::{ASHA, Client, guarded, key};

/// How long a revoked key may still work.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

/// Waits until the key is refused, and returns how long that took.
async fn until_refused(client: &Client<'_>, path: &str) -> Result<Duration> {
    let revoked = tokio::time::Instant::now();
    eventually("the key is refused", SOON, async || Ok((client.get(path).await?.status == 401).then_some(()))).await?;
    Ok(revoked.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_made_listed_rotated_and_revoked_over_http() -> Result<()> {
    let system = guarded(|_| ()).await?;
    let admin = Client::of(&system, &key(&system, "root", Role::Admin).await?);
    let new = json!({ "name": "shop-front", "role": "staff", "reason": "the new front end" });
    let made = admin.post("/ops/keys", &new).await?.expect(201).json();
    let text = made["key"].as_str().context("a key")?.to_owned();
    let front = Client { system: &system, credentials: text.clone() };
    front.get("/orders").await?.expect(200);
    front.get("/ops/keys").await?.refused(403, "FORBIDDEN");
    admin.post("/ops/keys", &new).await?.refused(409, "KEY_EXISTS");

    let list = admin.get("/ops/keys?valid=true").await?.expect(200);
    assert!(!list.text().contains(&text[20..]), "the key is shown once");
    let of = |list: &Value, id: &Value| {
        list["data"].as_array().and_then(|keys| keys.iter().find(|key| key["id"] == *id).cloned())
    };
    let shown = of(&list.json(), &made["id"]).context("it is listed")?;
    assert_eq!(
        (&shown["name"], &shown["created_by"], &shown["is_valid"]),
        (&json!("shop-front"), &json!("root"), &json!(true))
    );
    assert!(shown["last_used_at"].is_string(), "{shown}");

    // A rotation: both keys work, then the earlier one ends.
    let id = made["id"].as_str().context("an id")?;
    let rotated = admin
        .post(&format!("/ops/keys/{id}/rotate"), &json!({ "reason": "every quarter", "overlap_seconds": 3_600 }))
        .await?;
    let rotated = rotated.expect(201).json();
    assert!(rotated["earlier_key_until"].is_string());
    let second = Client { system: &system, credentials: rotated["key"].as_str().context("a key")?.to_owned() };
    front.get("/orders").await?.expect(200);
    second.get("/orders").await?.expect(200);
    admin.post(&format!("/ops/keys/{id}/rotate"), &json!({ "reason": "again" })).await?.refused(409, "KEY_REVOKED");
    admin.post(&format!("/ops/keys/{id}/revoke"), &json!({ "reason": "it leaked" })).await?.expect(200);
    let took = until_refused(&front, "/orders").await?;
    assert!(took < REVOKED_WITHIN, "{took:?}");
    second.get("/orders").await?.expect(200);

    let actions = admin.get("/ops/actions").await?.expect(200).json();
    let acts: Vec<_> = actions["data"].as_array().context("a list")?.iter().map(|act| act["action"].clone()).collect();
    assert_eq!(acts[..3], [json!("REVOKE_KEY"), json!("ROTATE_KEY"), json!("CREATE_KEY")]);
    assert!(!actions.to_string().contains(&text[20..]));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_ends_with_its_time_and_at_the_edge_of_its_networks() -> Result<()> {
    let system = guarded(|_| ()).await?;
    let admin = Client::of(&system, &key(&system, "root", Role::Admin).await?);
    let make = async |name: &str, more: Value| {
        let mut new = json!({ "name": name, "role": "staff", "reason": "a test" });
        new.as_object_mut().context("an object")?.extend(more.as_object().cloned().unwrap_or_default());
        let made = admin.post("/ops/keys", &new).await?.expect(201).json();
        anyhow::Ok(Client { system: &system, credentials: made["key"].as_str().context("a key")?.to_owned() })
    };
    let near = make("near", json!({ "networks": ["203.0.113.0/24", "127.0.0.0/8"] })).await?;
    near.get("/orders").await?.expect(200);
    let far = make("far", json!({ "networks": ["203.0.113.0/24"] })).await?;
    far.get("/orders").await?.refused(403, "FORBIDDEN");
    let soon =
        make("brief", json!({ "expires_at": runtime::Clock::system().now() + chrono::Duration::seconds(2) })).await?;
    soon.get("/orders").await?.expect(200);
    until_refused(&soon, "/orders").await?;
    for (wrong, field) in [
        (json!({ "name": "x", "role": "king", "reason": "r" }), "role"),
        (json!({ "name": "x", "role": "customer", "reason": "r" }), "customer_id"),
        (json!({ "name": "x", "role": "staff", "customer_id": ASHA, "reason": "r" }), "customer_id"),
        (json!({ "name": "x", "role": "staff", "networks": ["203.0.113.0/99"], "reason": "r" }), "networks[0]"),
        (json!({ "name": "x", "role": "staff", "expires_at": "2020-01-01T00:00:00Z", "reason": "r" }), "expires_at"),
        (json!({ "name": "x\u{7}", "role": "staff", "reason": "r" }), "name"),
    ] {
        let refused = admin.post("/ops/keys", &wrong).await?.refused(422, "VALIDATION_FAILED");
        assert_eq!(refused.details["fields"][0]["field"], field, "{wrong}");
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_and_addresses_have_a_limit_each() -> Result<()> {
    let system = guarded(|options| {
        options.access.rate_limit_per_caller = NonZeroU32::new(4);
        options.access.rate_limit_per_address = NonZeroU32::new(2);
    })
    .await?;
    let (one, other) = (key(&system, "till-1", Role::Staff).await?, key(&system, "till-2", Role::Staff).await?);
    let (one, other) = (Client::of(&system, &one), Client::of(&system, &other));
    let mut limited = None;
    for _ in 0..30 {
        let answer = one.get("/orders").await?;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        assert!(answer.header("ratelimit").starts_with("\"caller\";r="), "{}", answer.header("ratelimit"));
        assert_eq!(answer.header("ratelimit-policy"), "\"caller\";q=20;w=5");
    }
    let limited = limited.context("a limit")?;
    assert_eq!(limited.json()["error"]["code"], "RATE_LIMITED");
    assert_eq!(limited.header("retry-after"), "1");
    other.get("/orders").await?.expect(200);

    // Attempts without a valid key count for their address, and then even a look at them costs nothing.
    let guess = Client { credentials: one.credentials.replace("ak_live_", "ak_live_zz"), ..one };
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(guess.get("/orders").await?.status);
    }
    assert_eq!(statuses.first(), Some(&401));
    assert_eq!(statuses.last(), Some(&429));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_kept_out_where_no_caller_is_checked_and_other_machines_reach_the_address() -> Result<()> {
    let address: std::net::IpAddr = "0.0.0.0".parse()?;
    let options = |system: &System| standalone::Options::new(system.database.url.clone());
    let system = System::commands_only().await?;
    let start = async |auth| {
        let mut options = options(&system);
        options.access.auth = auth;
        options.parts = vec![standalone::Part::Command, standalone::Part::Operations];
        let ports = standalone::Ports::bind(address, 0, 0).await?;
        standalone::start_on(ports, options, tokio_util::sync::CancellationToken::new()).await
    };
    let refused = start(None).await.expect_err("it is not decided").to_string();
    assert!(refused.contains("set AUTH=required"), "{refused}");
    let running = start(Some(access::settings::Auth::None)).await?;
    let port = running.base_url.rsplit(':').next().context("a port")?;
    let api = Api::new(&format!("http://127.0.0.1:{port}/api/v1"))?;
    let order = json!({ "customer_id": ASHA, "items": [{ "sku": "A", "title": "Lamp", "quantity": 1, "unit_price_minor": 9_900 }] });
    api.call(Method::POST, "/orders").json(&order).send().await?.expect(201);
    api.get("/ops/status").await?.refused(403, "OPERATIONS_CLOSED");
    running.stop().await?;
    system.finish().await
}
