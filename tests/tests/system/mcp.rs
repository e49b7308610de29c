//! The endpoint for assistants, asked by the protocol's own client.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use access::Role;
use anyhow::{Context, Result, ensure};
use contracts::OrderState;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use standalone::{Options, Part};
use tests::books::{count, published};
use tests::waiting::{SOON, eventually_equal};
use tests::{Answer, Api, System, eventually, servers, shop};
use uuid::Uuid;

use crate::access::{guarded, key};
use crate::operations::{execute, untold_order};

/// The revisions of the protocol: how the client is asked to speak, and what it then speaks.
const REVISIONS: [(&str, &str); 2] = [("auto", "2026-07-28"), ("legacy", "2025-11-25")];
const ACTS: [&str; 8] = ["replay", "skip", "release", "retry", "discard", "pause", "resume", "run_schedule"];

/// What came of some calls.
async fn assistant(system: &System, mode: &str, headers: Value, calls: Value) -> Result<Value> {
    let url = format!("{}/mcp", system.base_url());
    let job = json!({ "url": url, "mode": mode, "headers": headers, "calls": calls });
    tokio::task::spawn_blocking(move || servers::assistant(&job)).await?
}

/// The answers of one who acts as anita, where callers are not checked.
async fn anita(system: &System, calls: Value) -> Result<Vec<Value>> {
    let came = assistant(system, "auto", json!({ "X-Actor": "anita" }), calls).await?;
    came["answers"].as_array().cloned().with_context(|| came.to_string())
}

fn acts(options: &mut Options) {
    options.mcp.mcp_acts = true;
}

fn names(tools: &Value) -> BTreeSet<&str> {
    tools.as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str()).collect()
}

