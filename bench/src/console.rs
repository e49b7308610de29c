//! The console over millions of events: what each page and search takes, and what ten people who look at it cost the database. Not
//! part of the default run.
//!
//! The events are rows with what became of them (`seed_console.sql`), not events that went through the loops: pages read rows, and
//! it is the number of rows that they must not feel. Meanwhile customers place orders, so that nothing is cached that would not be.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::Connection as _;
use standalone::Part;
use tokio::task::JoinSet;

use crate::client::Connection;
use crate::load::{Latencies, Pace, on_own_thread};
use crate::system::{Database, System, append_events_over_time};
use crate::traffic::{Traffic, Turn};
use crate::{report, requests};

/// Events that one statement appends.
const CHUNK: u64 = 20_480;
/// The events are spread over this time, most of the retention of 90 days.
const SPREAD: Duration = Duration::from_secs(80 * 86_400);
/// As many orders are in the read model.
const MOST_LISTED: u64 = 1_000_000;
/// Steps of an order among the events.
const STEPS: u64 = 4;
/// Orders that customers place meanwhile, per second.
const ORDERS_PER_SECOND: f64 = 20.0;
const PARTS: [Part; 5] = [Part::Command, Part::Relay, Part::Workers, Part::Query, Part::Operations];
/// Requests per page; what they ask for differs.
const TIMES: u64 = 60;
/// Requests before them. A connection plans each statement for the first five times, and a page may come to another connection.
const WARM_UP: u64 = 20;
const PEOPLE: u64 = 10;
/// How long a person looks at a page.
const LOOK: Duration = Duration::from_secs(10);
const AIM_MS: f64 = 150.0;
const AIM_OF_A_CORE: f64 = 0.01;
const TELL_EVERY: Duration = Duration::from_secs(30);

/// The pages and searches. `{n}` is the number of an order with an invoice, a return and a refund.
const PAGES: [(&str, &str); 45] = [
    ("overview", ""),
    ("overview, a day", "?span=day"),
    ("stuck", "/stuck"),
    ("jobs", "/jobs"),
    ("dead jobs", "/jobs?status=dead"),
    ("dead jobs of a queue", "/jobs?status=dead&queue=invoices"),
    ("dead jobs by error", "/jobs?status=dead&error=timed+out"),
    ("dead jobs, a rare error", "/jobs?status=dead&error=no+such+error"),
    ("dead jobs by type", "/jobs?status=dead&event_type=order.shipped"),
    ("dead jobs of a day", "/jobs?status=dead&since=24h"),
    ("discarded jobs", "/jobs?status=discarded"),
    ("done jobs", "/jobs?status=done"),
    ("done jobs of a queue", "/jobs?status=done&queue=invoices"),
    ("jobs in doubt", "/jobs?status=in_doubt"),
    ("jobs that wait", "/jobs?status=ready"),
    ("jobs that run", "/jobs?status=running"),
    ("blocked jobs", "/jobs?status=blocked"),
    ("an event", "/events/{event}"),
    ("a dead event", "/events/{dead}"),
    ("an order", "/orders/{number}"),
    ("a return", "/returns/{return}"),
    ("processes", "/processes"),
    ("schedules", "/schedules"),
    ("keys", "/keys"),
    ("webhooks", "/webhooks"),
    ("a webhook", "/webhooks/00000000-0000-0000-0000-000000000001"),
    ("audit", "/audit"),
    ("log", "/log"),
    ("log of a person", "/log?actor=asha"),
    ("log by a word", "/log?text=store"),
    ("log as CSV", "/log.csv"),
    ("an act", "/acts/{act}"),
    ("bulk acts", "/bulk"),
    ("preview: retry", "/bulk/new?act=retry&error=timed+out"),
    ("preview: discard", "/bulk/new?act=discard&queue=invoices"),
    ("preview: replay", "/bulk/new?act=replay&event_type=order.shipped&since=3days"),
    ("find: order", "/find?q={number}"),
    ("find: e-mail", "/find?q=c{customer}%40example.com"),
    ("find: customer", "/find?q=CUST-{customer}"),
    ("find: event", "/find?q={event}"),
    ("find: jobs", "/find?q=state:dead+queue:invoices"),
    ("find: parcel", "/find?q=BD{n}IN"),
    ("find: invoice", "/find?q=AC%2F26-27%2F{n}"),
    ("find: refund", "/find?q=RF-{n}"),
    ("find: nothing", "/find?q=nothing-{n}"),
];

/// The console over millions of events, for half an hour.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Events that the database is to have
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(100_000..))]
    events: u64,
    /// Seconds for which ten people look at it
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..=3_600))]
    seconds: u64,
    /// Folder for the database, which stays there: the next run with it starts from its events
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Runs everything; writes `console.json`.
pub(crate) async fn run(folder: &Path, options: &Options) -> Result<()> {
    System::run_long(folder, options.keep.as_deref(), "console.json", async |system| measure(system, options).await)
        .await
}

