//! The operator of a run, who uses the command line of `ops`: actions during the run, the audit at its end.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;
use uuid::Uuid;

use super::stage::Stage;
use crate::programs;

/// Longest wait for `ops`; an audit of a long run reads a lot.
const ANSWER: Duration = Duration::from_secs(120);
/// Actor and reason for the record of operator actions.
const ACTING: [&str; 4] = ["--actor", "faults", "--reason", "The fault harness plays the operator."];

/// The first key pair of RFC 8032, section 7.1, with which the audit of the run is sealed.
const SEAL_KEY: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const SEAL_PUBLIC_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

#[derive(Debug, Deserialize)]
struct Acted {
    rows_changed: u64,
}

/// Replays parked rows.
pub(super) async fn replay_parked(stage: &Stage) -> Result<u64> {
    act(stage, &["replay", "--parked"]).await
}

/// Replays published rows, so that they arrive twice.
pub(super) async fn replay_published(stage: &Stage, rows: u32) -> Result<u64> {
    let published = "select event_id from messaging.outbox
                     where position in (select unnest(positions) from messaging.relay_batches)
                       and event_id not in (select event_id from messaging.outbox_exceptions)
                     order by random() limit $1";
    let ids: Vec<Uuid> = sqlx::query_scalar(published).bind(i64::from(rows)).fetch_all(&stage.pool).await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let ids: Vec<_> = ids.iter().map(|id| format!("--id={id}")).collect();
    let arguments: Vec<_> = ["replay"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    act(stage, &arguments).await
}

/// Retries dead jobs.
pub(super) async fn retry_dead(stage: &Stage) -> Result<u64> {
    act(stage, &["retry", "--all"]).await
}

/// Rebuilds the read models. Kills the rebuild after `within`.
pub(super) async fn rebuild(stage: &Stage, within: Duration) -> Result<()> {
    let mut command = Command::new(programs::folder().join("query"));
    command.arg("rebuild").kill_on_drop(true);
    command.env_clear().envs(programs::environment()).env("DATABASE_URL", stage.direct_url()).env("LOG", "error");
    command.envs(stage.read_database_url().map(|url| ("QUERY_DATABASE_URL", url)));
    let output = tokio::time::timeout(within, command.output()).await.context("query rebuild was killed")??;
    ensure!(output.status.success(), "query rebuild: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The age of the oldest row that is parked or waits for another attempt. It ignores rows from before `since`, a moment
/// of the database's clock in microseconds: those are stuck for other reasons.
pub(super) async fn oldest_stuck(stage: &Stage, since: i64) -> Result<Option<Duration>> {
    #[derive(Deserialize)]
    struct Stuck {
        at: DateTime<Utc>,
        events: Vec<Event>,
    }
    #[derive(Deserialize)]
    struct Event {
        occurred_at: DateTime<Utc>,
        reason: String,
    }
    let Stuck { at, events } = read(&ask(stage, &["stuck", "--limit", "10000"]).await?)?;
    let new = events.iter().filter(|event| event.reason != "PENDING" && event.occurred_at.timestamp_micros() >= since);
    let oldest = new.map(|event| event.occurred_at).min();
    Ok(oldest.map(|oldest| (at - oldest).to_std().unwrap_or_default()))
}

/// Every complaint of the audit, as text. It requires that all queues have drained.
pub(super) async fn audit(stage: &Stage) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Report {
        rules: Vec<Rule>,
    }
    #[derive(Deserialize)]
    struct Rule {
        #[serde(rename = "rule")]
        number: u8,
        examples: Vec<String>,
        not_checked: Vec<String>,
    }
    let (gateway, invoices) = (stage.gateway_url(), stage.invoices().display().to_string());
    let sealed = ask(stage, &["seal"]).await?;
    ensure!(sealed.status.success(), "ops seal said {}", String::from_utf8_lossy(&sealed.stderr));
    let output = ask(stage, &["audit", "--drained", "--gateway-url", &gateway, "--invoice-store", &invoices]).await?;
    let report: Report = read(&output)?;
    let complaints = report.rules.iter().flat_map(|rule| {
        let complaints = rule.examples.iter().chain(&rule.not_checked);
        complaints.map(|complaint| format!("audit, rule {}: {complaint}", rule.number))
    });
    let found: Vec<_> = complaints.collect();
    let status = output.status;
    ensure!(status.success() || !found.is_empty(), "the audit ended with {status} and gave no reason");
    Ok(found)
}

/// The number of rows that an action changed.
async fn act(stage: &Stage, arguments: &[&str]) -> Result<u64> {
    let arguments: Vec<_> = arguments.iter().copied().chain(ACTING).collect();
    read(&ask(stage, &arguments).await?).map(|Acted { rows_changed }| rows_changed)
}

async fn ask(stage: &Stage, arguments: &[&str]) -> Result<Output> {
    ask_of(stage, programs::folder(), arguments).await
}

/// Asks the `ops` of the release whose programs are in this folder.
pub(super) async fn ask_of(stage: &Stage, programs: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(programs.join("ops"));
    command.args(arguments).arg("--json").kill_on_drop(true);
    command.env_clear().envs(programs::environment()).env("DATABASE_URL", stage.direct_url());
    command.env("SEAL_STORE_URL", stage.invoices().with_file_name("seals"));
    command.env("SEAL_KEY", SEAL_KEY).env("SEAL_PUBLIC_KEY", SEAL_PUBLIC_KEY);
    command.envs(stage.broker_url().map(|url| ("RABBITMQ_URL", url)));
    command.envs(stage.read_database_url().map(|url| ("QUERY_DATABASE_URL", url)));
    tokio::time::timeout(ANSWER, command.output())
        .await
        .with_context(|| format!("ops {arguments:?}"))?
        .with_context(|| format!("ops {arguments:?}"))
}

fn read<T: DeserializeOwned>(output: &Output) -> Result<T> {
    serde_json::from_slice(&output.stdout).with_context(|| {
        let Output { status, stdout, stderr } = output;
        let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
        format!("ops ended with {status} and said {said}")
    })
}
