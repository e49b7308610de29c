//! What is measured while a tenth of the orders live.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figures::Figures;
use crate::load::Latencies;
use crate::operators::Lag;
use crate::report::mean;
use crate::sizes::{TableBytes, database_bytes, log_bytes};
use crate::system::Database;
use crate::traffic::Tally;

/// What is printed after each tenth.
pub(super) const SHOWN: [&str; 9] = [
    "lives /s",
    "command p50 ms",
    "own-write read p50 ms",
    "own-write read p99 ms",
    "relay lag max s",
    "inbox lag max s",
    "messaging MB",
    "databases MB",
    "log kB/life",
];

#[derive(Debug)]
pub(super) struct Tenth {
    started: Instant,
    log: i64,
    tally: Tally,
    lags: Vec<Lag>,
    held_back: Duration,
}

impl Tenth {
    pub(super) async fn start(database: &Database) -> Result<Self> {
        Ok(Self {
            started: Instant::now(),
            log: log_bytes(database).await?,
            tally: Tally::default(),
            lags: Vec::new(),
            held_back: Duration::ZERO,
        })
    }

    pub(super) fn count(&mut self, tally: Tally) {
        self.tally.commands.extend(tally.commands);
        self.tally.reads.extend(tally.reads);
        self.tally.refused += tally.refused;
        self.tally.orders += tally.orders;
    }

    pub(super) fn lag(&mut self, lag: Lag) {
        self.lags.push(lag);
    }

    pub(super) fn held_back(&mut self, is_held_back: bool, during: Duration) {
        if is_held_back {
            self.held_back += during;
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts and bytes stay far below 2^53")]
    pub(super) async fn end(self, database: &Database, commands_per_life: u64) -> Result<Figures> {
        let (seconds, mut figures) = (self.started.elapsed().as_secs_f64(), Figures::default());
        let lives = self.tally.commands.len() as f64 / commands_per_life as f64;
        figures.note("lives /s", lives / seconds);
        figures.note("held back s", self.held_back.as_secs_f64());
        figures.note("refused reads", self.tally.refused as f64);
        for (name, times) in [("command", self.tally.commands), ("own-write read", self.tally.reads)] {
            let latencies = Latencies::new(times)?;
            figures.note(format!("{name} p50 ms"), latencies.per_mille(500));
            figures.note(format!("{name} p99 ms"), latencies.per_mille(990));
        }
        for (name, of) in
            [("relay lag", (|lag| lag.relay_seconds) as fn(&Lag) -> f64), ("inbox lag", |lag| lag.inbox_seconds)]
        {
            let all: Vec<f64> = self.lags.iter().map(of).collect();
            if !all.is_empty() {
                figures.note(format!("{name} mean s"), mean(&all));
                figures.note(format!("{name} max s"), all.iter().copied().fold(0.0, f64::max));
            }
        }
        let tables = TableBytes::now(database).await?;
        figures.note("messaging MB", tables.messaging as f64 / 1e6);
        figures.note("command MB", tables.command as f64 / 1e6);
        figures.note("work MB", tables.work as f64 / 1e6);
        figures.note("read MB", tables.read as f64 / 1e6);
        figures.note("databases MB", database_bytes(database).await? as f64 / 1e6);
        figures.note("log kB/life", (log_bytes(database).await? - self.log) as f64 / 1e3 / lives);
        Ok(figures)
    }
}
