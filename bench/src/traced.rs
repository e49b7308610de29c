//! What recorded traces cost: transitions whose spans are exported, against the same whose are not. One server answers both; the caller's
//! `traceparent` decides, as it does in production.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Result, ensure};
use runtime::config::{TraceSampler, TracesConfig};
use standalone::Part;

use crate::Plan;
use crate::report::Row;
use crate::requests::{self, Stock};
use crate::system::System;
use crate::turns::{self, Server, Turns};

const CONNECTIONS: u32 = 64;
const AIM: f64 = 0.98;
/// Its last two digits say whether the trace is recorded.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

/// Exports recorded traces to a collector in this process, and records none but those that a caller asks for: the other measurements
/// record nothing.
///
/// # Errors
/// When there is no port for the collector.
pub(crate) fn export() -> Result<TracesConfig> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = Some(format!("http://{}", listener.local_addr()?));
    thread::Builder::new().name("collector".to_owned()).spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || swallow(&connection));
        }
    })?;
    Ok(TracesConfig { endpoint, sampler: TraceSampler::ParentBasedAlwaysOff, ..TracesConfig::default() })
}

/// Answers each request with 200, as cheaply as can be: a real collector runs on another machine.
fn swallow(connection: &TcpStream) -> Result<()> {
    let mut read = BufReader::new(connection);
    let mut answer = connection;
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            ensure!(read.read_line(&mut line)? > 0, "closed");
            let Some((name, value)) = line.split_once(':') else {
                if line.trim().is_empty() {
                    break;
                }
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        std::io::copy(&mut Read::by_ref(&mut read).take(length), &mut std::io::sink())?;
        answer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let database = system.database("ours").await?;
    let orders = turns::orders(plan);
    database.seed_orders(&sample, orders).await?;
    database.settle().await?;
    let stock = Stock::new(1, orders);
    let row = System::run(system.options(&database, &[Part::Command]), async |address| {
        let turns = Turns { ours: address, limit: address, connections: CONNECTIONS };
        let what = format!("transitions whose traces are exported, {CONNECTIONS} connections");
        let script = |server| {
            let recorded = if server == Server::Ours { "01" } else { "00" };
            requests::with_header(requests::walking(&stock), &format!("traceparent: {TRACE}-{recorded}"))
        };
        turns.measure(plan, what, ("the same with traces that are not recorded", AIM), script).await
    })
    .await?;
    system.drop(database).await?;
    Ok(vec![row])
}
