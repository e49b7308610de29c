//! One stretch of time beside running traffic: what customers, relay and workers did in it.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::load::Latencies;
use crate::system::{counter, counters};
use crate::traffic::Running;

#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) commands: Latencies,
    pub(crate) reads: Latencies,
    /// Reads that were refused because the read model was too far behind.
    pub(crate) refused: u64,
    pub(crate) commands_per_second: f64,
    pub(crate) published_per_second: f64,
    pub(crate) jobs_per_second: f64,
}

impl Slice {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(crate) async fn measure(traffic: &Running, lasts: Duration) -> Result<Self> {
        traffic.take()?;
        let (started, published, jobs) = (Instant::now(), counter("outbox_published_total")?, jobs_done()?);
        tokio::time::sleep(lasts).await;
        let tally = traffic.take()?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Self {
            commands_per_second: tally.commands.len() as f64 / seconds,
            published_per_second: (counter("outbox_published_total")? - published) as f64 / seconds,
            jobs_per_second: (jobs_done()? - jobs) as f64 / seconds,
            commands: Latencies::new(tally.commands)?,
            reads: Latencies::new(tally.reads)?,
            refused: tally.refused,
        })
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "commands_per_second": self.commands_per_second, "published_per_second": self.published_per_second,
            "jobs_per_second": self.jobs_per_second, "commands": self.commands.json(), "own_write_reads": self.reads.json(),
            "refused_reads": self.refused,
        })
    }
}

/// Jobs of all queues that workers of this process have done so far.
pub(crate) fn jobs_done() -> Result<u64> {
    counters("inbox_jobs_total", r#"outcome="done""#)
}
