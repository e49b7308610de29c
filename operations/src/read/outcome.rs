//! What came of an operator's act: how its events and jobs stand now.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::actions::{self, OperatorAction};
use super::bulk::BulkAct;
use super::jobs::{self, Job};
use super::schedules::{self, ScheduleRun};
use super::show::{self, Event};
use crate::OperationError;

/// Events that are looked at, at most.
const MOST: usize = 1_000;
/// An act counts as under way for so long, at most.
const UNDER_WAY: TimeDelta = TimeDelta::minutes(2);

/// An act, and what came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The database's clock.
    pub at: DateTime<Utc>,
    /// With the rows and the events of all its batches.
    pub action: OperatorAction,
    /// As `3 replayed: 2 delivered, 1 parked again (UNROUTABLE).`
    pub sentence: String,
    pub lines: Vec<Line>,
    /// Something may still change by itself.
    pub is_under_way: bool,
}

/// An event, or its job in a queue, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub event_id: Uuid,
    /// `None`: the event itself.
    pub queue: Option<String>,
    /// As `delivered`, `parked again`, `done`, `dead again`.
    pub state: String,
    /// Since when, where that is known and after the act.
    pub at: Option<DateTime<Utc>>,
    pub error: Option<String>,
    is_final: bool,
}

/// What came of the act with this number. `None`: there is none.
pub async fn of(pool: &PgPool, id: i64) -> Result<Option<Outcome>, OperationError> {
    of_batches(pool, actions::with_its_batches(pool, id).await?).await
}

/// What came of the first batches of a bulk act. `None`: it has done none.
pub async fn of_bulk(pool: &PgPool, act: &BulkAct) -> Result<Option<Outcome>, OperationError> {
    of_batches(pool, actions::of_bulk(pool, act.id, act.created_at).await?).await
}

async fn of_batches(pool: &PgPool, batches: Vec<OperatorAction>) -> Result<Option<Outcome>, OperationError> {
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    let mut ids: Vec<Uuid> = batches.iter().flat_map(event_ids).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(MOST);
    let touched = Touched::by(&batches);
    let rows_changed = batches.iter().map(|batch| batch.rows_changed).sum();
    let Some(action) = batches.into_iter().next() else { return Ok(None) };
    let action = OperatorAction { rows_changed, ..action };
    let lines = match &*action.action {
        "REPLAY" | "SKIP" => show::of_ids(pool, &ids).await?.into_iter().map(|event| of_event(at, event)).collect(),
        "RETRY" | "DISCARD" | "RELEASE" => {
            let jobs = jobs::of_events(pool, &ids).await?.into_iter();
            let jobs = jobs.filter(|job| touched.has_job(job, action.acted_at));
            let mut lines: Vec<_> = jobs.map(|job| of_job(action.acted_at, job)).collect();
            if touched.has_outbox() {
                lines.extend(show::of_ids(pool, &ids).await?.into_iter().map(|event| of_event(at, event)));
            }
            lines
        }
        _ => Vec::new(),
    };
    let is_recent = at - action.acted_at < UNDER_WAY;
    let (sentence, is_final) = match &*action.action {
        "RUN_SCHEDULE" => of_schedule(pool, &action.target).await?,
        name => (sentence(name, &lines), lines.iter().all(|line: &Line| line.is_final)),
    };
    Ok(Some(Outcome { at, action, sentence, lines, is_under_way: is_recent && !is_final }))
}

/// What came of a run that was asked for, and whether it is over.
async fn of_schedule(pool: &PgPool, target: &Value) -> Result<(String, bool), OperationError> {
    let name = target["schedule"].as_str().unwrap_or_default();
    let due_at = target["due_at"].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok()).unwrap_or_default();
    Ok(told_of_run(name, schedules::run_since(pool, name, due_at).await?.as_ref()))
}

fn told_of_run(name: &str, run: Option<&ScheduleRun>) -> (String, bool) {
    let Some(run) = run else {
        let sentence = format!("{name} has not started yet. Without a process that leads it, it runs when one starts.");
        return (sentence, false);
    };
    let error = run.error.as_deref().unwrap_or_default();
    match (&*run.status, &run.result) {
        ("done", Some(result)) => (format!("{name} has run: {result}"), true),
        ("done", None) => (format!("{name} has run."), true),
        ("failed", _) => (format!("{name} has failed for good: {error}"), true),
        ("waiting", _) => (format!("{name} has failed at attempt {}, and tries again: {error}", run.attempt), false),
        _ => (format!("{name} is running, at attempt {}.", run.attempt), false),
    }
}

fn event_ids(action: &OperatorAction) -> Vec<Uuid> {
    let ids = action.target["event_ids"].as_array().into_iter().flatten();
    ids.filter_map(|id| id.as_str()?.parse().ok()).collect()
}

