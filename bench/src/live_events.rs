//! Events as others get them: from the commit to an endpoint that a webhook is sent to, and to a thousand clients that listen.
//!
//! Postgres notes when each transaction is committed, just before it writes the log to the disk.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use messaging::TransportConfig;
use runtime::Clock;
use serde_json::json;
use standalone::Part;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::Plan;
use crate::load::{self, Latencies, Load, Pace};
use crate::report::{Figure, Row};
use crate::requests;
use crate::start_latency::commits;
use crate::system::System;

const CONNECTIONS: u32 = 4;
/// Orders per second while one endpoint gets a webhook of each.
const TO_WEBHOOK: f64 = 50.0;
/// Orders per second while each of a thousand listeners gets all of them: ten thousand events per second leave.
const TO_LISTENERS: f64 = 10.0;
const LISTENERS: u64 = 1_000;
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURE: Duration = Duration::from_secs(30);
/// Longest wait for the last events after the last command.
const ARRIVAL: Duration = Duration::from_secs(20);
const AIM_WEBHOOK_MS: f64 = 50.0;
/// Each event is written to a thousand connections, and both they and the server are on this machine.
const AIM_LISTENERS_MS: f64 = 250.0;

type Arrival = (Uuid, DateTime<Utc>);

/// When each event arrived, once per receiver.
#[derive(Debug, Clone, Default)]
struct Arrivals(Arc<Mutex<Vec<Arrival>>>);

impl Arrivals {
    fn add(&self, event_id: Uuid, arrived: DateTime<Utc>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((event_id, arrived));
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until this many have arrived.
    async fn wait_for(&self, count: usize) -> Result<()> {
        let until = Instant::now() + ARRIVAL;
        while self.count() < count && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
        }
        ensure!(self.count() == count, "{count} events were to arrive, {} did", self.count());
        Ok(())
    }

    /// From the commit to the arrival, of what was committed after the warm-up.
    fn after(&self, commits: &HashMap<Uuid, DateTime<Utc>>, warm_up: Duration) -> Result<Latencies> {
        let from = *commits.values().min().context("no event")? + warm_up;
        let arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = arrivals.iter().filter_map(|(id, arrived)| {
            let committed = commits.get(id).filter(|at| **at >= from)?;
            Some((*arrived - *committed).to_std().unwrap_or_default())
        });
        Latencies::new(times.collect())
    }
}

pub(crate) async fn measure(system: &mut System, plan: &Plan) -> Result<Vec<Row>> {
    system.note_commits(true).await?;
    let rows = both(system, plan).await;
    system.note_commits(false).await?;
    rows
}

async fn both(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let listeners = plan.share(LISTENERS);
    let webhook =
        arrivals(system, plan, TO_WEBHOOK, 1, async |address, arrivals| webhook(address, arrivals).await).await?;
    let live = async |address, arrivals: &Arrivals| listen(address, listeners, arrivals).await;
    let listened = arrivals(system, plan, TO_LISTENERS, listeners, live).await?;
    let figures = |latencies: &Latencies, aim: f64| {
        let p99 = Figure::new("p99", latencies.per_mille(990)).at_most(aim);
        vec![Figure::new("p50", latencies.per_mille(500)), p99, Figure::new("max", latencies.max())]
    };
    let what = |to: String, per_second| format!("commit → {to} at {per_second} orders/s");
    Ok(vec![
        Row::figures(
            what("receiver of a webhook".to_owned(), TO_WEBHOOK),
            "ms",
            figures(&webhook, AIM_WEBHOOK_MS),
            webhook.json(),
        ),
        Row::figures(
            what(format!("each of {listeners} listeners"), TO_LISTENERS),
            "ms",
            figures(&listened, AIM_LISTENERS_MS),
            listened.json(),
        ),
    ])
}

/// Places orders, each of whose events `receive` has so many receivers for.
async fn arrivals(
    system: &System,
    plan: &Plan,
    per_second: f64,
    receivers: u64,
    receive: impl AsyncFnOnce(SocketAddr, &Arrivals) -> Result<Receivers>,
) -> Result<Latencies> {
    let database = system.database("ours").await?;
    let parts = [Part::Command, Part::Relay, Part::Workers, Part::Query, Part::Operations];
    let mut options = system.options_without_effects(&database, &parts);
    options.transport = TransportConfig::default();
    options.workers.webhooks.webhook_allow_private = true;
    let seen = Arrivals::default();
    let (warm_up, measure) = if plan.quick { (plan.warm_up, plan.measure) } else { (WARM_UP, MEASURE) };
    let work = async |address| {
        let receiving = receive(address, &seen).await?;
        let load = Load { address, connections: CONNECTIONS, pace: Pace::Open { per_second }, warm_up, measure };
        let measured = load::run(load, requests::placing).await?;
        let waited = seen.wait_for(usize::try_from(measured.answered * receivers)?).await;
        drop(receiving);
        waited
    };
    System::run(options, work).await?;
    let commits = commits(&database).await?;
    system.drop(database).await?;
    seen.after(&commits, warm_up)
}