/// The error that a tool answers in the shape of the REST API.
#[track_caller]
fn refusal(answer: &Value) -> Value {
    assert_eq!(answer["is_error"], true, "{answer}");
    let body: Value = serde_json::from_str(answer["text"].as_str().unwrap_or_default()).expect("JSON");
    let error = &body["error"];
    assert!(error["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{error}");
    assert_eq!(error["docs"], format!("/docs/errors#{}", error["code"].as_str().unwrap_or_default()));
    error.clone()
}

/// A message as any client may send it.
async fn send(system: &System, headers: &[(&str, &str)], message: &Value) -> Result<Answer> {
    let api = Api::new(system.base_url())?;
    let mut call = api.call(Method::POST, "/mcp").header("Accept", "application/json, text/event-stream");
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.json(message).send().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assistant_looks_and_by_default_does_not_act() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let order = shop::order_in(&system.api, OrderState::Shipped).await?;
    eventually_equal("every event is out", SOON, 4, async || published(&system.database.pool).await).await?;
    let event: Uuid = sqlx::query_scalar("select event_id from messaging.outbox order by position limit 1")
        .fetch_one(&system.database.pool)
        .await?;
    let calls = json!([
        {}, { "tool": "status" }, { "tool": "doctor" }, { "tool": "stuck", "arguments": { "limit": 5 } },
        { "tool": "show_event", "arguments": { "id": event } }, { "tool": "order_story", "arguments": { "of": order.order_number } },
        { "tool": "jobs", "arguments": { "queue": "invoices", "status": "ready", "event_type": "order.shipped", "since": "2020-01-01T00:00:00Z" } },
        { "tool": "queues" }, { "tool": "actions" }, { "tool": "schedules" }, { "tool": "audit" }, { "tool": "webhooks" },
        { "tool": "pause", "arguments": { "queue": "invoices", "reason": "to see" } },
    ]);
    for (mode, revision) in REVISIONS {
        let came = assistant(&system, mode, json!({ "X-Actor": "anita" }), calls.clone()).await?;
        assert_eq!(came["revision"], revision, "{came}");
        let answers = came["answers"].as_array().context("answers")?;
        let (tools, refused) = (&answers[0], &answers[12]);
        assert_eq!(names(tools).len(), 13, "{tools}");
        assert!(names(tools).is_disjoint(&BTreeSet::from(ACTS)));
        assert!(
            tools.as_array().into_iter().flatten().all(|tool| tool["annotations"]["readOnlyHint"] == true),
            "{tools}"
        );
        assert_eq!(refusal(refused)["code"], "ASSISTANT_READ_ONLY");
        for answer in &answers[1..12] {
            assert_eq!(answer["is_error"], false, "{answer}");
            assert_eq!(serde_json::from_str::<Value>(answer["text"].as_str().unwrap_or_default())?, answer["value"]);
        }
        let value = |at: usize| &answers[at]["value"];
        assert_eq!(value(1)["relays"].as_array().map(Vec::len), Some(1), "{}", value(1));
        assert_eq!(value(4)["events"][0]["payload"]["snapshot"]["customer_email"], "(hidden)", "{}", value(4));
        assert_eq!(value(5)["order_number"], json!(order.order_number));
        assert!(value(6)["jobs"].as_array().is_some_and(|jobs| jobs.len() == 1), "{}", value(6));
        assert_eq!(value(10)["rules"].as_array().map(Vec::len), Some(11), "{}", value(10));
        assert!(!came.to_string().contains("meera@example.com"), "what names a customer is hidden");
    }
    let paused =
        count(&system.database.pool, "select count(*) from messaging.queues where paused_at is not null").await?;
    assert_eq!(
        (paused, count(&system.database.pool, "select count(*) from messaging.operator_actions").await?),
        (0, 0)
    );
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_says_what_came_of_it_and_is_on_record() -> Result<()> {
    let (database, events) = untold_order().await?;
    execute(&database.pool, "update messaging.outbox set event_type = 'order.eaten' where aggregate_version = 2;
        insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status, next_attempt_at, created_at)
        select event_id, position, shard, aggregate_id, aggregate_version, 'WAITING', now(), now() - interval '1 hour'
        from messaging.outbox where aggregate_version = 2").await?;
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Command, Part::Relay, Part::Operations];
        acts(options);
    })
    .await?;
    let stuck = events[1];
    eventually("the event is parked", SOON, async || {
        let seen = system.api.get("/ops/stuck").await?.expect(200).json();
        Ok((seen["events"][0]["reason"] == "UNROUTABLE").then_some(()))
    })
    .await?;

    let why = "the relay knows the type now";
    let answers = anita(
        &system,
        json!([
            {}, { "tool": "replay", "arguments": { "reason": why, "event_ids": [stuck], "dry_run": true } },
            { "tool": "replay", "arguments": { "reason": why, "event_ids": [stuck] } },
            { "tool": "pause", "arguments": { "reason": "the shelves are being counted", "queue": "invoices" } },
            { "tool": "resume", "arguments": { "reason": "all counted", "queue": "invoices" } },
            { "tool": "skip", "arguments": { "reason": "orders are not eaten", "event_id": stuck } },
            { "tool": "release", "arguments": { "reason": "now", "event_id": stuck } },
            { "tool": "retry", "arguments": { "reason": "again", "event_ids": [stuck] } },
            { "tool": "discard", "arguments": { "reason": "no", "event_id": stuck } },
            { "tool": "run_schedule", "arguments": { "reason": "room is needed", "schedule": "partition_maintenance" } },
        ]),
    )
    .await?;
    let acting: BTreeSet<_> = ACTS.into();
    let tools = answers[0].as_array().context("tools")?;
    for tool in tools {
        let is_act = acting.contains(tool["name"].as_str().unwrap_or_default());
        assert_eq!(tool["annotations"]["readOnlyHint"], !is_act, "{tool}");
        assert!(!is_act || tool["inputSchema"]["required"].to_string().contains("reason"), "{tool}");
    }
    assert_eq!(tools.len(), 21);
    assert_eq!(answers[1]["text"], "Nothing was changed. A replay would send 1 order.eaten (UNROUTABLE).");
    let replayed = &answers[2];
    assert_eq!(replayed["text"], "1 replayed: 1 parked again (UNROUTABLE).", "{replayed}");
    assert_eq!((&replayed["value"]["is_under_way"], &replayed["value"]["rows_changed"]), (&json!(false), &json!(1)));
    assert_eq!(answers[3]["text"], "The queue was paused: no worker starts a job of it until it is resumed.");
    assert_eq!(answers[4]["text"], "The queue was resumed.");
    assert_eq!(answers[5]["text"], "1 skipped: 1 skipped.");
    assert_eq!(refusal(&answers[6])["code"], "NOTHING_TO_RELEASE");
    assert_eq!(refusal(&answers[7])["code"], "JOB_NOT_FOUND");
    assert_eq!(refusal(&answers[8])["code"], "JOB_NOT_FOUND");
    let ran = answers[9]["text"].as_str().unwrap_or_default();
    assert!(ran.starts_with("partition_maintenance has run: {"), "{ran}");

    let action = &replayed["value"]["action_id"];
    let again =
        anita(&system, json!([{ "tool": "outcome", "arguments": { "action_id": action } }, { "tool": "actions" }]))
            .await?;
    assert_eq!(again[0]["text"], "1 replayed: 1 skipped.", "it was skipped since");
    let logged = again[1]["value"]["data"].as_array().context("actions")?;
    let logged: Vec<_> =
        logged.iter().map(|act| [&act["action"], &act["source"], &act["actor"]].map(Value::as_str)).collect();
    let entry = |action| [Some(action), Some("MCP"), Some("anita")];
    assert_eq!(logged, ["RUN_SCHEDULE", "SKIP", "RESUME", "PAUSE", "REPLAY"].map(entry));
    let reasons = "select count(*) from messaging.operator_actions where reason = 'the relay knows the type now'";
    let reasons = count(&system.database.pool, reasons).await?;
    assert_eq!(reasons, 1);
    eventually_equal("its order goes on", SOON, 2, async || published(&system.database.pool).await).await?;
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_arguments_are_explained() -> Result<()> {
    let system = System::start(acts).await?;
    let with_actor = anita(
        &system,
        json!([
            { "tool": "jobs", "arguments": { "queue": "shelves", "limit": "many", "colour": "blue" } },
            { "tool": "jobs", "arguments": { "limit": 201 } },
            { "tool": "show_event", "arguments": { "id": "seven" } },
            { "tool": "show_event", "arguments": { "id": Uuid::nil() } },
            { "tool": "order_story", "arguments": { "of": "A-1" } },
            { "tool": "status", "arguments": { "verbose": true } },
            { "tool": "webhook_deliveries", "arguments": { "endpoint_id": Uuid::nil() } },
            { "tool": "outcome", "arguments": { "action_id": 77 } },
            { "tool": "pause", "arguments": { "queue": "invoices" } },
            { "tool": "pause", "arguments": { "queue": "invoices", "reason": " " } },
            { "tool": "replay", "arguments": { "reason": "all of it" } },
            { "tool": "eat", "arguments": {} },
        ]),
    )
    .await?;
    let fields = |answer: &Value| {
        let error = refusal(answer);
        assert_eq!(error["code"], "VALIDATION_FAILED", "{error}");
        let fields = error["details"]["fields"].as_array().cloned().unwrap_or_default();
        fields.iter().filter_map(|field| Some(field["field"].as_str()?.to_owned())).collect::<BTreeSet<_>>()
    };
    assert_eq!(fields(&with_actor[0]), BTreeSet::from(["queue", "limit", "colour"].map(str::to_owned)));
    for (at, field) in [(1, "limit"), (2, "id"), (5, "verbose"), (8, "reason"), (9, "reason"), (10, "selection")] {
        assert_eq!(fields(&with_actor[at]), BTreeSet::from([field.to_owned()]), "{}", with_actor[at]);
    }
    for (at, code) in
        [(3, "EVENT_NOT_FOUND"), (4, "ORDER_NOT_FOUND"), (6, "WEBHOOK_NOT_FOUND"), (7, "ACTION_NOT_FOUND")]
    {
        assert_eq!(refusal(&with_actor[at])["code"], code);
    }
    assert_eq!((&with_actor[11]["code"], &with_actor[11]["message"]), (&json!(-32_602), &json!("Unknown tool: eat")));
    let same = system.api.get("/ops/jobs?limit=2000").await?.refused(422, "VALIDATION_FAILED");
    assert_eq!(same.details["fields"][0]["field"], "limit", "as the REST API has it");

    let unnamed = assistant(
        &system,
        "auto",
        json!({}),
        json!([
            { "tool": "pause", "arguments": { "queue": "invoices", "reason": "no name" } }
        ]),
    )
    .await?;
    assert_eq!(fields(&unnamed["answers"][0]), BTreeSet::from(["X-Actor".to_owned()]));
    assert_eq!(count(&system.database.pool, "select count(*) from messaging.operator_actions").await?, 0);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_of_the_key_decides_and_its_name_is_on_record() -> Result<()> {
    let system = guarded(|options| {
        acts(options);
        options.access.rate_limit_per_caller = NonZeroU32::new(2);
    })
    .await?;
    let calls = json!([{}, { "tool": "pause", "arguments": { "queue": "invoices", "reason": "to count" } }]);
    for role in Role::ALL {
        let name = role.as_str();
        let bearer = format!("Bearer {}", key(&system, name, role).await?.key.expose_secret());
        let came =
            assistant(&system, "auto", json!({ "Authorization": bearer, "X-Actor": "mallory" }), calls.clone()).await?;
        if matches!(role, Role::Operator | Role::Admin) {
            assert_eq!(names(&came["answers"][0]).len(), 21, "{role}: {came}");
            assert_eq!(came["answers"][1]["is_error"], false, "{role}: {came}");
        } else {
            assert!(came["refused"].is_string(), "{role}: {came}");
            let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
            let refused = send(&system, &[("Authorization", &bearer)], &list).await?;
            refused.refused(403, "FORBIDDEN");
        }
    }
    let actors: Vec<String> =
        sqlx::query_scalar("select actor from messaging.operator_actions where source = 'MCP' order by id")
            .fetch_all(&system.database.pool)
            .await?;
    assert_eq!(actors, ["operator", "admin"]);

    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    send(&system, &[], &list).await?.refused(401, "UNAUTHORIZED");
    let bearer = format!("Bearer {}", key(&system, "eager", Role::Operator).await?.key.expose_secret());
    eventually("it is over its limit", SOON, async || {
        let answer = send(&system, &[("Authorization", &bearer)], &list).await?;
        ensure!(matches!(answer.status, 200 | 429), "{}", answer.text());
        Ok((answer.status == 429).then_some(()))
    })
    .await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transport_is_what_the_protocol_demands() -> Result<()> {
    let system = System::start(|options| options.limits.max_body_bytes = 10_000).await?;
    let api = Api::new(system.base_url())?;
    let ping = json!({ "jsonrpc": "2.0", "id": 7, "method": "ping" });
    let version = ("MCP-Protocol-Version", "2025-11-25");

    let answer = send(&system, &[version], &ping).await?.expect(200);
    assert_eq!(
        (answer.header("content-type"), answer.json()),
        ("application/json", json!({ "jsonrpc": "2.0", "id": 7, "result": {} }))
    );
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let accepted = send(&system, &[version], &initialized).await?.expect(202);
    assert_eq!((accepted.text(), accepted.headers.get("mcp-session-id")), (String::new(), None));
    for (method, headers) in [(Method::GET, "text/event-stream"), (Method::DELETE, "application/json")] {
        let answer = api.call(method, "/mcp").header("Accept", headers).send().await?;
        assert_eq!(answer.header("allow"), "POST");
        answer.refused(405, "METHOD_NOT_ALLOWED");
    }
    assert_eq!(send(&system, &[version], &json!([ping, ping])).await?.status, 400, "no lists of messages");
    let torn = api.call(Method::POST, "/mcp").header("Accept", "application/json, text/event-stream");
    let torn = torn.body(Some("application/json"), b"{\"jsonrpc\":".to_vec()).send().await?.expect(400);
    assert_eq!(torn.json()["error"]["code"], -32_700);
    for (wrong, code) in [
        (json!({ "jsonrpc": "1.0", "id": 1, "method": "ping" }), -32_600),
        (json!({ "id": 1, "method": "ping" }), -32_600),
        (json!({ "jsonrpc": "2.0", "id": { "a": 1 }, "method": "ping" }), -32_600),
        (json!({ "jsonrpc": "2.0", "id": 1.5, "method": "ping" }), -32_600),
        (json!({ "jsonrpc": "2.0", "id": 1, "method": ["ping"] }), -32_600),
        (json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ["pause"] }), -32_600),
        (json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call" }), -32_602),
        (json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": ["status"] } }), -32_602),
        (
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "status", "arguments": [] } }),
            -32_602,
        ),
        (Value::Null, -32_600),
    ] {
        assert_eq!(send(&system, &[version], &wrong).await?.expect(400).json()["error"]["code"], code, "{wrong}");
    }
    let twice =
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"status","name":"queues"}}"#.to_vec();
    let call = api.call(Method::POST, "/mcp").header("Accept", "application/json, text/event-stream");
    let twice = call.body(Some("application/json"), twice);
    assert_eq!(twice.send().await?.expect(400).json()["error"]["code"], -32_600, "the last of two names would count");
    for unknown in ["1900-01-01", "2025-03-26", "2024-11-05", "tomorrow"] {
        assert_eq!(send(&system, &[("MCP-Protocol-Version", unknown)], &ping).await?.status, 400, "{unknown}");
    }
    let eat = json!({ "jsonrpc": "2.0", "id": 8, "method": "orders/eat" });
    assert_eq!(send(&system, &[version], &eat).await?.expect(200).json()["error"]["code"], -32_601);
    let large =
        json!({ "jsonrpc": "2.0", "id": 9, "method": "ping", "params": { "_meta": { "x": "x".repeat(11_000) } } });
    send(&system, &[version], &large).await?.refused(413, "BODY_TOO_LARGE");

    // A page of another site is refused, also with a key; one of this site is not.
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let with_key = [version, ("Origin", origin), ("Authorization", "Bearer anything")];
        send(&system, &with_key, &ping).await?.refused(403, "CROSS_SITE_REQUEST");
    }
    send(&system, &[version, ("Origin", system.base_url())], &ping).await?.expect(200);
    send(&system, &[version, ("Host", "evil.example")], &ping).await?.refused(421, "HOST_NOT_ALLOWED");
    system.finish().await
}
