//! The proof that an ordered queue keeps its promise: an event of an aggregate takes effect only when all earlier ones have, or
//! were discarded, and none takes effect twice.
//!
//! A run makes a queue ordered and fills it through the real relay, while real worker processes do its jobs: [`worker`]. Their
//! handler fails, panics and gives up at random. The harness kills the workers; an operator skips, retries, discards,
//! releases and replays events. Triggers write down every step of every job in the transaction of the step. In the
//! end a checker reads that [`history`].

pub mod history;
pub mod worker;
mod operator;
mod herd;
mod load;

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use contracts::{EventType, Queue};
use messaging::TransportConfig;
use operations::audit::{Rule, Scope, audit};
use rand::SeedableRng;
use rand::rngs::StdRng;
use runtime::{Clock, Tasks};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::books::count;
use crate::waiting::{SOON, eventually};
use crate::{Database, programs};

pub use history::Counts;

/// The queue that a run makes ordered, and the type of its events.
pub const QUEUE: Queue = Queue::Invoices;
const EVENT_TYPE: EventType = EventType::OrderShipped;
/// Versions of each aggregate.
pub const VERSIONS: i32 = 50;

/// How large a run is.
#[derive(Debug, Clone)]
pub struct Plan {
    pub aggregates: usize,
    pub workers: usize,
    /// Workers to kill, spread evenly over the run.
    pub kills: usize,
    pub seed: u64,
    pub at_most: Duration,
}

/// What a run did, and what it found.
#[derive(Debug)]
pub struct Report {
    pub counts: Counts,
    pub kills: usize,
    pub actions: Vec<(String, i64)>,
    pub violations: Vec<String>,
    took: Duration,
}

/// What the parts of a run share.
#[derive(Debug)]
struct Run {
    database: Database,
    /// The events in the order in which they are appended, and how many have been.
    events: Vec<Event>,
    appended: AtomicUsize,
    /// Ends the operator and the workers.
    stop: CancellationToken,
}

/// An event of the load.
#[derive(Debug, Clone, Copy)]
struct Event {
    id: Uuid,
    aggregate_id: Uuid,
    version: i32,
    /// No release knows its type, so the relay holds it back.
    unknown: bool,
}

/// Tables of the history, and the triggers that write it. `predecessor` is the state of the version before when a job starts.
const SETUP: &str = "
    update messaging.queues set ordered = true where name = 'invoices';
    create sequence public.steps;
    create table public.history (
        step bigint not null default nextval('public.steps'), aggregate_id uuid not null, version integer not null,
        status text not null, predecessor text
    );
    create table public.effects (
        step bigint not null default nextval('public.steps'), aggregate_id uuid not null, version integer not null,
        attempt integer not null, worker text not null, started_at timestamptz not null, ended_at timestamptz not null
    );
    grant insert on public.effects to articurated_workers;
    grant usage on sequence public.steps to articurated_workers;
    create index versions on messaging.inbox (aggregate_id, aggregate_version);
    create function public.write_history() returns trigger language plpgsql security definer as $$
    begin
        insert into public.history (aggregate_id, version, status, predecessor)
        values (new.aggregate_id, new.aggregate_version, new.status,
                case when new.status = 'running' then
                    (select status from messaging.inbox where aggregate_id = new.aggregate_id
                                                          and aggregate_version = new.aggregate_version - 1)
                end);
        return null;
    end $$;
    create trigger changed after update on messaging.inbox for each row when (old.status <> new.status)
        execute function public.write_history();
    create trigger discarded after insert on messaging.inbox for each row when (new.status = 'discarded')
        execute function public.write_history();";

/// Makes a run, and checks its history.
///
/// # Errors
/// When something does not work at all, or the queue is not empty within [`Plan::at_most`].
pub async fn run(plan: &Plan) -> Result<Report> {
    let started = Instant::now();
    let database = Database::new().await?;
    sqlx::raw_sql(SETUP).execute(&database.pool).await?;
    let events = load::events(plan, &mut StdRng::seed_from_u64(plan.seed));
    let run = Run { database, events, appended: AtomicUsize::new(0), stop: CancellationToken::new() };
    let relay = start_relay(&run.database).await?;
    let pool = &run.database.pool;
    let ended = async {
        work_ends(pool, run.events.len(), plan.at_most).await?;
        run.stop.cancel();
        Ok(())
    };
    let parts = async {
        tokio::try_join!(load::append(&run), ended, herd::keep(&run, plan), operator::operate(&run, plan.seed))
    };
    let ((), (), kills, ()) = parts.await.with_context(|| format!("seed {}", plan.seed))?;
    relay.drain(SOON).await?;
    let history = history::read(pool).await?;
    let mut violations = history.violations(&load::aggregates(&run.events), VERSIONS);
    let audited = audit(pool, &Scope::default()).await?;
    // The other rules ask for commands, which these events lack.
    let statuses = audited.rules.into_iter().filter(|checked| checked.rule == Rule::Statuses as u8);
    violations.extend(statuses.flat_map(|checked| checked.examples));
    Ok(Report {
        counts: history.counts(),
        kills,
        actions: sqlx::query_as(
            "select action, sum(rows_changed)::bigint from messaging.operator_actions group by 1 order by 1",
        )
        .fetch_all(pool)
        .await?,
        violations,
        took: started.elapsed(),
    })
}

async fn start_relay(database: &Database) -> Result<Tasks> {
    let (pool, tasks) = (database.pool_as("articurated_relay").await?, Tasks::new(CancellationToken::new()));
    let (transport, settings) = (TransportConfig::default(), outbox_relay::Settings::default());
    outbox_relay::start(&pool, &database.config(), &transport, &settings, "relay", &Clock::system(), &tasks);
    Ok(tasks)
}

/// Waits until every job is done or discarded.
async fn work_ends(pool: &PgPool, jobs: usize, at_most: Duration) -> Result<()> {
    let ended = "select count(*) from messaging.inbox where queue = 'invoices' and status in ('done', 'discarded')";
    eventually("every job is done or discarded", at_most, async || {
        Ok((count(pool, ended).await? == i64::try_from(jobs)?).then_some(()))
    })
    .await
}

/// The program with the workers: this one, or beside the tests.
fn program() -> std::path::PathBuf {
    programs::folder().join("ordered")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, kills, actions, violations, took } = self;
        let seconds = took.as_secs_f64();
        writeln!(f, "{counts}")?;
        writeln!(f, "workers killed: {kills}")?;
        for (action, rows) in actions {
            writeln!(f, "{action}: {rows}")?;
        }
        writeln!(f, "{seconds:.0} s")?;
        writeln!(f, "violations: {}", violations.len())?;
        violations.iter().take(20).try_for_each(|violation| writeln!(f, "  {violation}"))
    }
}
