//! What the reading commands print for people.

mod story;

use chrono::{DateTime, Utc};

use super::format::{Cell, Line, Page, Table, Tone, table};
use crate::format::{age, age_of, or_dash, short};
use crate::read::actions::OperatorAction;
use crate::read::investigations::Investigation;
use crate::read::jobs::Job;
use crate::read::queues::QueueStatus;
use crate::read::schedules::{ScheduleRun, ScheduleStatus};
use crate::read::show::{Event, Shown};
use crate::read::status::SystemStatus;
use crate::read::stuck::{Stuck, StuckEvent, StuckJob};

pub(super) use story::story;

pub(super) fn status(status: &SystemStatus) -> Page {
    let SystemStatus { at, relays, shards_free, outbox, queues, actions } = status;
    let relays = relays.iter().map(|relay| [relay.name.clone(), relay.shards.len().to_string()]);
    let mut page = Page::from(table(["relay", "shards"], relays));
    if *shards_free > 0 {
        let text = format!("{shards_free} of 16 shards are leased by no relay");
        page = page.with(Line::after(" ", None).text(&text, Some(Tone::Bad)));
    }
    let outbox = [
        outbox.pending.to_string().into(),
        age_of(*at, outbox.oldest_pending).into(),
        Cell::count(outbox.parked, Tone::Bad),
        outbox.published_per_minute.to_string().into(),
    ];
    page = page.with(table(["pending", "oldest", "parked", "published/min"], [outbox])).with(queue_table(*at, queues));
    page.extend((!actions.is_empty()).then(|| self::actions(actions)));
    page
}

fn queue_table(at: DateTime<Utc>, queues: &[QueueStatus]) -> Table {
    let header = ["queue", "ready", "oldest", "running", "in doubt", "dead", "blocked", "paused"];
    let rows = queues.iter().map(|queue| {
        let paused = queue.paused_at.map(|since| {
            let (by, why) = (queue.paused_by.as_deref(), queue.paused_reason.as_deref());
            format!("{} by {}: {}", age(at, since), by.unwrap_or_default(), why.unwrap_or_default())
        });
        let outage = queue.outage_since.map(|since| {
            let why = short(queue.outage_reason.as_deref().unwrap_or_default());
            let next = queue.next_probe_at.filter(|next| *next > at).map_or("now".to_owned(), |next| age(at, next));
            format!("{} by an outage, next try {next}: {why}", age(at, since))
        });
        [
            queue.name.clone().into(),
            queue.ready.to_string().into(),
            age_of(at, queue.oldest_ready).into(),
            queue.running.to_string().into(),
            Cell::count(queue.in_doubt, Tone::Doubtful),
            Cell::count(queue.dead, Tone::Bad),
            Cell::count(queue.blocked, Tone::Doubtful),
            Cell::maybe(paused.or(outage), Tone::Doubtful),
        ]
    });
    table(header, rows)
}

pub(super) fn actions(actions: &[OperatorAction]) -> Table {
    let header = ["action", "at", "by", "rows", "why"];
    let rows = actions.iter().map(|action| {
        let at = action.acted_at.format("%Y-%m-%d %H:%M:%S").to_string();
        [action.action.clone(), at, action.actor.clone(), action.rows_changed.to_string(), short(&action.reason)]
    });
    table(header, rows)
}

pub(super) fn schedules(at: DateTime<Utc>, schedules: &[ScheduleStatus]) -> Table {
    let header = ["schedule", "expression", "time zone", "next", "last", "status", "took", "leader"];
    let rows = schedules.iter().map(|schedule| {
        let run = schedule.last_run.as_ref();
        let took = run.and_then(|run| Some((run.finished_at? - run.started_at).as_seconds_f64()));
        [
            schedule.name.clone().into(),
            schedule.cron.clone().into(),
            schedule.timezone.clone().into(),
            Cell::state(schedule.next_due_at.map_or_else(|| "off".to_owned(), |next| age(at, next))),
            age_of(at, run.map(|run| run.due_at)).into(),
            Cell::state(or_dash(run.map(outcome))),
            or_dash(took.map(|seconds| format!("{seconds:.3} s"))).into(),
            or_dash(schedule.leader.clone()).into(),
        ]
    });
    table(header, rows)
}

/// How a run ended, in a few words.
fn outcome(run: &ScheduleRun) -> String {
    let error = run.error.as_deref().map(|error| format!(": {}", short(error)));
    let attempts = if run.attempt > 1 { format!(" at attempt {}", run.attempt) } else { String::new() };
    let missed = if run.missed > 0 { format!(", {} missed before", run.missed) } else { String::new() };
    format!("{}{attempts}{missed}{}", run.status, error.unwrap_or_default())
}

pub(super) fn stuck(report: &Stuck) -> Page {
    let Stuck { at, events_total, events, jobs_total, jobs, investigations } = report;
    let mut page = Page::default();
    if events.is_empty() && jobs.is_empty() {
        return page.with(Line::after("", None).text("nothing is stuck", Some(Tone::Good)));
    }
    if !events.is_empty() {
        page = more(page.with(stuck_events(*at, events)), *events_total, events.len());
    }
    if !jobs.is_empty() {
        page = more(page.with(stuck_jobs(*at, jobs)), *jobs_total, jobs.len());
    }
    page.extend((!investigations.is_empty()).then(|| self::investigations(*at, investigations)));
    page
}

