//! Good traffic beside ten thousand connections that send half of a request and no more.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use standalone::Part;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::Plan;
use crate::load::{Pace, on_own_thread};
use crate::report::{Figure, Row, mean};
use crate::slice::Slice;
use crate::system::System;
use crate::traffic::{Traffic, Turn};

const SOCKETS: u64 = 10_000;
const CONNECTIONS: u32 = 64;
const PER_SECOND: f64 = 200.0;
/// Without and with the sockets, in turns: A B A B.
const ROUNDS: usize = 2;
const WARM_UP: Duration = Duration::from_secs(10);
const MEASURE: Duration = Duration::from_secs(60);
/// How long a client that was thrown out waits before it comes again. The first time the clients come one after the other within this time:
/// sockets that are idle are measured, not a storm of connections.
const AGAIN: Duration = Duration::from_secs(10);
const HALF: &[u8] = b"POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Slow: ";
const AIM_RATIO: f64 = 2.0;
const AIM_MIB: f64 = 256.0;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let database = system.database("ours").await?;
    database.seed_orders(&sample, plan.orders).await?;
    database.settle().await?;
    let options = system.options_without_effects(&database, &[Part::Command, Part::Relay, Part::Query]);
    let (without, with, memory) = System::run(options, async |address| turns(address, plan).await).await?;
    system.drop(database).await?;

    let at =
        |slices: &[Slice], share| mean(&slices.iter().map(|slice| slice.commands.per_mille(share)).collect::<Vec<_>>());
    let sockets = plan.share(SOCKETS);
    let (p50, p99) = (at(&without, 500), at(&without, 990));
    let (slow_p50, slow_p99) = (at(&with, 500), at(&with, 990));
    let times = vec![
        Figure::new("p50", p50),
        Figure::new("p99", p99),
        Figure::new("p50 beside them", slow_p50),
        Figure::new("p99 beside them", slow_p99),
    ];
    let ratios = vec![Figure::new("p50", slow_p50 / p50), Figure::new("p99", slow_p99 / p99).at_most(AIM_RATIO)];
    let memory = vec![Figure::new("more memory", memory).at_most(AIM_MIB)];
    let json = |slices: &[Slice]| slices.iter().map(Slice::json).collect::<Vec<_>>();
    let details = json!({ "without": json(&without), "beside_slow_sockets": json(&with) });
    let what = format!("placing {PER_SECOND} orders/s beside {sockets} slow sockets");
    Ok(vec![
        Row::figures(what.clone(), "ms", times, details),
        Row::figures(format!("{what}, against without"), "×", ratios, json!({})),
        Row::figures(format!("{what}: server and slow clients, one process"), "MiB", memory, json!({})),
    ])
}

async fn turns(address: SocketAddr, plan: &Plan) -> Result<(Vec<Slice>, Vec<Slice>, f64)> {
    let lasts = if plan.quick { plan.measure } else { MEASURE };
    let traffic = Traffic::new(address, CONNECTIONS, Pace::Open { per_second: PER_SECOND }, Turn::OwnWrite).start();
    tokio::time::sleep(if plan.quick { plan.warm_up } else { WARM_UP }).await;
    let (mut without, mut with, mut memory) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..ROUNDS {
        without.push(Slice::measure(&traffic, lasts).await?);
        let before = resident_mib()?;
        let slow = Slow::start(address, plan.share(SOCKETS));
        tokio::time::sleep(if plan.quick { plan.warm_up } else { WARM_UP }).await;
        with.push(Slice::measure(&traffic, lasts).await?);
        memory = f64::max(memory, resident_mib()? - before);
        slow.stop().await?;
    }
    traffic.stop().await?;
    Ok((without, with, memory))
}

/// The memory of this process.
fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Clients that never finish a request.
struct Slow {
    stop: CancellationToken,
    clients: JoinHandle<Result<()>>,
}

impl Slow {
    fn start(address: SocketAddr, sockets: u64) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let clients = on_own_thread(move || async move {
            let mut clients = JoinSet::new();
            let sockets = u32::try_from(sockets)?;
            for place in 0..sockets {
                let comes = AGAIN * place / sockets;
                clients.spawn(stopped.clone().run_until_cancelled_owned(talk_slowly(address, comes)));
            }
            while clients.join_next().await.is_some() {}
            Ok(())
        });
        Self { stop, clients }
    }

    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.clients.await?
    }
}

/// Comes after a while, sends half of a head, waits until the server has had enough, and comes again.
async fn talk_slowly(address: SocketAddr, comes: Duration) {
    tokio::time::sleep(comes).await;
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await
            && stream.write_all(HALF).await.is_ok()
        {
            // What the server says does not matter, only that it hangs up.
            let _ = stream.read(&mut [0; 256]).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