/// The event and the queue of each job that an act has changed. The outbox is called `outbox` among them.
#[derive(Debug)]
struct Touched(BTreeSet<(Uuid, String)>);

impl Touched {
    /// A discard records its queues, a release where it released something, and a retry of one queue that queue.
    fn by(batches: &[OperatorAction]) -> Self {
        let mut touched = BTreeSet::new();
        for batch in batches {
            let target = &batch.target;
            let lists = [&target["queues"], &target["released"]].into_iter().filter_map(Value::as_array).flatten();
            let places: Vec<&str> = lists.chain([&target["selection"]["queue"]]).filter_map(Value::as_str).collect();
            for id in event_ids(batch) {
                touched.extend(places.iter().map(|place| (id, (*place).to_owned())));
            }
        }
        Self(touched)
    }

    /// Whether the act has changed this job. A retry of events in all queues does not say where: those are meant that had not ended.
    fn has_job(&self, job: &Job, acted_at: DateTime<Utc>) -> bool {
        if self.0.is_empty() {
            return job.finished_at.is_none_or(|at| at >= acted_at);
        }
        self.0.contains(&(job.event_id, job.queue.clone()))
    }

    fn has_outbox(&self) -> bool {
        self.0.iter().any(|(_, place)| place == "outbox")
    }
}

fn of_event(now: DateTime<Utc>, event: Event) -> Line {
    let due = event.next_attempt_at.is_none_or(|at| at <= now);
    let (state, is_final) = match event.exception.as_deref() {
        None if event.published => ("delivered".to_owned(), true),
        None => ("pending".to_owned(), false),
        Some("SKIPPED") => ("skipped".to_owned(), true),
        Some("PARKED") => (format!("parked again ({})", event.parked_reason.as_deref().unwrap_or("?")), true),
        Some("HELD") => ("held behind an earlier event".to_owned(), false),
        Some(_) if event.last_error.is_none() || due => ("on its way".to_owned(), false),
        Some(_) => ("failed again, waits for its next attempt".to_owned(), false),
    };
    Line { event_id: event.event_id, queue: None, state, at: None, error: event.last_error, is_final }
}

fn of_job(acted_at: DateTime<Utc>, job: Job) -> Line {
    let was_tried_since = job.started_at.is_some_and(|at| at >= acted_at);
    let (state, is_final) = match &*job.status {
        "dead" => ("dead again", true),
        status @ ("done" | "discarded") => (status, true),
        "ready" | "in_doubt" if !was_tried_since => ("waiting for a worker", false),
        "in_doubt" => ("in doubt", false),
        "ready" => ("failed again, waits for its next attempt", false),
        status => (status, false),
    };
    let state = state.to_owned();
    Line { event_id: job.event_id, queue: Some(job.queue), state, at: job.finished_at, error: job.last_error, is_final }
}

/// What an act has done, as `replayed`.
pub fn done(action: &str) -> &'static str {
    match action {
        "REPLAY" => "replayed",
        "SKIP" => "skipped",
        "RELEASE" => "released",
        "RETRY" => "retried",
        "DISCARD" => "discarded",
        _ => "done",
    }
}

/// As `3 replayed: 2 delivered, 1 parked again (UNROUTABLE).`
fn sentence(action: &str, lines: &[Line]) -> String {
    let done = match action {
        "REPLAY" | "SKIP" | "RELEASE" | "RETRY" | "DISCARD" => done(action),
        "PAUSE" => return "The queue was paused: no worker starts a job of it until it is resumed.".to_owned(),
        "RESUME" => return "The queue was resumed.".to_owned(),
        "INVESTIGATE" => return "It has your name now: others see who looks into it.".to_owned(),
        "CLOSE_INVESTIGATION" => return "It has no name any more.".to_owned(),
        other => return format!("{other} is done."),
    };
    if lines.is_empty() {
        return format!("It was {done}. The log no longer keeps its events.");
    }
    let mut states = BTreeMap::<&str, usize>::new();
    for line in lines {
        *states.entry(&line.state).or_default() += 1;
    }
    let cut = if lines.len() >= MOST { "The first " } else { "" };
    let states: Vec<_> = states.into_iter().map(|(state, number)| format!("{number} {state}")).collect();
    format!("{cut}{} {done}: {}.", lines.len(), states.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_counts_what_came_of_it() {
        let line = |state: &str| Line {
            event_id: Uuid::nil(),
            queue: None,
            state: state.to_owned(),
            at: None,
            error: None,
            is_final: true,
        };
        let lines = ["delivered", "parked again (UNROUTABLE)", "delivered"].map(line);
        assert_eq!(sentence("REPLAY", &lines), "3 replayed: 2 delivered, 1 parked again (UNROUTABLE).");
        assert_eq!(sentence("RETRY", &[]), "It was retried. The log no longer keeps its events.");
    }
}
