//! What operators see and do, on the command line and over REST.

mod actions;
mod audit;
pub(crate) mod bulk;
mod doctor;
mod replays;
mod seals;
mod stories;
mod schedules;
mod jobs;
mod terminal;

use anyhow::{Context, Result};
use contracts::OrderState;
use reqwest::Method;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use tests::{Answer, Api, Database, System, programs, shop};
use tokio::process::Command;
use uuid::Uuid;

/// Exit code and output of a command.
#[derive(Debug)]
pub(crate) struct Said {
    code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn exited(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs `ops` on a database, as the operator anita.
pub(crate) async fn ops(database: &Database, arguments: &[&str]) -> Result<Said> {
    ops_with(&[("DATABASE_URL", &database.url)], arguments).await
}

pub(crate) async fn ops_with(environment: &[(&str, &str)], arguments: &[&str]) -> Result<Said> {
    let mut command = Command::new(programs::folder().join("ops"));
    command.args(arguments).env_clear().envs(programs::environment()).env("OPERATOR", "anita");
    command.envs(environment.iter().copied()).kill_on_drop(true);
    let output = command.output().await?;
    let text = |bytes| String::from_utf8(bytes).context("text");
    Ok(Said { code: output.status.code(), out: text(output.stdout)?, err: text(output.stderr)? })
}

/// POSTs as the operator anita.
pub(crate) async fn act(api: &Api, path: &str, body: &Value) -> Result<Answer> {
    api.call(Method::POST, path).header("X-Actor", "anita").json(body).send().await
}

pub(crate) async fn execute(pool: &PgPool, statements: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(pool).await?;
    Ok(())
}

/// Runs a statement that makes jobs dead, and gives each of them its dead letter.
pub(crate) async fn die(pool: &PgPool, update: &str) -> Result<()> {
    let letters = "insert into messaging.dead_letters (queue, event_id, last_error)
                   select queue, event_id, last_error from messaging.inbox where status = 'dead' on conflict do nothing";
    execute(pool, &format!("{update}; {letters}")).await
}

/// An order with three events that no relay has published, and their ids.
pub(crate) async fn untold_order() -> Result<(Database, Vec<Uuid>)> {
    let system = System::commands_only().await?;
    shop::order_in(&system.api, OrderState::ProcessingInWarehouse).await?;
    let database = system.stop().await?;
    let events = sqlx::query_scalar("select event_id from messaging.outbox order by aggregate_version");
    let events = events.fetch_all(&database.pool).await?;
    Ok((database, events))
}