/// Receivers on a thread and a runtime of their own, which share no scheduler with the servers. They end when this is dropped.
struct Receivers {
    _stop: DropGuard,
}

impl Receivers {
    /// Starts them, and returns what they have prepared.
    async fn start<T, F>(prepare: impl FnOnce() -> F + Send + 'static) -> Result<(T, Self)>
    where
        T: Send + 'static,
        F: Future<Output = Result<(T, JoinSet<Result<()>>)>>,
    {
        let (ready, is_ready) = oneshot::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                match prepare().await {
                    Ok((prepared, _receiving)) => {
                        let _asked = ready.send(Ok(prepared));
                        stopped.cancelled().await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
            anyhow::Ok(())
        });
        let prepared = is_ready.await.context("the receivers have died")??;
        Ok((prepared, Self { _stop: stop.drop_guard() }))
    }
}

/// Registers an endpoint of our own for placed orders.
async fn webhook(address: SocketAddr, arrivals: &Arrivals) -> Result<Receivers> {
    let arrivals = arrivals.clone();
    let (url, receivers) = Receivers::start(async move || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hooks", listener.local_addr()?);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await?;
                connections.spawn(answer(stream, arrivals.clone()));
            }
        });
        Ok((url, tasks))
    })
    .await?;
    let body = json!({ "url": url, "event_types": ["order.created"], "reason": "bench" });
    load::ask(address, &requests::post_as_operator("ops/webhooks", &body), 201).await?;
    Ok(receivers)
}

/// Takes webhooks from one connection, one after the other.
async fn answer(mut stream: TcpStream, arrivals: Arrivals) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while stream.read_buf(&mut buffer).await? > 0 {
        let arrived = Clock::system().now();
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head])?;
        let header = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then(|| value.trim()))
        };
        let length: usize = header("content-length").context("a length")?.parse()?;
        if buffer.len() < head + 4 + length {
            continue;
        }
        arrivals.add(Uuid::parse_str(header("webhook-id").context("an id")?)?, arrived);
        buffer.drain(..head + 4 + length);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
    Ok(())
}

/// Opens streams of placed orders.
async fn listen(address: SocketAddr, listeners: u64, arrivals: &Arrivals) -> Result<Receivers> {
    let arrivals = arrivals.clone();
    let open = async move || {
        let mut tasks = JoinSet::new();
        for _ in 0..listeners {
            let (stream, buffer) = stream_of_events(address).await?;
            tasks.spawn(read_events(stream, buffer, arrivals.clone()));
        }
        Ok(((), tasks))
    };
    Ok(Receivers::start(open).await?.1)
}

async fn stream_of_events(address: SocketAddr) -> Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        "GET /api/v1/events?types=order.created HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::new();
    while !buffer.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = timeout(ARRIVAL, stream.read_buf(&mut buffer)).await.context("a stream is opened")??;
        ensure!(read > 0, "the server hung up");
    }
    ensure!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer));
    Ok((stream, buffer))
}

async fn read_events(mut stream: TcpStream, mut buffer: Vec<u8>, arrivals: Arrivals) -> Result<()> {
    while stream.read_buf(&mut buffer).await? > 0 {
        let arrived = Clock::system().now();
        while let Some(end) = buffer.windows(2).position(|two| two == b"\n\n") {
            if let Some(event_id) = event_id(&buffer[..end])? {
                arrivals.add(event_id, arrived);
            }
            buffer.drain(..end + 2);
        }
    }
    Ok(())
}

/// The id in the data of a server-sent event, which begins with it; `None` for a comment.
fn event_id(event: &[u8]) -> Result<Option<Uuid>> {
    let data = b"data: {\"id\":\"";
    let Some(at) = event.windows(data.len()).position(|window| window == data) else { return Ok(None) };
    let id = event.get(at + data.len()..at + data.len() + 36).context("an id")?;
    Ok(Some(Uuid::try_parse_ascii(id)?))
}
