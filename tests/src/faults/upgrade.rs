//! An upgrade under load, and the way back: the programs of one release are replaced by those of the next, one after the
//! other, while customers order and return goods. Nothing else goes wrong.
//!
//! A synthetic migration adds a column, a queue and an event type that neither release knows, so that there is something to
//! upgrade even when both releases are the same. No request may fail, except while the command service is being replaced. At
//! the end the same must hold as after faults ([`verdict`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use schema::{MIGRATOR, SchemaError};
use sqlx::migrate::Migrator;
use tokio::process::Command;
use tokio::time::sleep;
use uuid::Uuid;

use super::book::Book;
use super::fleet::{self, Fleet};
use super::load::Load;
use super::stage::{self, Stage};
use super::tally::Tally;
use super::{Plan, Setup, operator, verdict};
use crate::programs;
use crate::waiting::{SOON, eventually, eventually_equal};

/// The order of an upgrade: consumers first, because they must know an event type before it is sent. Back in the opposite
/// order.
const FIRST_HALF: [&str; 3] = ["workers 1", "query", "relay 1"];
const SECOND_HALF: [&str; 4] = ["workers 2", "relay 2", "command", "gateway"];
/// Of the customers. Nothing else is left to chance.
const SEED: u64 = 1;
/// Adds something.
const EXPAND: i64 = 9000;
/// Removes it again.
const CONTRACT: i64 = 9001;

/// The upgrade to play.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// The folder of the programs of the release before.
    pub from: PathBuf,
    pub rabbitmq: bool,
    /// How long each mixture of programs and schema runs.
    pub phase: Duration,
    pub orders_per_second: f64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that must never happen; empty after a good upgrade.
    pub violations: Vec<String>,
    /// Requests that customers had to repeat while the command service was replaced.
    pub repeated: u64,
    /// The folder of logs and files; the run keeps it after a violation.
    pub logs: PathBuf,
}

/// Plays an upgrade to the programs of this tree, and back.
///
/// # Errors
/// When the harness itself failed.
pub async fn run(upgrade: &Upgrade) -> Result<Outcome> {
    let plan = Plan {
        seed: SEED,
        setup: Setup { rabbitmq: upgrade.rabbitmq, read_database: false },
        at_least: Duration::ZERO,
        kills: 0,
        returns: 0,
        at_most: Duration::ZERO,
        storm: Duration::ZERO,
        orders_per_second: upgrade.orders_per_second,
    };
    let new = tokio::task::spawn_blocking(programs::folder).await?;
    let stage = Stage::set(&plan, &upgrade.from).await?;
    let (logs, tally, book) = (stage.folder.clone(), Arc::new(Tally::default()), Arc::new(Book::default()));
    let run = Run { old: &upgrade.from, new, phase: upgrade.phase, stage: &stage, book: &book, tally: &tally };
    if let Err(error) = run.play(&plan).await {
        tally.violated(format!("{error:#}"));
    }
    stage.strike().await;
    let violations = tally.counts().violations;
    if violations.is_empty() {
        stage::clear(&logs)?;
    }
    Ok(Outcome { violations, repeated: tally.times("requests repeated"), logs })
}

struct Run<'a> {
    old: &'a Path,
    new: &'a Path,
    phase: Duration,
    stage: &'a Stage,
    book: &'a Arc<Book>,
    tally: &'a Arc<Tally>,
}

