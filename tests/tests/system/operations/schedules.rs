//! A schedule that an operator has run at once.

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::waiting::SOON;
use tests::{System, books, eventually};

use super::{act, execute, ops};

async fn of(system: &System, name: &str) -> Result<Value> {
    let all = system.api.get("/ops/schedules").await?.expect(200).json();
    let all = all["schedules"].as_array().context("a list")?;
    all.iter().find(|schedule| schedule["name"] == name).cloned().with_context(|| format!("no {name} in {all:?}"))
}

/// Waits for the end of the run with this due time.
async fn ended(system: &System, name: &str, due_at: &Value) -> Result<Value> {
    eventually("the run", SOON, async || {
        let schedule = of(system, name).await?;
        let run = &schedule["last_run"];
        Ok((run["due_at"] == *due_at && run["status"] == "done").then_some(schedule))
    })
    .await
}

async fn registered(system: &System, name: &str) -> Result<Value> {
    eventually("a leader", SOON, async || {
        let schedule = of(system, name).await.ok();
        Ok(schedule.filter(|schedule| schedule["leader"].is_string() && schedule["last_run"]["status"] != "running"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_runs_at_once_and_then_at_its_own_times() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let name = "partition_maintenance";
    let before = registered(&system, name).await?;
    let run = |name: &str| format!("/ops/schedules/{name}/run");
    let why = json!({ "reason": "room is needed" });
    let asked = act(&system.api, &run(name), &why).await?.expect(200).json();
    assert_eq!(asked["schedule"], name);
    let after = ended(&system, name, &asked["due_at"]).await?;
    assert_eq!(after["next_due_at"], before["next_due_at"], "its own times stay");

    let log = system.api.get("/ops/actions").await?.expect(200).json();
    let logged = &log["data"][0];
    assert_eq!((&logged["action"], &logged["reason"]), (&json!("RUN_SCHEDULE"), &why["reason"]));
    assert_eq!(logged["target"], asked);

    let pool = &system.database.pool;
    for (change, told) in [
        (
            "next_due_at = last_due_at + interval '1 ms', lease_owner = 'another', leased_until = 'infinity'",
            "due already",
        ),
        ("next_due_at = null", "switch it off"),
    ] {
        execute(pool, &format!("update messaging.schedules set {change} where name = '{name}'")).await?;
        let refused = act(&system.api, &run(name), &why).await?.refused(409, "SCHEDULE_NOT_RUNNABLE");
        assert!(refused.message.contains(told), "{}", refused.message);
    }
    act(&system.api, &run("partition"), &why).await?.refused(404, "SCHEDULE_NOT_FOUND");
    act(&system.api, &run("%ff"), &why).await?.refused(404, "SCHEDULE_NOT_FOUND");
    act(&system.api, &run(name), &json!({})).await?.refused(422, "VALIDATION_FAILED");
    assert_eq!(books::count(pool, "select count(*) from messaging.operator_actions").await?, 1);
    system.finish().await
}

/// The day of a nightly report is over, also when the report is asked for in the middle of the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nightly_report_that_is_asked_for_is_of_yesterday() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let name = "daily_report";
    registered(&system, name).await?;
    let run = ["run-schedule", name, "--reason", "a trial", "--json"];
    let asked = ops(&system.database, &run).await?.exited(0).json();
    let run = ended(&system, name, &asked["due_at"]).await?;
    let asked_at: DateTime<Utc> = serde_json::from_value(asked["due_at"].clone())?;
    let yesterday = contracts::day_in_india(asked_at) - chrono::Days::new(1);
    assert_eq!(run["last_run"]["result"], json!({ "days": [yesterday] }));
    let unknown = ops(&system.database, &["run-schedule", "none", "--reason", "a trial"]).await?.exited(1).err;
    assert!(unknown.contains("no schedule has the name \"none\": ops schedules lists them"), "{unknown}");
    system.finish().await
}
