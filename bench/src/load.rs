//! A lean load generator: it shares the cores with the server under test, and stops at the first unexpected status.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::Plan;
use crate::client::Connection;

/// Writes the next request of a connection and returns the expected status; `None` when no request is left.
pub(crate) type Script = Box<dyn FnMut(&mut Vec<u8>) -> Option<u16> + Send>;

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Each connection sends its next request as soon as it has the response.
    Closed,
    /// Requests per second over all connections, independent of the responses. The latency of a late request counts from
    /// when it was due (Tene, "How not to measure latency").
    Open { per_second: f64 },
}

/// The target, the schedule and the number of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) connections: u32,
    pub(crate) pace: Pace,
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
}

impl Load {
    /// Each connection sends its next request when it has the answer to the last.
    pub(crate) fn closed(address: SocketAddr, connections: u32, plan: &Plan) -> Self {
        Self { address, connections, pace: Pace::Closed, warm_up: plan.warm_up, measure: plan.measure }
    }
}

/// The results.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Successful requests, including those of the warm-up.
    pub(crate) answered: u64,
    pub(crate) per_second: f64,
    /// Latencies: from when a request was due to the end of its response.
    pub(crate) latencies: Latencies,
}

/// Sorted latencies.
#[derive(Debug)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn new(mut times: Vec<Duration>) -> Result<Self> {
        ensure!(!times.is_empty(), "nothing was measured; a load whose requests run out needs more rows to begin with");
        times.sort_unstable();
        Ok(Self(times))
    }

    /// The smallest latency in milliseconds that this many per mille do not exceed.
    pub(crate) fn per_mille(&self, share: usize) -> f64 {
        let rank = (self.0.len() * share).div_ceil(1_000).max(1);
        self.0[rank - 1].as_secs_f64() * 1e3
    }

    pub(crate) fn max(&self) -> f64 {
        self.per_mille(1_000)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "count": self.0.len(), "p50_ms": self.per_mille(500), "p95_ms": self.per_mille(950),
            "p99_ms": self.per_mille(990), "max_ms": self.max(),
        })
    }
}

/// Sends the requests; `script` makes the script of each connection.
pub(crate) async fn run(load: Load, script: impl Fn() -> Script) -> Result<Measured> {
    let scripts: Vec<_> = (0..load.connections).map(|_| script()).collect();
    on_own_thread(move || drive(load, scripts)).await?
}

/// Runs a load generator on a thread and a runtime of its own.
pub(crate) fn on_own_thread<T: Send + 'static, F: Future<Output = Result<T>>>(
    generator: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle<Result<T>> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(generator())
    })
}

/// Sends one request and returns the body of its response, which must have the expected status.
pub(crate) async fn ask(address: SocketAddr, request: &[u8], expected: u16) -> Result<Vec<u8>> {
    Ok(Connection::open(address).await?.exchange(request, expected).await?.to_vec())
}

/// The measured time: a request counts when it starts within. Requests in flight at the start make up for those at the end.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Instant,
    until: Instant,
}

async fn drive(load: Load, scripts: Vec<Script>) -> Result<Measured> {
    let mut connections = Vec::with_capacity(scripts.len());
    for script in scripts {
        connections.push((Connection::open(load.address).await?, script));
    }
    let start = Instant::now();
    let window = Window { from: start + load.warm_up, until: start + load.warm_up + load.measure };
    let mut talks = JoinSet::new();
    for (number, (connection, script)) in (0..).zip(connections) {
        let schedule = Schedule::new(load.pace, load.connections, number, start);
        talks.spawn(converse(connection, script, schedule, window));
    }
    let mut all = Talk::default();
    while let Some(talk) = talks.join_next().await {
        all.add(talk??);
    }
    // When the requests run out, the measured time ends early too.
    let end = all.ran_dry.unwrap_or(window.until);
    let seconds = end.saturating_duration_since(window.from).as_secs_f64();
    let latencies = Latencies::new(all.latencies)?;
    Ok(Measured {
        answered: all.answered,
        per_second: f64::from(u32::try_from(latencies.0.len())?) / seconds,
        latencies,
    })
}

/// The results of one connection.
#[derive(Debug, Default)]
struct Talk {
    answered: u64,
    latencies: Vec<Duration>,
    /// When its requests ran out.
    ran_dry: Option<Instant>,
}

impl Talk {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.latencies.extend(other.latencies);
        self.ran_dry = self.ran_dry.max(other.ran_dry);
    }
}

async fn converse(
    mut connection: Connection,
    mut script: Script,
    mut schedule: Schedule,
    window: Window,
) -> Result<Talk> {
    let mut talk = Talk::default();
    let mut request = Vec::with_capacity(4_096);
    loop {
        let due = schedule.next().await;
        if due >= window.until {
            return Ok(talk);
        }
        request.clear();
        let Some(expected) = script(&mut request) else {
            talk.ran_dry = Some(Instant::now());
            return Ok(talk);
        };
        connection.exchange(&request, expected).await?;
        talk.answered += 1;
        if due >= window.from {
            talk.latencies.push(due.elapsed());
        }
    }
}

/// When the next request of a connection is due.
#[derive(Debug)]
pub(crate) struct Schedule {
    next: Instant,
    every: Option<Duration>,
}

impl Schedule {
    /// For one of so many connections.
    pub(crate) fn new(pace: Pace, connections: u32, connection: u32, start: Instant) -> Self {
        match pace {
            Pace::Closed => Self { next: start, every: None },
            Pace::Open { per_second } => Self {
                next: start + Duration::from_secs_f64(f64::from(connection) / per_second),
                every: Some(Duration::from_secs_f64(f64::from(connections) / per_second)),
            },
        }
    }

    pub(crate) async fn next(&mut self) -> Instant {
        let Some(every) = self.every else { return Instant::now() };
        let due = self.next;
        self.next += every;
        if Instant::now() >= due {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        // The timer is up to a millisecond late; the server's latency must not contain that.
        Instant::now()
    }
}