fn stuck_events(at: DateTime<Utc>, events: &[StuckEvent]) -> Table {
    let header = ["event", "type", "age", "reason", "attempts", "next", "behind", "error"];
    let rows = events.iter().map(|event| {
        [
            event.event_id.to_string().into(),
            event.event_type.clone().into(),
            age(at, event.occurred_at).into(),
            Cell::state(event.reason.clone()),
            event.attempts.to_string().into(),
            age_of(at, event.next_attempt_at).into(),
            event.behind.to_string().into(),
            or_dash(event.last_error.as_deref().map(short)).into(),
        ]
    });
    table(header, rows)
}

fn stuck_jobs(at: DateTime<Utc>, jobs: &[StuckJob]) -> Table {
    let header = ["queue", "event", "type", "age", "reason", "attempts", "next", "behind", "error"];
    let rows = jobs.iter().map(|job| {
        [
            job.queue.clone().into(),
            job.event_id.to_string().into(),
            job.event_type.clone().into(),
            age(at, job.received_at).into(),
            Cell::state(job.reason.clone()),
            job.attempts.to_string().into(),
            age_of(at, job.next_attempt_at).into(),
            job.behind.to_string().into(),
            or_dash(job.last_error.as_deref().map(short)).into(),
        ]
    });
    table(header, rows)
}

fn investigations(at: DateTime<Utc>, investigations: &[Investigation]) -> Table {
    let header = ["looks into", "who", "since", "why"];
    let rows = investigations
        .iter()
        .map(|one| [one.event_id.to_string(), one.actor.clone(), age(at, one.began_at), short(&one.reason)]);
    table(header, rows)
}

fn more(page: Page, total: i64, shown: usize) -> Page {
    let more = total - i64::try_from(shown).unwrap_or(i64::MAX);
    if more > 0 { page.then(format!(" and {more} more")) } else { page }
}

pub(super) fn jobs(at: DateTime<Utc>, jobs: &[Job]) -> Table {
    let header = ["queue", "event", "type", "status", "age", "attempts", "next", "worker", "error"];
    let rows = jobs.iter().map(|job| {
        let waits = matches!(job.status.as_str(), "ready" | "in_doubt");
        [
            job.queue.clone().into(),
            job.event_id.to_string().into(),
            job.event_type.clone().into(),
            Cell::state(job.status.clone()),
            age(at, job.received_at).into(),
            job.attempts.to_string().into(),
            age_of(at, job.run_at.filter(|_| waits)).into(),
            or_dash(job.lease_owner.clone()).into(),
            or_dash(job.last_error.as_deref().map(short)).into(),
        ]
    });
    table(header, rows)
}

/// All details of a single event; of several events what distinguishes them.
pub(super) fn shown(shown: &Shown) -> Page {
    let mut page = match shown.events.as_slice() {
        [event] => Page::default().with(event_details(shown.at, event)),
        events => Page::from(event_table(shown.at, events)),
    };
    let of_all: Vec<Job> = shown.events.iter().flat_map(|event| event.jobs.clone()).collect();
    page.extend((!of_all.is_empty()).then(|| jobs(shown.at, &of_all)));
    page.extend((!shown.investigations.is_empty()).then(|| investigations(shown.at, &shown.investigations)));
    page.extend((!shown.actions.is_empty()).then(|| actions(&shown.actions)));
    if let [event] = shown.events.as_slice() {
        page = page.with(format!("{:#}", event.payload));
    }
    page
}

fn event_details(at: DateTime<Utc>, event: &Event) -> Vec<Line> {
    let about = format!("{} {}@{}", event.aggregate_type, event.aggregate_id, event.aggregate_version);
    let epoch = or_dash(event.relay_epoch.map(|epoch| epoch.to_string()));
    let lines = [
        ("event", event.event_id.to_string()),
        ("type", event.event_type.clone()),
        ("about", about),
        ("occurred", format!("{} ({})", event.occurred_at.to_rfc3339(), age(at, event.occurred_at))),
        ("state", state(event)),
        ("attempts", event.attempts.to_string()),
        ("next attempt", age_of(at, event.next_attempt_at)),
        ("last error", or_dash(event.last_error.clone())),
        ("position", event.position.to_string()),
        ("shard, epoch", format!("{}, {epoch}", event.shard)),
        ("relay", or_dash(event.relay.clone())),
        ("headers", event.headers.to_string()),
    ];
    let lines = lines.iter().flat_map(|(name, value)| {
        let tone = if *name == "state" { Tone::of(value) } else { None };
        let named = std::iter::once(*name).chain(std::iter::repeat(""));
        // An error may have several lines.
        let line = move |(name, text)| Line::after(&format!(" {name:<13} "), Some(Tone::Quiet)).text(text, tone);
        named.zip(value.lines()).map(line)
    });
    lines.collect()
}

fn event_table(at: DateTime<Utc>, events: &[Event]) -> Table {
    let header = ["version", "event", "type", "age", "state", "attempts"];
    let rows = events.iter().map(|event| {
        [
            event.aggregate_version.to_string().into(),
            event.event_id.to_string().into(),
            event.event_type.clone().into(),
            age(at, event.occurred_at).into(),
            Cell::state(state(event)),
            event.attempts.to_string().into(),
        ]
    });
    table(header, rows)
}

fn state(event: &Event) -> String {
    match (&event.parked_reason, &event.exception, event.published_at) {
        (Some(reason), ..) => format!("parked: {reason}"),
        (None, Some(exception), _) => exception.to_lowercase(),
        (None, None, Some(at)) => format!("published at {}", at.format("%Y-%m-%d %H:%M:%S%.3f")),
        (None, None, None) if event.published => "published".to_owned(),
        (None, None, None) => "pending".to_owned(),
    }
}

#[cfg(test)]
mod tests;
