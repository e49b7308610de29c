//! What an operator does during a run, and asks at its end.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use sqlx::PgPool;
use tokio::process::Command;

use super::stage::Stage;
use crate::programs;

/// Everything that the audit holds against the system, in words; nothing may be pending or under way.
pub(super) async fn audit(stage: &Stage) -> Result<Vec<String>> {
    let mut command = Command::new(programs::folder().join("outbox-relay"));
    command.args(["audit", "--drained", "--json", "--gateway-url", &stage.gateway_url(), "--invoice-store"]);
    command.arg(stage.invoices()).kill_on_drop(true);
    command.env_clear().env("DATABASE_URL", stage.database_url());
    command.envs(stage.broker_url().map(|url| ("RABBITMQ_URL", url)));
    command.envs(stage.read_database_url().map(|url| ("QUERY_DATABASE_URL", url)));
    let output = command.output().await?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the audit says {}", String::from_utf8_lossy(&output.stderr)))?;
    let rules = report["rules"].as_array().context("the audit has rules")?;
    let mut found = Vec::new();
    for rule in rules {
        let complaints = [&rule["examples"], &rule["not_checked"]].into_iter().flat_map(Value::as_array).flatten();
        found.extend(complaints.map(|complaint| format!("audit, rule {}: {complaint}", rule["rule"])));
    }
    if found.is_empty() && !output.status.success() {
        found.push(format!("the audit ended with {} and found nothing", output.status));
    }
    Ok(found)
}

/// Sends parked rows again.
pub(super) async fn replay_parked(pool: &PgPool) -> Result<u64> {
    replay(pool, "parked_at is not null").await
}

/// Sends rows again that have been published, so that they arrive twice.
pub(super) async fn replay_published(pool: &PgPool, rows: u32) -> Result<u64> {
    let which = format!(
        "event_id in (select event_id from messaging.outbox where published_at is not null order by random() limit {rows})"
    );
    replay(pool, &which).await
}

async fn replay(pool: &PgPool, which: &str) -> Result<u64> {
    let statement = format!(
        "update messaging.outbox set published_at = null, parked_at = null, parked_reason = null, attempts = 0,
             next_attempt_at = null, position = default where {which}"
    );
    Ok(sqlx::query(sqlx::AssertSqlSafe(statement)).execute(pool).await?.rows_affected())
}

/// Tries dead jobs again.
pub(super) async fn retry_dead(pool: &PgPool) -> Result<u64> {
    let retried = sqlx::query(
        "update messaging.inbox set status = 'in_doubt', attempts = 0, finished_at = null, run_at = clock_timestamp()
         where status = 'dead'",
    );
    Ok(retried.execute(pool).await?.rows_affected())
}

/// The age of the oldest row that is shown as stuck.
pub(super) async fn oldest_stuck(pool: &PgPool) -> Result<Option<Duration>> {
    let stuck = "select extract(epoch from clock_timestamp() - min(occurred_at))::float8 from messaging.outbox
                 where published_at is null and (parked_at is not null or attempts > 0)";
    let seconds: Option<f64> = sqlx::query_scalar(stuck).fetch_one(pool).await?;
    Ok(seconds.map(Duration::from_secs_f64))
}
