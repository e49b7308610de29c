//! All processes of a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::places::Role;
use super::process::{Keeper, Recipe, Status};
use super::stage::Stage;
use super::tally::Tally;
use super::{Plan, Weather, chance};
use crate::waiting::eventually;
use crate::{Api, portal};

/// How long the processes may take to be healthy after a storm: a dead relay's lease, and a start under load.
const WELL_WITHIN: Duration = Duration::from_secs(60);

/// The processes, each with its keeper.
#[derive(Debug)]
pub(super) struct Fleet {
    weather: watch::Sender<Weather>,
    members: Vec<Member>,
    keepers: JoinSet<Result<()>>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Member {
    name: &'static str,
    health: Api,
    release: watch::Sender<PathBuf>,
    status: watch::Receiver<Status>,
}

impl Fleet {
    /// Starts all processes, in calm weather. `programs` is the folder of their release.
    pub(super) async fn start(stage: &Stage, plan: &Plan, programs: &Path, tally: &Arc<Tally>) -> Result<Self> {
        let weather = watch::Sender::new(Weather::Calm);
        let (mut members, mut keepers, stop) = (Vec::new(), JoinSet::new(), CancellationToken::new());
        for cast in cast(stage) {
            let (status, seen) = watch::channel(Status { weather: Weather::Calm, starts: 0 });
            let health = Api::new(&format!("http://127.0.0.1:{}", cast.port))?;
            let (release, to_run) = watch::channel(programs.to_owned());
            members.push(Member { name: cast.name, health, release, status: seen });
            let recipe = Recipe {
                name: cast.name,
                role: cast.role,
                program: cast.program,
                environment: environment(stage, &cast),
                log: stage.log(cast.name),
            };
            let keeper = Keeper {
                recipe,
                setup: plan.setup,
                chance: chance(plan.seed, cast.name),
                weather: weather.subscribe(),
                release: to_run,
                status,
                tally: tally.clone(),
                stop: stop.clone(),
                deck: Vec::new(),
            };
            keepers.spawn(keeper.run());
        }
        let fleet = Self { weather, members, keepers, stop };
        fleet.well(stage).await?;
        Ok(fleet)
    }

    /// Starts the storm: from now on every process is harmed.
    pub(super) fn storm(&self) {
        self.weather.send_replace(Weather::Storm);
    }

    /// Ends the storm and waits until every process is healthy.
    pub(super) async fn calm(&self, stage: &Stage) -> Result<()> {
        self.weather.send_replace(Weather::Calm);
        self.well(stage).await
    }

    /// Replaces a process by the program of another release, and waits until that is ready.
    pub(super) async fn replace(&self, name: &str, programs: &Path) -> Result<()> {
        let member = self.members.iter().find(|member| member.name == name).with_context(|| format!("no {name}"))?;
        let mut status = member.status.clone();
        let starts = status.borrow_and_update().starts;
        member.release.send_replace(programs.to_owned());
        let started = status.wait_for(|status| status.starts > starts);
        tokio::time::timeout(WELL_WITHIN, started).await.with_context(|| format!("{name} was not replaced"))??;
        member.ready().await
    }

    /// Stops every process gracefully.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(kept) = self.keepers.join_next().await {
            kept??;
        }
        Ok(())
    }

    /// Waits until every process is healthy.
    pub(super) async fn well(&self, stage: &Stage) -> Result<()> {
        for member in &self.members {
            let mut status = member.status.clone();
            let alive = status.wait_for(|status| status.weather == Weather::Calm && status.starts > 0);
            tokio::time::timeout(WELL_WITHIN, alive).await.with_context(|| format!("{} is down", member.name))??;
            member.ready().await?;
        }
        eventually("live relays and projectors lease every shard", WELL_WITHIN, async || {
            let free: i64 = sqlx::query_scalar(
                "select count(*) from messaging.shard_leases where (consumer, shard) not in (
                     select consumer, shard from messaging.held_shards where expires_at > clock_timestamp() + interval '5 s')",
            )
            .fetch_one(&stage.pool)
            .await?;
            Ok((free == 0).then_some(()))
        })
        .await
    }
}

