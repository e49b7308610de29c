//! What makes no progress, in groups of the same cause, with what can be done about each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Html;
use chrono::{DateTime, Utc};
use contracts::Queue;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::Console;
use super::filter::of_dead_jobs;
use super::overview::count;
use super::page::{Frame, Part, act, event_link, maybe, moment, page, state, table, told};
use super::refusal::Answer;
use super::visitor::Visitor;
use crate::format::short;
use crate::read::investigations::Investigation;
use crate::read::redacted::{HIDDEN, without_addresses};
use crate::read::stuck::{self, PATIENCE, Stuck, StuckEvent, StuckJob};

/// Events, and jobs, on the page.
const SHOWN: i64 = 200;

#[derive(Debug, Deserialize)]
pub(super) struct Params {
    /// As text: a field that was emptied is sent, too.
    #[serde(default)]
    older_than_seconds: String,
}

/// Stuck events or jobs with the same cause.
#[derive(Debug)]
struct Group<'a> {
    /// `None`: events that are not out.
    queue: Option<&'a str>,
    reason: &'a str,
    error: Option<String>,
    event_types: BTreeSet<&'a str>,
    event_ids: Vec<Uuid>,
    oldest: DateTime<Utc>,
}

/// `GET /console/stuck`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Query(params): Query<Params>,
) -> Answer<Html<String>> {
    visitor.must_read("stuck")?;
    let older_than =
        params.older_than_seconds.parse::<u32>().map_or(PATIENCE, |seconds| Duration::from_secs(seconds.into()));
    let found = stuck::stuck(&console.shared.pool, older_than, SHOWN).await?;
    let content = html! {
        form .filter action="/console/stuck" {
            label { "Waits longer than, in seconds"
                input type="number" required min="0" max="4294967295" name="older_than_seconds" value=(older_than.as_secs()); }
            button { "Filter" }
        }
        @if found.events_total + found.jobs_total == 0 { p .fine { "Nothing is stuck." } }
        @else { (all(&visitor, &found)) }
    };
    Ok(page(&Frame::of(&console, "Stuck").in_part(Part::Stuck).for_visitor(&visitor), &content))
}

fn all(visitor: &Visitor, found: &Stuck) -> Markup {
    let Stuck { at, events_total, events, jobs_total, jobs, .. } = found;
    let groups = groups(found);
    let names = names(&found.investigations);
    let shown = |shown: usize, total: i64| i64::try_from(shown).is_ok_and(|shown| shown < total);
    html! {
        h2 { "By cause" }
        @if shown(events.len(), *events_total) || shown(jobs.len(), *jobs_total) {
            p .alert { "The groups are made of the oldest " (SHOWN) " events and jobs; there are " (events_total + jobs_total)
                ". What is done about a group is done about those. For all of them: " a href="/console/bulk" { "bulk acts" } "." }
        }
        @for (number, group) in groups.iter().enumerate() { (group_of(visitor, *at, number, group, &names)) }
        @if !events.is_empty() {
            h2 { (count(*events_total, "event")) " not out" }
            (table("Events", &["Event", "Type", "Reason", "Since", "Attempts", "Next attempt", "Behind it", "Last error"],
                   &events.iter().map(|event| event_row(*at, event)).collect::<Vec<_>>()))
            @if shown(events.len(), *events_total) { p .quiet { "The oldest " (events.len()) " are shown." } }
        }
        @if !jobs.is_empty() {
            h2 { (count(*jobs_total, "job")) " not done" }
            (table("Jobs", &["Event", "Queue", "Type", "Reason", "Since", "Attempts", "Next attempt", "Last error"],
                   &jobs.iter().map(|job| job_row(*at, job)).collect::<Vec<_>>()))
            @if shown(jobs.len(), *jobs_total) { p .quiet { "The oldest " (jobs.len()) " are shown." } }
        }
    }
}

/// Errors that differ in numbers and ids only are one.
fn kind_of(error: &str) -> String {
    let words = error.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let same = words.map(|word| {
        let core = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if core.contains(|c: char| c.is_ascii_digit()) { word.replacen(core, "#", 1) } else { word.to_owned() }
    });
    short(&same.collect::<String>())
}

/// The longest part of a kind of error that all errors of the kind have.
fn literal(kind: &str) -> &str {
    let parts = kind.trim_end_matches('…').split('#').flat_map(|part| part.split(HIDDEN)).map(str::trim);
    parts.max_by_key(|part| part.len()).unwrap_or_default()
}

fn groups(found: &Stuck) -> Vec<Group<'_>> {
    let events = found.events.iter().map(|event| {
        (None, &*event.reason, &*event.event_type, event.last_error.as_deref(), event.event_id, event.occurred_at)
    });
    let jobs = found.jobs.iter().map(|job| {
        (Some(&*job.queue), &*job.reason, &*job.event_type, job.last_error.as_deref(), job.event_id, job.received_at)
    });
    let mut by_cause = BTreeMap::<_, Group<'_>>::new();
    for (queue, reason, event_type, error, event_id, since) in events.chain(jobs) {
        let error = error.map(|error| kind_of(&without_addresses(error)));
        let group = by_cause.entry((queue, reason, error.clone())).or_insert_with(|| Group {
            queue,
            reason,
            error,
            event_types: BTreeSet::new(),
            event_ids: Vec::new(),
            oldest: since,
        });
        group.event_ids.push(event_id);
        group.event_types.insert(event_type);
        group.oldest = group.oldest.min(since);
    }
    let mut groups: Vec<_> = by_cause.into_values().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.event_ids.len()), group.oldest));
    groups
}

