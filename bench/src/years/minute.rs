//! One minute beside a source of events: everything that is measured in it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::statements;
use crate::figures::Figures;
use crate::histogram::Histogram;
use crate::operators::Operators;
use crate::sizes::database_bytes;
use crate::slice::jobs_done;
use crate::system::{Database, counter};

/// How often in a minute `doctor`, `status` and the questions of retention are asked.
const PROBES: u32 = 6;
/// The services' own histograms, and what they are called here.
const HISTOGRAMS: [(&str, &str); 3] = [
    ("outbox_batch_duration_seconds", "relay: whole tick"),
    ("inbox_delivery_seconds", "commit to inbox"),
    ("inbox_job_duration_seconds", "workers: job with its completion"),
];

/// What makes events during a minute.
pub(crate) trait Source {
    /// Forgets what was measured so far.
    ///
    /// # Errors
    /// The source has failed.
    fn clear(&self) -> Result<()>;

    /// What was measured since then.
    fn figures(&self, seconds: f64) -> Result<Figures>;
}

/// Measures minutes.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) database: &'a Database,
    pub(crate) operators: Operators,
    pub(crate) minute: Duration,
}

/// What the services of this process have counted so far.
struct Counters {
    published: u64,
    jobs: u64,
    histograms: Vec<Histogram>,
}

impl Counters {
    fn now() -> Result<Self> {
        Ok(Self {
            published: counter("outbox_published_total")?,
            jobs: jobs_done()?,
            histograms: HISTOGRAMS.iter().map(|(name, _)| Histogram::now(name)).collect::<Result<_>>()?,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn since(&self, earlier: &Self, seconds: f64) -> Figures {
        let mut figures = Figures::default();
        figures.note("events relayed /s", (self.published - earlier.published) as f64 / seconds);
        figures.note("jobs done /s", (self.jobs - earlier.jobs) as f64 / seconds);
        for ((_, name), (now, before)) in HISTOGRAMS.iter().zip(self.histograms.iter().zip(&earlier.histograms)) {
            let since = now.since(before);
            for (label, share) in [("p50", 0.5), ("p99", 0.99)] {
                if let Some(value) = since.quantile(share) {
                    figures.note(format!("{name} {label} ms"), value);
                }
            }
        }
        figures
    }
}

/// What operators and retention have asked in a minute.
#[derive(Default)]
struct Probes {
    doctor: Vec<f64>,
    status: Vec<f64>,
    retention: Vec<f64>,
    pending: Vec<f64>,
    ready: Vec<f64>,
    problems: BTreeSet<String>,
}

impl Watch<'_> {
    pub(crate) async fn minute(&self, source: &dyn Source) -> Result<Figures> {
        let pool = &self.database.pool;
        let since: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await?;
        source.clear()?;
        statements::reset(self.database).await?;
        let (before, started, mut probes) = (Counters::now()?, Instant::now(), Probes::default());
        for probe in 1..=PROBES {
            self.probe(&mut probes).await?;
            tokio::time::sleep_until((started + self.minute * probe / PROBES).into()).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        let mut figures = source.figures(seconds)?;
        figures.add(Counters::now()?.since(&before, seconds));
        let statements = statements::figures(self.database).await?;
        figures.add(probes.figures());
        self.note_retention_runs(since, &mut figures).await?;
        #[expect(clippy::cast_precision_loss, reason = "bytes stay far below 2^53")]
        let bytes = database_bytes(self.database).await? as f64;
        figures.note("databases MB", bytes / 1e6);
        figures.add(statements);
        Ok(figures)
    }

    async fn probe(&self, probes: &mut Probes) -> Result<()> {
        let (took, problems) = self.operators.doctor().await?;
        probes.doctor.push(took.as_secs_f64() * 1e3);
        probes.problems.extend(problems);
        let (took, lag) = self.operators.status().await?;
        probes.status.push(took.as_secs_f64() * 1e3);
        let counts = [(&mut probes.pending, lag.pending), (&mut probes.ready, lag.ready)];
        for (all, count) in counts {
            all.push(f64::from(i32::try_from(count).unwrap_or(i32::MAX)));
        }
        let started = Instant::now();
        sqlx::query(include_str!("../../sql/retention.sql")).fetch_all(&self.database.pool).await?;
        probes.retention.push(started.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }

    /// The runs of the relay's partition maintenance that have ended since then. With partitions of less than a day there is one
    /// each minute.
    async fn note_retention_runs(&self, since: DateTime<Utc>, figures: &mut Figures) -> Result<()> {
        let (runs, mean): (i64, Option<f64>) = sqlx::query_as(
            "select count(*), avg(extract(epoch from finished_at - started_at))::float8 * 1000
             from messaging.schedule_runs where name = 'partition_maintenance' and finished_at >= $1",
        )
        .bind(since)
        .fetch_one(&self.database.pool)
        .await?;
        if let Some(mean) = mean.filter(|_| runs > 0) {
            figures.note("retention: whole run mean ms", mean);
        }
        Ok(())
    }
}

impl Probes {
    fn figures(self) -> Figures {
        let mut figures = Figures::default();
        for (name, times) in [
            ("doctor", &self.doctor),
            ("status", &self.status),
            ("retention: what is unsettled, all partitions", &self.retention),
        ] {
            figures.note(format!("{name} mean ms"), crate::report::mean(times));
            figures.note(format!("{name} max ms"), times.iter().copied().fold(0.0, f64::max));
        }
        figures.note("events pending", crate::report::mean(&self.pending));
        figures.note("jobs ready", crate::report::mean(&self.ready));
        for problem in self.problems {
            println!("    doctor: {problem}");
        }
        figures
    }
}