impl Member {
    async fn ready(&self) -> Result<()> {
        eventually(&format!("{} is ready", self.name), WELL_WITHIN, async || {
            let answer = self.health.get("/health/ready").await;
            Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .await
    }
}

/// The processes, with program and port.
struct Cast {
    name: &'static str,
    role: Role,
    program: &'static str,
    port: u16,
}

fn cast(stage: &Stage) -> [Cast; 7] {
    let ports = &stage.ports;
    let cast = |name, role, program, port| Cast { name, role, program, port };
    [
        cast("gateway", Role::Gateway, "payment-gateway", ports.gateway),
        cast("command", Role::Command, "command", ports.command),
        cast("relay 1", Role::Relay, "outbox-relay", ports.relays[0]),
        cast("relay 2", Role::Relay, "outbox-relay", ports.relays[1]),
        cast("workers 1", Role::Workers, "workers", ports.workers[0]),
        cast("workers 2", Role::Workers, "workers", ports.workers[1]),
        cast("query", Role::Query, "query", ports.query),
    ]
}

/// The settings of the command service.
pub(super) fn command_environment(stage: &Stage) -> Vec<(&'static str, String)> {
    environment(stage, &Cast { name: "command", role: Role::Command, program: "command", port: stage.ports.command })
}

/// Settings with which a run converges: back-offs of a second and short time-outs for the gateway.
fn environment(stage: &Stage, cast: &Cast) -> Vec<(&'static str, String)> {
    let path = |path: &Path| path.display().to_string();
    let port = match cast.role {
        Role::Command => "COMMAND_PORT",
        Role::Relay => "RELAY_PORT",
        Role::Workers => "WORKERS_PORT",
        Role::Query => "QUERY_PORT",
        Role::Gateway => "GATEWAY_PORT",
    };
    let mut environment = vec![("LOG", "info,sqlx=error".to_owned()), (port, cast.port.to_string())];
    environment.push(("TMPDIR", path(stage.temporary())));
    if cast.role == Role::Gateway {
        environment.push(("LEDGER_FILE", path(&stage.ledger())));
        return environment;
    }
    environment.push(("DATABASE_URL", stage.database_url()));
    // The query service needs 12 for its kinds of work.
    let connections = if cast.role == Role::Query { 13 } else { 10 };
    environment.push(("DATABASE_MAX_CONNECTIONS", connections.to_string()));
    // Processes give up a vanished connection soon after the statement time-out.
    environment.push(("DATABASE_STATEMENT_TIMEOUT_SECONDS", "5".to_owned()));
    let moves_events = matches!(cast.role, Role::Relay | Role::Workers);
    environment.extend(stage.broker_url().filter(|_| moves_events).map(|url| ("RABBITMQ_URL", url)));
    match cast.role {
        // The relay parks a row that Postgres refuses after two attempts, so that it soon needs an operator.
        Role::Relay => environment.push(("RELAY_MAX_ATTEMPTS", "2".to_owned())),
        Role::Workers => environment.extend([
            ("INVOICE_STORE_URL", path(&stage.invoices())),
            ("GATEWAY_URL", stage.gateway_url()),
            ("SMTP_URL", stage.smtp_url()),
            ("GATEWAY_TIMEOUT_SECONDS", "1".to_owned()),
            ("DOCUMENT_RETRY_SECONDS", "0.2".to_owned()),
            ("REFUND_RETRY_SECONDS", "1".to_owned()),
            ("PDF_TABS", "2".to_owned()),
            ("WEBHOOK_ALLOW_PRIVATE", "true".to_owned()),
            ("WEBHOOK_TIMEOUT_SECONDS", "2".to_owned()),
        ]),
        Role::Query => {
            environment.push(("INVOICE_STORE_URL", path(&stage.invoices())));
            environment.extend(stage.read_database_url().map(|url| ("QUERY_DATABASE_URL", url)));
        }
        Role::Command | Role::Gateway => {}
    }
    environment.extend(
        [
            ("SUPPLIER_GSTIN", portal::SHOP),
            ("SUPPLIER_ADDRESS", "14, Kasturba Road"),
            ("SUPPLIER_CITY", "Bengaluru"),
            ("SUPPLIER_POSTAL_CODE", "560001"),
            ("E_INVOICING", "true"),
        ]
        .map(|(name, value)| (name, value.to_owned())),
    );
    environment
}