async fn measure(system: &System, options: &Options) -> Result<Value> {
    let circumstances = report::circumstances(system, options.events < 10_000_000).await?;
    let sample = system.small_sample_order().await?;
    let database = system.kept_database("console").await?;
    sqlx::raw_sql("create extension if not exists pg_stat_statements").execute(&database.pool).await?;
    seed(&database, &sample, options.events).await?;
    let asked = Asked::of(&database, options.events).await?;
    let running = system.options_without_effects(&database, &PARTS);
    System::run(running, async |address| {
        let traffic = Traffic::new(address, 4, Pace::Open { per_second: ORDERS_PER_SECOND }, Turn::UntilDelivered);
        let traffic = traffic.start();
        let pages = pages(address, &asked).await?;
        let people = people(&database, address, &asked, Duration::from_secs(options.seconds)).await?;
        traffic.stop().await?;
        Ok(json!({ "circumstances": circumstances, "events": options.events, "pages": pages, "people": people }))
    })
    .await
}

/// Brings the database to so many events and to the read model of their orders, in chunks that a stopped run leaves whole.
async fn seed(database: &Database, sample: &Value, events: u64) -> Result<()> {
    let started = Instant::now();
    let (mut told, between) = (Instant::now(), SPREAD.div_f64(f64_of(events)));
    let before = database.outbox_rows().await?;
    for first in (1..=events).step_by(usize::try_from(CHUNK)?).filter(|first| *first > before) {
        let last = events.min(first + CHUNK - 1);
        let mut connection = database.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let (place,): (i64,) = sqlx::query_as("select coalesce(max(position), 0) from messaging.outbox")
            .fetch_one(&mut *transaction)
            .await?;
        let age = between.mul_f64(f64_of(events - first + 1));
        append_events_over_time(&mut transaction, sample, (first, last), (age, between)).await?;
        sqlx::query(include_str!("../sql/seed_console.sql")).bind(place).execute(&mut *transaction).await?;
        transaction.commit().await?;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!("{last} of {events} events, {:.0} s", started.elapsed().as_secs_f64());
        }
    }
    if before < events {
        database.seed_lists(sample, (events / STEPS).min(MOST_LISTED)).await?;
        sqlx::raw_sql(
            "insert into messaging.marks (consumer, shard, epoch, mark)
             select consumer, shard, epoch, (select max(position) from messaging.outbox) from messaging.shard_leases
             union all
             select 'arrived', shard, epoch, (select max(position) from messaging.outbox)
             from messaging.shard_leases where consumer = 'relay'",
        )
        .execute(&database.pool)
        .await?;
        sqlx::raw_sql("vacuum analyze").execute(&database.pool).await?;
        println!("{events} events in {:.0} s", started.elapsed().as_secs_f64());
    }
    database.settle().await
}

/// What the pages are asked for.
#[derive(Debug, Clone)]
struct Asked {
    orders: u64,
    events: Vec<String>,
    dead: Vec<String>,
    returns: Vec<String>,
    acts: Vec<String>,
}

impl Asked {
    async fn of(database: &Database, events: u64) -> Result<Self> {
        let some = async |statement: &'static str| -> Result<Vec<String>> {
            let found: Vec<String> = sqlx::query_scalar(statement).fetch_all(&database.pool).await?;
            ensure!(!found.is_empty(), "nothing is there for a page: {statement}");
            Ok(found)
        };
        Ok(Self {
            orders: (events / STEPS).min(MOST_LISTED),
            events: some("select event_id::text from messaging.webhook_deliveries where status = 'FAILED' limit 500")
                .await?,
            dead: some("select event_id::text from messaging.dead_letters order by died_at limit 500").await?,
            returns: some("select id::text from command.returns order by created_at desc limit 500").await?,
            acts: some("select id::text from messaging.operator_actions order by id desc limit 500").await?,
        })
    }

    fn request(&self, path: &str, turn: u64) -> Vec<u8> {
        let one = |of: &[String]| of[usize::try_from(turn).unwrap_or_default() % of.len()].clone();
        // Every tenth order has a return and a refund.
        let n = 1 + (turn * 7_368_790) % self.orders / 10 * 10;
        let path = path
            .replace("{number}", &format!("AC-20260101-{n:08}"))
            .replace("{customer}", &(n % 50_000).to_string())
            .replace("{n}", &n.to_string())
            .replace("{event}", &one(&self.events))
            .replace("{dead}", &one(&self.dead))
            .replace("{return}", &one(&self.returns))
            .replace("{act}", &one(&self.acts));
        requests::get(&format!("/console{path}"))
    }
}