impl Run<'_> {
    async fn play(&self, plan: &Plan) -> Result<()> {
        let fleet = Fleet::start(self.stage, plan, self.old, self.tally).await?;
        let load = Load::start(self.stage, plan, self.book, self.tally)?;
        self.runs_on("old programs on the old schema").await?;
        self.without_failures("the migration", self.migrate()).await?;
        let event = synthetic_event(self.stage).await?;
        self.runs_on("old programs on the new schema").await?;
        eventually_equal("the relay sets an event of an unknown type aside", SOON, 1_i64, async || {
            let aside = "select count(*) from messaging.outbox_exceptions where event_id = $1";
            Ok(sqlx::query_scalar(aside).bind(event).fetch_one(&self.stage.pool).await?)
        })
        .await?;
        let status = operator::ask_of(self.stage, self.old, &["status"]).await?;
        ensure!(status.status.success(), "the old ops status: {}", String::from_utf8_lossy(&status.stderr));
        self.contract_is_refused().await?;

        self.replace(&fleet, &FIRST_HALF, self.new).await?;
        self.runs_on("half of the programs new").await?;
        self.replace(&fleet, &SECOND_HALF, self.new).await?;
        self.runs_on("new programs on the new schema").await?;

        // A step back begins as an upgrade does. On a newer schema there is nothing to migrate.
        programs::migrate(&self.stage.direct_url(), self.old).await?;
        let back = |names: &[&'static str]| names.iter().rev().copied().collect::<Vec<_>>();
        self.replace(&fleet, &back(&SECOND_HALF), self.old).await?;
        self.replace(&fleet, &back(&FIRST_HALF), self.old).await?;
        self.runs_on("old programs again, on the new schema").await?;

        load.stop().await?;
        forget(self.stage, event).await?;
        verdict::drain(self.stage, self.tally).await?;
        verdict::check(self.stage, &self.book.known(), self.tally).await?;
        fleet.stop().await?;
        verdict::check_processes(self.stage, self.tally).await;
        eventually("no program is connected, and the migration may remove what they used", SOON, async || {
            Ok(schema::apply(&self.stage.pool, up_to(CONTRACT).await?).await.ok())
        })
        .await?;
        self.is_not_admitted(self.old).await
    }

    /// The migrations of the new release, and the synthetic one.
    async fn migrate(&self) -> Result<()> {
        for url in self.stage.databases() {
            programs::migrate(&url, self.new).await?;
        }
        Ok(schema::apply(&self.stage.pool, up_to(EXPAND).await?).await?)
    }

    /// Replaces one process after the other. Only the command service answers customers.
    async fn replace(&self, fleet: &Fleet, names: &[&str], programs: &Path) -> Result<()> {
        for name in names {
            if *name == "command" {
                fleet.replace(name, programs).await?;
                // Every customer has had the time to repeat the request that was refused meanwhile.
                sleep(Duration::from_secs(1)).await;
            } else {
                self.without_failures(name, fleet.replace(name, programs)).await?;
            }
        }
        fleet.well(self.stage).await
    }

    /// Lets the load run for a while. Orders must be placed, and no request may fail.
    async fn runs_on(&self, what: &str) -> Result<()> {
        let (started, orders) = (Instant::now(), self.book.known().orders.len());
        let waiting = async {
            sleep(self.phase).await;
            anyhow::Ok(())
        };
        self.without_failures(what, waiting).await?;
        let placed = self.book.known().orders.len() - orders;
        eprintln!("{what}: {placed} orders in {:.0?}", started.elapsed());
        if placed == 0 {
            self.tally.violated(format!("{what}: no order was placed"));
        }
        Ok(())
    }

    async fn without_failures(&self, what: &str, step: impl Future<Output = Result<()>>) -> Result<()> {
        let before = self.tally.times("requests repeated");
        step.await.with_context(|| what.to_owned())?;
        let failed = self.tally.times("requests repeated") - before;
        if failed > 0 {
            self.tally.violated(format!("{what}: {failed} requests failed"));
        }
        Ok(())
    }

    /// What older programs use is not removed while they run.
    async fn contract_is_refused(&self) -> Result<()> {
        match schema::apply(&self.stage.pool, up_to(CONTRACT).await?).await {
            Err(SchemaError::Migration(error)) if error.to_string().contains("older programs are connected") => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => bail!("a migration removed something that running programs may use"),
        }
    }

    /// After something was removed, an older program does not start, and says why.
    async fn is_not_admitted(&self, programs: &Path) -> Result<()> {
        let mut command = Command::new(programs.join("command"));
        command
            .env_clear()
            .envs(programs::environment())
            .envs(fleet::command_environment(self.stage))
            .kill_on_drop(true);
        let ended = tokio::time::timeout(SOON, command.output()).await.context("an older program still runs")??;
        let said = String::from_utf8_lossy(&ended.stderr);
        let why = format!("the database needs programs that know migration {EXPAND}");
        ensure!(!ended.status.success() && said.contains(&why), "an older program ended with {}: {said}", ended.status);
        Ok(())
    }
}

/// The migrations of this tree, and the synthetic ones up to this number.
async fn up_to(number: i64) -> Result<Migrator> {
    let folder = programs::root().join("tests/upgrade");
    let synthetic = Migrator::new(folder.as_path()).await?;
    let all = MIGRATOR.iter().chain(synthetic.iter()).filter(|migration| migration.version <= number);
    Ok(Migrator::with_migrations(all.cloned().collect()))
}

/// Plays a program of a release after both: it sends an event of a type that is new to them, and puts it into its own queue.
async fn synthetic_event(stage: &Stage) -> Result<Uuid> {
    let (event, _): (Uuid, i64) = sqlx::query_as(
        "with event as materialized (select messaging.new_id() as id)
         select id, messaging.append_events('order', array[id], array[gen_random_uuid()], array[1], array['order.synthetic'],
                                            array['{}'::jsonb], array[null::text], array[now()])
         from event",
    )
    .fetch_one(&stage.pool)
    .await?;
    sqlx::query(
        "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at)
         select 'synthetic', event_id, aggregate_id, aggregate_version, messaging.due_now('synthetic')
         from messaging.outbox where event_id = $1",
    )
    .bind(event)
    .execute(&stage.pool)
    .await?;
    Ok(event)
}

/// Removes the synthetic event: no command has written it, and the audit would say so. Neither release may have handled it.
async fn forget(stage: &Stage, event: Uuid) -> Result<()> {
    let handled = "select count(*) from messaging.inbox where event_id = $1 and status = 'done'";
    let handled: i64 = sqlx::query_scalar(handled).bind(event).fetch_one(&stage.pool).await?;
    ensure!(handled == 0, "a program has handled an event of a type that it does not know");
    for table in ["dead_letters", "inbox", "outbox_exceptions", "outbox"] {
        let delete = format!("delete from messaging.{table} where event_id = $1");
        sqlx::query(sqlx::AssertSqlSafe(delete)).bind(event).execute(&stage.pool).await?;
    }
    Ok(())
}
