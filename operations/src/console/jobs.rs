//! Jobs, by queue, state, error and time.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Html;
use chrono::{DateTime, Utc};
use contracts::Queue;
use maud::{Markup, html};
use serde::Deserialize;

use super::Console;
use super::filter::{long_ago, of_dead_jobs};
use super::page::{Frame, Part, after, event_link, maybe, moment, page, state, table, told};
use super::refusal::Answer;
use super::visitor::Visitor;
use crate::OperationError;
use crate::read::jobs::{self, Filter, Job, JobStatus};

const SHOWN: i64 = 200;
const STATUSES: [JobStatus; 7] = [
    JobStatus::Dead,
    JobStatus::InDoubt,
    JobStatus::Ready,
    JobStatus::Running,
    JobStatus::Blocked,
    JobStatus::Done,
    JobStatus::Discarded,
];

/// What the list is narrowed by; the address of the page has it, so it can be kept and passed on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Narrowed {
    #[serde(default)]
    queue: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    event_type: String,
    #[serde(default)]
    error: String,
    /// As `2h`; jobs that came since then.
    #[serde(default)]
    since: String,
}

impl Narrowed {
    fn filter(&self, now: DateTime<Utc>) -> Result<Filter, OperationError> {
        let queue = (!self.queue.is_empty()).then(|| self.queue.parse::<Queue>()).transpose()?;
        let statuses = match &*self.status {
            "" => Vec::new(),
            name => {
                let found = STATUSES.into_iter().find(|status| status.as_str() == name);
                let known = STATUSES.map(JobStatus::as_str).join(", ");
                vec![found.ok_or_else(|| OperationError::Invalid("status", format!("must be one of {known}")))?]
            }
        };
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(Filter {
            queue,
            statuses,
            limit: SHOWN,
            event_type: text(&self.event_type),
            error: text(&self.error),
            since: text(&self.since).map(|since| long_ago(now, &since)).transpose()?,
        })
    }
}

/// `GET /console/jobs`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Query(narrowed): Query<Narrowed>,
) -> Answer<Html<String>> {
    visitor.must_read("jobs")?;
    let filter = narrowed.filter(console.shared.surroundings.clock.now())?;
    let found = jobs::list(&console.shared.pool, &filter).await?;
    let content = html! {
        (filter_form(&narrowed))
        @if found.jobs.is_empty() { p { "No such job." @if matches!(&*narrowed.status, "done" | "discarded") { " Only the newest 10,000 were looked at: of the queue, or in equal parts of all." } } }
        @else {
            (table("Jobs", &["Event", "Queue", "Type", "State", "Came", "Attempts", "Runs at", "Started", "Finished", "Last error"],
                   &found.jobs.iter().map(|job| row(found.at, job)).collect::<Vec<_>>()))
        }
        @if narrowed.status == "dead" && !found.jobs.is_empty() && visitor.may("POST", "bulk-acts") {
            @let like = |act: &str| of_dead_jobs(act, &narrowed.queue, &narrowed.event_type, &narrowed.error, &narrowed.since);
            p { "All that match: " a href=(like("retry")) { "retry …" } " or " a href=(like("discard")) { "discard …" } }
        }
        @if i64::try_from(found.jobs.len()).is_ok_and(|shown| shown >= SHOWN) { p .quiet { "The latest " (SHOWN) " are shown." } }
    };
    Ok(page(&Frame::of(&console, "Jobs").in_part(Part::Jobs).for_visitor(&visitor), &content))
}

fn filter_form(narrowed: &Narrowed) -> Markup {
    html! {
        form .filter action="/console/jobs" {
            label { "Queue" select name="queue" {
                option value="" { "all" }
                @for queue in Queue::ALL { option value=(queue.as_str()) selected[narrowed.queue == queue.as_str()] { (queue.as_str()) } }
            } }
            label { "State" select name="status" {
                option value="" { "dead or in doubt" }
                @for status in STATUSES { option value=(status.as_str()) selected[narrowed.status == status.as_str()] { (status.as_str()) } }
            } }
            label { "Type of event" input name="event_type" value=(narrowed.event_type) placeholder="order.shipped"; }
            label { "Error contains" input name="error" value=(narrowed.error); }
            label { "Came within" input name="since" value=(narrowed.since) placeholder="2h" size="6"; }
            button { "Filter" }
        }
    }
}

fn row(now: DateTime<Utc>, job: &Job) -> Markup {
    html! {
        td { (event_link(job.event_id)) }
        td { (job.queue) }
        td { code { (job.event_type) } }
        td { (state(&job.status)) }
        td { (moment(now, job.received_at)) }
        td .number { (job.attempts) }
        td { (maybe(now, job.run_at)) }
        td { (after(job.received_at, job.started_at)) }
        td { (after(job.received_at, job.finished_at)) }
        td .error { (told(job.last_error.as_deref())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_says_what_is_wrong() {
        let now = DateTime::UNIX_EPOCH;
        let filter = |name: &str, value: &str| {
            let mut narrowed = Narrowed::default();
            *(match name {
                "queue" => &mut narrowed.queue,
                "status" => &mut narrowed.status,
                _ => &mut narrowed.since,
            }) = value.to_owned();
            narrowed.filter(now)
        };
        let since = filter("since", "2h").expect("a filter").since.expect("a time");
        assert_eq!(now - since, chrono::TimeDelta::hours(2));
        for (name, value) in [("queue", "x"), ("status", "gone"), ("since", "yesterday"), ("since", "900000years")] {
            assert!(filter(name, value).is_err(), "{name} {value}");
        }
    }
}