/// Opens a page, and the one that it leads to. Returns how long that took.
async fn open(connection: &mut Connection, request: &[u8]) -> Result<Duration> {
    let started = Instant::now();
    let status = connection.send(request).await?;
    if status == 303 {
        let to = connection.header("location").context("a search leads somewhere")?.to_owned();
        connection.exchange(&requests::get(&to), 200).await?;
    } else {
        ensure!(status == 200, "{} was answered with {status}", String::from_utf8_lossy(request));
    }
    Ok(started.elapsed())
}

/// Each page, one after the other.
async fn pages(address: SocketAddr, asked: &Asked) -> Result<Vec<Value>> {
    let mut figures = Vec::new();
    println!("\n{:<28}{:>10}{:>10}{:>10}   of {TIMES} requests, aim p95 ≤ {AIM_MS} ms", "ms", "p50", "p95", "max");
    for (name, path) in PAGES {
        let asked = asked.clone();
        let latencies = on_own_thread(move || one_page(address, asked, path)).await?;
        let latencies = latencies.with_context(|| format!("page: {name}"))?;
        let p95 = latencies.per_mille(950);
        let missed = if p95 > AIM_MS { "  MISSED" } else { "" };
        println!("{name:<28}{:>10.1}{p95:>10.1}{:>10.1}{missed}", latencies.per_mille(500), latencies.max());
        figures.push(json!({ "page": name, "times": latencies.json(), "is_within_aim": p95 <= AIM_MS }));
    }
    Ok(figures)
}

async fn one_page(address: SocketAddr, asked: Asked, path: &'static str) -> Result<Latencies> {
    let (mut connection, mut times) = (Connection::open(address).await?, Vec::new());
    for turn in 0..WARM_UP + TIMES {
        let took = open(&mut connection, &asked.request(path, turn)).await?;
        if turn >= WARM_UP {
            times.push(took);
        }
    }
    Latencies::new(times)
}

/// Ten people, each with one page after the other in front of them; and what that costs.
async fn people(database: &Database, address: SocketAddr, asked: &Asked, time: Duration) -> Result<Value> {
    sqlx::raw_sql("select pg_stat_statements_reset()").execute(&database.pool).await?;
    let started = Instant::now();
    let all = asked.clone();
    let times = on_own_thread(move || async move {
        let mut people = JoinSet::new();
        for person in 0..PEOPLE {
            people.spawn(look(address, all.clone(), person, started + time));
        }
        let mut times = Vec::new();
        while let Some(seen) = people.join_next().await {
            times.extend(seen??);
        }
        Ok(times)
    });
    let latencies = Latencies::new(times.await??)?;
    let seconds = started.elapsed().as_secs_f64();
    // Everything of the role: the pages, and what `ops` does by itself once a minute.
    let statements: Vec<(String, i64, f64)> = sqlx::query_as(
        "select left(regexp_replace(query, '\\s+', ' ', 'g'), 100), calls, total_exec_time
         from pg_stat_statements join pg_roles on pg_roles.oid = userid where rolname = $1 order by total_exec_time desc",
    )
    .bind(operations::ROLE)
    .fetch_all(&database.pool)
    .await?;
    let busy = statements.iter().map(|(_, _, ms)| ms).sum::<f64>() / 1e3;
    let of_a_core = busy / seconds;
    let missed = if of_a_core > AIM_OF_A_CORE { "  MISSED" } else { "" };
    println!(
        "\n{PEOPLE} people, a page each every {} s, for {seconds:.0} s: p95 {:.1} ms",
        LOOK.as_secs(),
        latencies.per_mille(950)
    );
    println!("database time {busy:.2} s, {:.2} % of a core, aim ≤ {} %{missed}", of_a_core * 1e2, AIM_OF_A_CORE * 1e2);
    let largest: Vec<_> = statements
        .iter()
        .take(15)
        .map(|(statement, calls, ms)| json!({ "statement": statement, "calls": calls, "total_ms": ms }))
        .collect();
    Ok(json!({
        "people": PEOPLE, "seconds_per_page": LOOK.as_secs(), "seconds": seconds, "times": latencies.json(),
        "database_seconds": busy, "of_a_core": of_a_core, "largest": largest,
    }))
}

async fn look(address: SocketAddr, asked: Asked, person: u64, until: Instant) -> Result<Vec<Duration>> {
    let (mut connection, mut times) = (Connection::open(address).await?, Vec::new());
    // They do not all look at the same page, nor at the same moment.
    let mut next = Instant::now() + LOOK.mul_f64(f64_of(person) / f64_of(PEOPLE));
    for turn in 0.. {
        tokio::time::sleep_until(next.into()).await;
        if next >= until {
            break;
        }
        let page = usize::try_from(person * 7 + turn)? % PAGES.len();
        times.push(open(&mut connection, &asked.request(PAGES[page].1, person * 1_000 + turn)).await?);
        next += LOOK;
    }
    Ok(times)
}

#[expect(clippy::cast_precision_loss, reason = "numbers of events and people stay far below 2^53")]
fn f64_of(number: u64) -> f64 {
    number as f64
}