/// Who looks into each event.
fn names(investigations: &[Investigation]) -> BTreeMap<Uuid, &str> {
    investigations.iter().map(|one| (one.event_id, &*one.actor)).collect()
}

fn group_of(
    visitor: &Visitor,
    now: DateTime<Utc>,
    number: usize,
    group: &Group<'_>,
    names: &BTreeMap<Uuid, &str>,
) -> Markup {
    let looked_into: BTreeSet<&str> = group.event_ids.iter().filter_map(|id| names.get(id).copied()).collect();
    let size = i64::try_from(group.event_ids.len()).unwrap_or(i64::MAX);
    html! {
        section .group {
            p {
                strong { (count(size, if group.queue.is_some() { "job" } else { "event" })) }
                @match group.queue { Some(queue) => { " of " (queue) }, None => { " in the outbox" } }
                ", " (state(group.reason))
                @for event_type in &group.event_types { ", " code { (event_type) } }
                ", the oldest " (moment(now, group.oldest))
            }
            @if let Some(error) = &group.error { p .quiet { (error) } }
            @if !looked_into.is_empty() { p .investigated { (state("under investigation")) " by " (looked_into.into_iter().collect::<Vec<_>>().join(", ")) } }
            div .acts { (acts_on(visitor, number, group)) }
        }
    }
}

/// What can be done about a group: only what is possible in its state.
fn acts_on(visitor: &Visitor, number: usize, group: &Group<'_>) -> Markup {
    let ids: Vec<String> = group.event_ids.iter().map(Uuid::to_string).collect();
    let fields = |verb: &str| {
        html! {
            input type="hidden" name="act" value=(verb);
            input type="hidden" name="event_ids" value=(ids.join(" "));
            @if let Some(queue) = group.queue { input type="hidden" name="queue" value=(queue); }
        }
    };
    let offer = |verb: &str, route: &str, name: &str, explained: &str| {
        html! {
            @if visitor.may("POST", route) {
                (act(visitor, &format!("{verb}-{number}"), &format!("{name} ({})", ids.len()), explained, &fields(verb)))
            }
        }
    };
    html! {
        @match (group.queue, group.reason) {
            (None, "PENDING") => {},
            (None, reason) => {
                (offer("replay", "replay", "Replay", "The relay sends them again. What a consumer has already it drops."))
                @if reason == "BACK_OFF" { (offer("release", "events/{id}/release", "Send now", "Their wait ends: they are due at once.")) }
                (offer("skip", "events/{id}/skip", "Skip", "No job runs them, and the next event of each order goes on. This cannot be taken back for ordered queues."))
            },
            (Some(_), "DEAD") => {
                (offer("retry", "jobs/retry", "Retry", retried(group.queue)))
                (offer("discard", "events/{id}/discard", "Discard", "They stay undone, for good."))
                @if visitor.may("POST", "bulk-acts") {
                    a .act href=(of_dead_jobs("retry", group.queue.unwrap_or_default(), "", group.error.as_deref().map_or("", literal), "")) { "All like these …" }
                }
            },
            (Some(queue), "BACK_OFF" | "IN_DOUBT" | "LEASE_EXPIRED") if queue.parse::<Queue>().is_ok() => {
                (offer("release", "events/{id}/release", "Run now", "Their wait ends: a worker takes them next. A queue that is paused, or whose dependency is down, still waits."))
            },
            _ => { p .quiet { "They go on by themselves once their queue does." } },
        }
        (offer("investigate", "investigations", "I look into it", "Others see your name at it. It keeps nothing from happening."))
    }
}

/// What a retry does with jobs of a queue.
pub(super) fn retried(queue: Option<&str>) -> &'static str {
    if queue == Some(Queue::Notifications.as_str()) {
        return "They get all their attempts back. An e-mail that may have gone out already is sent again.";
    }
    "They get all their attempts back. A worker first looks up whether the effect has happened."
}

fn event_row(now: DateTime<Utc>, event: &StuckEvent) -> Markup {
    html! {
        td { (event_link(event.event_id)) }
        td { code { (event.event_type) } }
        td { (state(&event.reason)) }
        td { (moment(now, event.occurred_at)) }
        td .number { (event.attempts) }
        td { (maybe(now, event.next_attempt_at)) }
        td .number { (event.behind) }
        td .error { (told(event.last_error.as_deref())) }
    }
}

fn job_row(now: DateTime<Utc>, job: &StuckJob) -> Markup {
    html! {
        td { (event_link(job.event_id)) }
        td { (job.queue) }
        td { code { (job.event_type) } }
        td { (state(&job.reason)) }
        td { (moment(now, job.received_at)) }
        td .number { (job.attempts) }
        td { (maybe(now, job.next_attempt_at)) }
        td .error { (told(job.last_error.as_deref())) }
    }
}

#[cfg(test)]
mod tests {
    use super::{kind_of, literal};

    #[test]
    fn errors_that_differ_in_numbers_are_one_kind() {
        let one = kind_of("gateway answered 503 for refund 01a22211-7394-7703-9164-d7cb142a319a: try again");
        assert_eq!(one, "gateway answered # for refund #-#-#-#-#: try again");
        assert_eq!(one, kind_of("gateway answered 500 for refund 01b22211-1394-7a03-9164-d7cb142a3190: try again"));
        assert_ne!(kind_of("timeout"), kind_of("refused"));
        assert_eq!(literal(&one), "gateway answered");
        assert_eq!(literal("timeout"), "timeout");
        assert_eq!(literal(""), "");
    }
}
