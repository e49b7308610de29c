//! What operators see: each report as the command line prints it, and as JSON.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::super::format::check;
use super::*;
use crate::cli::format::Look;
use crate::read::jobs::Jobs;
use crate::read::schedules::Schedules;
use crate::read::status::{OutboxStatus, RelayStatus};
use crate::read::story::{Step, Story, StoryDocument, StoryEvent, StoryRefund, StoryReturn};

fn at() -> DateTime<Utc> {
    "2026-11-21T10:00:00Z".parse().expect("a time")
}

fn ago(seconds: i64) -> DateTime<Utc> {
    at() - TimeDelta::seconds(seconds)
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x019a_a2b5_2c00_7000_8000_0000_0000_0000 + n)
}

fn action() -> OperatorAction {
    OperatorAction {
        id: 7,
        acted_at: ago(90),
        actor: "anita".to_owned(),
        source: "CLI".to_owned(),
        action: "REPLAY".to_owned(),
        target: json!({ "event_ids": [id(1)] }),
        reason: "the queue is bound again".to_owned(),
        rows_changed: 1,
        request_id: None,
    }
}

fn looks_into() -> Investigation {
    Investigation { event_id: id(1), actor: "anita".to_owned(), reason: "asks the bank".to_owned(), began_at: ago(60) }
}

fn queue(name: &str) -> QueueStatus {
    QueueStatus {
        name: name.to_owned(),
        ready: 3,
        running: 1,
        in_doubt: 0,
        dead: 2,
        blocked: 4,
        oldest_ready: Some(ago(200)),
        paused_at: None,
        paused_by: None,
        paused_reason: None,
        outage_since: None,
        outage_reason: None,
        next_probe_at: None,
    }
}

fn job() -> Job {
    Job {
        queue: "refunds".to_owned(),
        event_id: id(1),
        event_type: "return.completed".to_owned(),
        aggregate_type: "return".to_owned(),
        aggregate_id: id(2),
        aggregate_version: 4,
        status: "in_doubt".to_owned(),
        received_at: ago(300),
        attempts: 2,
        run_at: Some(ago(-120)),
        lease_owner: None,
        leased_until: None,
        claim_id: Some(id(5)),
        started_at: Some(ago(10)),
        finished_at: None,
        last_error: Some("gateway: 503\nretry later".to_owned()),
        result: None,
    }
}

fn event(version: i32, published: bool) -> Event {
    Event {
        event_id: id(10 + u128::from(version.unsigned_abs())),
        event_type: "order.paid".to_owned(),
        aggregate_type: "order".to_owned(),
        aggregate_id: id(3),
        aggregate_version: version,
        occurred_at: ago(7_200),
        shard: 5,
        position: 1_000 + i64::from(version),
        published,
        published_at: published.then(|| ago(7_199)),
        exception: (!published).then(|| "PARKED".to_owned()),
        attempts: 1,
        last_error: (!published).then(|| "no queue consumes events of this type".to_owned()),
        next_attempt_at: None,
        parked_at: (!published).then(|| ago(7_000)),
        parked_reason: (!published).then(|| "UNROUTABLE".to_owned()),
        relay: published.then(|| "relay-1".to_owned()),
        relay_epoch: published.then_some(3),
        headers: json!({ "request_id": "r-1" }),
        payload: json!({ "snapshot": { "state": "PAID" } }),
        jobs: Vec::new(),
    }
}

#[test]
fn the_status() {
    let paused = QueueStatus {
        paused_at: Some(ago(400)),
        paused_by: Some("anita".to_owned()),
        paused_reason: Some("the shelves are being counted".to_owned()),
        ..queue("projections")
    };
    let down = QueueStatus {
        outage_since: Some(ago(125)),
        outage_reason: Some("the mail server cannot be reached: Connection refused".to_owned()),
        next_probe_at: Some(ago(-20)),
        ..queue("notifications")
    };
    let report = SystemStatus {
        at: at(),
        relays: vec![RelayStatus { name: "relay-1".to_owned(), expires_at: ago(-5), shards: (0..14).collect() }],
        shards_free: 2,
        outbox: OutboxStatus { pending: 12, parked: 1, oldest_pending: Some(ago(3)), published_per_minute: 840 },
        queues: vec![down, paused, queue("refunds")],
        actions: vec![action()],
    };
    check("status", &status(&report));
    insta::assert_json_snapshot!("status_json", report);
}

#[test]
fn what_is_stuck() {
    let event = StuckEvent {
        event_id: id(1),
        event_type: "order.paid".to_owned(),
        aggregate_type: "order".to_owned(),
        aggregate_id: id(3),
        aggregate_version: 2,
        occurred_at: ago(100),
        reason: "BACK_OFF".to_owned(),
        attempts: 3,
        last_error: Some("RabbitMQ: Nacked for the queue refunds".to_owned()),
        next_attempt_at: Some(ago(-4)),
        behind: 2,
    };
    let job = StuckJob {
        queue: "refunds".to_owned(),
        event_id: id(2),
        event_type: "return.completed".to_owned(),
        aggregate_type: "return".to_owned(),
        aggregate_id: id(4),
        received_at: ago(100_000),
        reason: "DEAD".to_owned(),
        attempts: 5,
        last_error: None,
        next_attempt_at: None,
        behind: 4,
    };
    let report = Stuck {
        at: at(),
        events_total: 4,
        events: vec![event],
        jobs_total: 1,
        jobs: vec![job],
        investigations: vec![looks_into()],
    };
    check("stuck", &stuck(&report));
    insta::assert_json_snapshot!("stuck_json", report);
    let nothing = Stuck {
        at: at(),
        events_total: 0,
        events: Vec::new(),
        jobs_total: 0,
        jobs: Vec::new(),
        investigations: Vec::new(),
    };
    assert_eq!(stuck(&nothing).lay_out(Look::PLAIN), "nothing is stuck");
}

