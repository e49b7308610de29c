//! `ops status | stuck | show | jobs | acts | schedules`.

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use contracts::Queue;
use uuid::Uuid;

use super::Common;
use super::table::{age, age_of, short, table};
use crate::acts::{self, Act};
use crate::jobs::{self, Filter, Job, JobStatus};
use crate::queues::QueueStatus;
use crate::schedules::{self, ScheduleRun, ScheduleStatus};
use crate::show::{self, Event, Shown};
use crate::status::{self, SystemStatus};
use crate::stuck;

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub struct Stuck {
    #[command(flatten)]
    common: Common,
    /// Seconds after which something that merely waits counts as stuck.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = runtime::config::seconds)]
    older_than: Duration,
    /// Lines of each kind, at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    common: Common,
    /// Id of an event, order, return, document or refund.
    id: Uuid,
}

#[derive(Debug, Args)]
pub struct Jobs {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    queue: Option<Queue>,
    /// May be given several times; by default dead and `in_doubt`.
    #[arg(long = "status")]
    statuses: Vec<JobStatus>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

#[derive(Debug, Args)]
pub struct Acts {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

#[derive(Debug, Args)]
pub struct Schedules {
    #[command(flatten)]
    common: Common,
}

impl Status {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = status::status(&self.common.connect().await?).await?;
        self.common.print(&report, show_status)
    }
}

impl Stuck {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = stuck::stuck(&self.common.connect().await?, self.older_than, self.limit).await?;
        self.common.print(&report, show_stuck)
    }
}

impl Show {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = show::show(&self.common.connect().await?, self.id).await?;
        self.common.print(&report, show_events)
    }
}

impl Jobs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let filter = Filter { queue: self.queue, statuses: self.statuses, limit: self.limit };
        let report = jobs::list(&self.common.connect().await?, &filter).await?;
        self.common.print(&report, |report| match report.jobs.as_slice() {
            [] => "no such jobs".to_owned(),
            jobs => show_jobs(report.at, jobs),
        })
    }
}

impl Acts {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = acts::list(&self.common.connect().await?, self.limit).await?;
        self.common.print(&report, |report| match report.as_slice() {
            [] => "no acts".to_owned(),
            acts => show_acts(acts),
        })
    }
}

impl Schedules {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = schedules::list(&self.common.connect().await?).await?;
        self.common.print(&report, |report| match report.schedules.as_slice() {
            [] => "no schedules".to_owned(),
            schedules => show_schedules(report.at, schedules),
        })
    }
}

fn show_status(status: &SystemStatus) -> String {
    let SystemStatus { at, relays, shards_free, outbox, queues, acts } = status;
    let relays = relays.iter().map(|relay| [relay.name.clone(), relay.shards.len().to_string()]);
    let mut parts = vec![table(["relay", "shards"], relays)];
    if *shards_free > 0 {
        parts.push(format!(" {shards_free} of 16 shards are held by no relay"));
    }
    let outbox = [
        outbox.pending.to_string(),
        age_of(*at, outbox.oldest_pending),
        outbox.parked.to_string(),
        outbox.published_per_minute.to_string(),
    ];
    parts.push(table(["pending", "oldest", "parked", "published/min"], [outbox]));
    parts.push(show_queues(*at, queues));
    if !acts.is_empty() {
        parts.push(show_acts(acts));
    }
    parts.join("\n\n")
}

fn show_queues(at: DateTime<Utc>, queues: &[QueueStatus]) -> String {
    let header = ["queue", "ready", "oldest", "running", "in doubt", "dead", "paused"];
    let rows = queues.iter().map(|queue| {
        let paused = queue.paused_at.map(|since| {
            let (by, why) = (queue.paused_by.as_deref(), queue.paused_reason.as_deref());
            format!("{} by {}: {}", age(at, since), by.unwrap_or_default(), why.unwrap_or_default())
        });
        [
            queue.name.clone(),
            queue.ready.to_string(),
            age_of(at, queue.oldest_ready),
            queue.running.to_string(),
            queue.in_doubt.to_string(),
            queue.dead.to_string(),
            paused.unwrap_or_else(|| "-".to_owned()),
        ]
    });
    table(header, rows)
}

fn show_acts(acts: &[Act]) -> String {
    let header = ["act", "at", "by", "rows", "why"];
    let rows = acts.iter().map(|act| {
        let at = act.acted_at.format("%Y-%m-%d %H:%M:%S").to_string();
        [act.act.clone(), at, act.actor.clone(), act.rows_changed.to_string(), short(&act.reason)]
    });
    table(header, rows)
}

fn show_schedules(at: DateTime<Utc>, schedules: &[ScheduleStatus]) -> String {
    let header = ["schedule", "expression", "time zone", "next", "last", "status", "took", "leader"];
    let none = || "-".to_owned();
    let rows = schedules.iter().map(|schedule| {
        let run = schedule.last_run.as_ref();
        let took = run.and_then(|run| Some((run.finished_at? - run.started_at).as_seconds_f64()));
        [
            schedule.name.clone(),
            schedule.cron.clone(),
            schedule.timezone.clone(),
            schedule.next_due_at.map_or_else(|| "off".to_owned(), |next| age(at, next)),
            age_of(at, run.map(|run| run.due_at)),
            run.map_or_else(none, became),
            took.map_or_else(none, |seconds| format!("{seconds:.3} s")),
            schedule.leader.clone().unwrap_or_else(none),
        ]
    });
    table(header, rows)
}