#[test]
fn one_event_with_its_job_and_the_actions() {
    let report = Shown {
        at: at(),
        events: vec![Event { jobs: vec![job()], ..event(2, false) }],
        actions: vec![action()],
        investigations: Vec::new(),
    };
    check("show_event", &shown(&report));
    insta::assert_json_snapshot!("show_event_json", report);
}

#[test]
fn the_events_of_an_aggregate() {
    let report = Shown {
        at: at(),
        events: vec![event(1, true), event(2, false)],
        actions: Vec::new(),
        investigations: Vec::new(),
    };
    check("show_aggregate", &shown(&report));
}

#[test]
fn the_state_of_an_event() {
    let of = |exception: Option<&str>| Event {
        exception: exception.map(ToOwned::to_owned),
        parked_reason: None,
        ..event(1, exception.is_none())
    };
    let lost_batch = Event { published_at: None, ..of(None) };
    let pending = Event { published: false, published_at: None, ..of(None) };
    for (event, expected) in [
        (of(None), "published at 2026-11-21 08:00:01.000"),
        (lost_batch, "published"),
        (pending, "pending"),
        (of(Some("WAITING")), "waiting"),
        (of(Some("HELD")), "held"),
        (event(2, false), "parked: UNROUTABLE"),
    ] {
        assert_eq!(state(&event), expected);
    }
}

#[test]
fn a_list_of_jobs() {
    let report = Jobs { at: at(), jobs: vec![job()] };
    check("jobs", &jobs(report.at, &report.jobs).into());
    insta::assert_json_snapshot!("jobs_json", report);
}

#[test]
fn the_schedules() {
    let run = ScheduleRun {
        due_at: ago(3_600),
        missed: 2,
        status: "failed".to_owned(),
        attempt: 5,
        owner: "relay-1".to_owned(),
        started_at: ago(3_500),
        finished_at: Some(ago(3_499)),
        retry_at: None,
        error: Some("no disk".to_owned()),
        result: None,
    };
    let failed = ScheduleStatus {
        name: "partition_maintenance".to_owned(),
        cron: "0 * * * *".to_owned(),
        timezone: "UTC".to_owned(),
        next_due_at: Some(ago(-1_800)),
        leader: Some("relay-1".to_owned()),
        last_run: Some(run),
    };
    let off = ScheduleStatus {
        name: "return_review".to_owned(),
        next_due_at: None,
        leader: None,
        last_run: None,
        ..failed.clone()
    };
    let report = Schedules { at: at(), schedules: vec![failed, off] };
    check("schedules", &schedules(report.at, &report.schedules).into());
    insta::assert_json_snapshot!("schedules_json", report);
}

#[test]
fn the_story_of_an_order() {
    let step = |seconds: i64, version: i32, from: Option<&str>, to: &str, event: Option<StoryEvent>| Step {
        at: ago(seconds),
        entity_type: "order".to_owned(),
        entity_id: id(4),
        version,
        from_state: from.map(ToOwned::to_owned),
        to_state: to.to_owned(),
        actor: "shop-front".to_owned(),
        trigger: "API_CALL".to_owned(),
        request_id: None,
        trace_id: None,
        event,
    };
    let out = StoryEvent { jobs: vec![job().into()], ..StoryEvent::from(event(1, true)) };
    let report = Story {
        at: at(),
        order_id: id(4),
        order_number: "AC-1001".to_owned(),
        state: "PAID".to_owned(),
        version: 2,
        currency: "INR".to_owned(),
        total_minor: 5_250_000,
        steps: vec![
            step(9_000, 1, None, "PENDING_PAYMENT", None),
            step(7_203, 2, Some("PENDING_PAYMENT"), "PAID", Some(out)),
            step(7_100, 3, Some("PAID"), "CANCELLED", Some(StoryEvent::from(event(2, false)))),
        ],
        returns: vec![StoryReturn { id: id(7), state: "REQUESTED".to_owned(), version: 1, created_at: ago(7_150) }],
        refunds: vec![StoryRefund {
            id: id(5),
            return_id: None,
            kind: "CANCELLATION".to_owned(),
            status: "PROCESSED".to_owned(),
            amount_minor: 5_250_000,
            transaction_id: Some("txn_4711".to_owned()),
            gateway_reference: Some("631105280042".to_owned()),
            created_at: ago(7_100),
            processed_at: Some(ago(7_099)),
        }],
        documents: vec![StoryDocument {
            id: id(6),
            kind: "invoice".to_owned(),
            source_id: id(4),
            number: "AC/26-27/1".to_owned(),
            issued_at: ago(7_000),
            stored_at: Some(ago(6_998)),
            size_bytes: Some(48_210),
        }],
        actions: vec![action().into()],
    };
    check("story", &story(&report));
    insta::assert_json_snapshot!("story_json", report);
}