/// What became of a run, in a few words.
fn became(run: &ScheduleRun) -> String {
    let error = run.error.as_deref().map(|error| format!(": {}", short(error)));
    let attempts = if run.attempt > 1 { format!(" at attempt {}", run.attempt) } else { String::new() };
    let missed = if run.missed > 0 { format!(", {} missed before", run.missed) } else { String::new() };
    format!("{}{attempts}{missed}{}", run.status, error.unwrap_or_default())
}

fn show_stuck(report: &stuck::Stuck) -> String {
    let stuck::Stuck { at, events_total, events, jobs_total, jobs } = report;
    if events.is_empty() && jobs.is_empty() {
        return "nothing is stuck".to_owned();
    }
    let mut parts = Vec::new();
    if !events.is_empty() {
        let header = ["event", "type", "age", "reason", "attempts", "next", "behind", "error"];
        let rows = events.iter().map(|event| {
            [
                event.event_id.to_string(),
                event.event_type.clone(),
                age(*at, event.occurred_at),
                event.reason.clone(),
                event.attempts.to_string(),
                age_of(*at, event.next_attempt_at),
                event.behind.to_string(),
                short(event.last_error.as_deref().unwrap_or("-")),
            ]
        });
        parts.push(table(header, rows) + &more(*events_total, events.len()));
    }
    if !jobs.is_empty() {
        let header = ["queue", "event", "type", "age", "reason", "attempts", "next", "error"];
        let rows = jobs.iter().map(|job| {
            [
                job.queue.clone(),
                job.event_id.to_string(),
                job.event_type.clone(),
                age(*at, job.received_at),
                job.reason.clone(),
                job.attempts.to_string(),
                age_of(*at, job.next_attempt_at),
                short(job.last_error.as_deref().unwrap_or("-")),
            ]
        });
        parts.push(table(header, rows) + &more(*jobs_total, jobs.len()));
    }
    parts.join("\n\n")
}

fn more(total: i64, shown: usize) -> String {
    let more = total - i64::try_from(shown).unwrap_or(i64::MAX);
    if more > 0 { format!("\n and {more} more") } else { String::new() }
}

fn show_jobs(at: DateTime<Utc>, jobs: &[Job]) -> String {
    let header = ["queue", "event", "type", "status", "age", "attempts", "next", "worker", "error"];
    let rows = jobs.iter().map(|job| {
        let waits = matches!(job.status.as_str(), "ready" | "in_doubt");
        [
            job.queue.clone(),
            job.event_id.to_string(),
            job.event_type.clone(),
            job.status.clone(),
            age(at, job.received_at),
            job.attempts.to_string(),
            if waits { age(at, job.run_at) } else { "-".to_owned() },
            job.lease_owner.clone().unwrap_or_else(|| "-".to_owned()),
            short(job.last_error.as_deref().unwrap_or("-")),
        ]
    });
    table(header, rows)
}

/// Of one event everything; of several what tells them apart.
fn show_events(shown: &Shown) -> String {
    let mut parts = match shown.events.as_slice() {
        [event] => vec![show_event(shown.at, event)],
        events => vec![show_line(shown.at, events)],
    };
    let jobs: Vec<Job> = shown.events.iter().flat_map(|event| event.jobs.clone()).collect();
    if !jobs.is_empty() {
        parts.push(show_jobs(shown.at, &jobs));
    }
    if !shown.acts.is_empty() {
        parts.push(show_acts(&shown.acts));
    }
    if let [event] = shown.events.as_slice() {
        parts.push(format!("{:#}", event.payload));
    }
    parts.join("\n\n")
}

fn show_event(at: DateTime<Utc>, event: &Event) -> String {
    let about = format!("{} {}@{}", event.aggregate_type, event.aggregate_id, event.aggregate_version);
    let lines = [
        ("event", event.event_id.to_string()),
        ("type", event.event_type.clone()),
        ("about", about),
        ("happened", format!("{} ({})", event.occurred_at.to_rfc3339(), age(at, event.occurred_at))),
        ("state", state(event)),
        ("attempts", event.attempts.to_string()),
        ("next attempt", age_of(at, event.next_attempt_at)),
        ("last error", event.last_error.clone().unwrap_or_else(|| "-".to_owned())),
        (
            "shard, epoch",
            format!("{}, {}", event.shard, event.relay_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string())),
        ),
        ("headers", event.headers.to_string()),
    ];
    let lines: Vec<_> = lines.iter().map(|(name, value)| format!(" {name:<13} {value}")).collect();
    lines.join("\n")
}

fn show_line(at: DateTime<Utc>, events: &[Event]) -> String {
    let header = ["version", "event", "type", "age", "state", "attempts"];
    let rows = events.iter().map(|event| {
        [
            event.aggregate_version.to_string(),
            event.event_id.to_string(),
            event.event_type.clone(),
            age(at, event.occurred_at),
            state(event),
            event.attempts.to_string(),
        ]
    });
    table(header, rows)
}

fn state(event: &Event) -> String {
    match (&event.parked_reason, event.published_at) {
        (Some(reason), _) => format!("parked: {reason}"),
        (None, Some(at)) => format!("published at {}", at.format("%Y-%m-%d %H:%M:%S%.3f")),
        (None, None) => "pending".to_owned(),
    }
}
