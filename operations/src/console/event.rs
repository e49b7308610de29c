//! One event, or all of an order, return, document or refund: its way out, its jobs, its payload, and what can be done about it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use contracts::Queue;
use maud::{Markup, html};
use runtime::http::RequestContext;
use serde_json::Value;
use uuid::Uuid;

use super::Console;
use super::act::{Justified, Sent, filled_in, operator, remembering};
use super::filter;
use super::log::actions_table;
use super::page::{Frame, act, after, exactly, justification, maybe, moment, nothing, page, state, table, told};
use super::refusal::Answer;
use super::stuck::retried;
use super::visitor::Visitor;
use crate::read::jobs::Job;
use crate::read::redacted::redacted;
use crate::read::show::{self, Event, Shown};
use crate::write::reveal;

fn id_of(path: &str) -> Answer<Uuid> {
    filter::id_of(path, "EVENT_NOT_FOUND", "event")
}

/// `GET /console/events/{id}`. What names a customer is hidden.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Answer<Html<String>> {
    visitor.must_read("events/{id}")?;
    let mut shown = show::show(&console.shared.pool, id_of(&id)?).await?;
    for event in &mut shown.events {
        event.payload = redacted(std::mem::take(&mut event.payload));
        event.headers = redacted(std::mem::take(&mut event.headers));
    }
    Ok(whole(&console, &visitor, &shown, false))
}

/// `POST /console/events/{id}`: the same with everything in it. The operator log has who looked, and why.
pub(super) async fn reveal(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    context: RequestContext,
    headers: HeaderMap,
    Path(id): Path<String>,
    form: Sent<Justified>,
) -> Answer<Response> {
    visitor.must_read("events/{id}")?;
    let form = filled_in(form)?;
    let operator = operator(&visitor, context, &form)?;
    let shown = reveal::reveal(&console.shared.pool, id_of(&id)?, &operator).await?;
    Ok((remembering(&visitor, &form, &headers), whole(&console, &visitor, &shown, true)).into_response())
}

fn whole(console: &Console, visitor: &Visitor, shown: &Shown, is_revealed: bool) -> Html<String> {
    let content = html! {
        @for event in &shown.events { (investigated(visitor, shown, event)) (one(visitor, shown.at, event, is_revealed)) }
        h2 { "Operator actions on it" }
        (actions_table(shown.at, &shown.actions))
    };
    let title = match &shown.events[..] {
        [only] => format!("{} {}", only.event_type, only.event_id),
        events => {
            format!("{} events of {}", events.len(), events.first().map(|event| event.aggregate_id).unwrap_or_default())
        }
    };
    page(&Frame::of(console, &title).for_visitor(visitor), &content)
}

/// Who looks into it, or the way to say so.
fn investigated(visitor: &Visitor, shown: &Shown, event: &Event) -> Markup {
    let found = shown.investigations.iter().find(|one| one.event_id == event.event_id);
    html! {
        @if let Some(found) = found {
            p .investigated { (state("under investigation")) " by " (found.actor) ", " (moment(shown.at, found.began_at)) ": " (found.reason) }
        }
        div .acts {
            (offer(visitor, event, "investigate", "investigations", if found.is_some() { "I take it over" } else { "I look into it" },
                   "Others see your name at it. It keeps nothing from happening."))
            @if found.is_some() { (offer(visitor, event, "close", "investigations/close", "No one looks into it", "The name is taken off.")) }
        }
    }
}

fn one(visitor: &Visitor, now: DateTime<Utc>, event: &Event, is_revealed: bool) -> Markup {
    let id = event.event_id;
    html! {
        section aria-label={ "Event " (id) } {
            h2 { code { (event.event_type) } " " (way_out(event)) }
            dl {
                dt { "Event" } dd { a href={ "/console/events/" (id) } { code { (id) } } }
                dt { "Of" } dd { (event.aggregate_type) " " code { (event.aggregate_id) } ", version " (event.aggregate_version)
                    " · " a href={ "/console/orders/" (event.aggregate_id) } { "story" } }
                dt { "Occurred" } dd { (exactly(event.occurred_at)) ", " (moment(now, event.occurred_at)) }
                dt { "Out" } dd { (after(event.occurred_at, event.published_at)) @if let Some(relay) = &event.relay { " by " (relay) } }
                dt { "Position" } dd { (event.position) " in the shard " (event.shard) }
                @if event.attempts > 1 { dt { "Attempts" } dd { (event.attempts) } }
                @if let Some(at) = event.next_attempt_at { dt { "Next attempt" } dd { (moment(now, at)) } }
                @if event.last_error.is_some() { dt { "Last error" } dd { (told(event.last_error.as_deref())) } }
            }
            div .acts { (acts_on(visitor, event)) }
            @if event.jobs.is_empty() { p .quiet { "It has no job." } }
            @else {
                (table("Jobs", &["Queue", "State", "Came", "Started", "Finished", "Attempts", "Runs at", "Worker", "Last error", "Result"],
                       &event.jobs.iter().map(|job| job_row(now, job)).collect::<Vec<_>>()))
                @for job in &event.jobs { (job_acts(visitor, job)) }
            }
            (payload(visitor, event, is_revealed))
        }
    }
}

fn way_out(event: &Event) -> Markup {
    match (&event.exception, event.published) {
        (Some(exception), _) => {
            html! { (state(exception)) @if let Some(reason) = &event.parked_reason { " (" (reason) ")" } }
        }
        (None, true) => state("out"),
        (None, false) => state("pending"),
    }
}

/// A form for an act on an event, for those who may act.
fn offer(visitor: &Visitor, event: &Event, verb: &str, route: &str, name: &str, explained: &str) -> Markup {
    let id = event.event_id;
    let fields =
        html! { input type="hidden" name="act" value=(verb); input type="hidden" name="event_ids" value=(id); };
    html! { @if visitor.may("POST", route) { (act(visitor, &format!("{verb}-{id}"), name, explained, &fields)) } }
}

fn acts_on(visitor: &Visitor, event: &Event) -> Markup {
    let waits = event.exception.as_deref() == Some("WAITING");
    html! {
        @if event.published || event.exception.is_some() {
            (offer(visitor, event, "replay", "replay", "Replay", "The relay sends it again. What a consumer has already it drops."))
        }
        @if waits { (offer(visitor, event, "release", "events/{id}/release", "Send now", "Its wait ends: it is due at once.")) }
        @if !event.published && event.exception.as_deref() != Some("SKIPPED") {
            (offer(visitor, event, "skip", "events/{id}/skip", "Skip", "No job runs it, and its order goes on without it."))
        }
    }
}

fn job_row(now: DateTime<Utc>, job: &Job) -> Markup {
    html! {
        th scope="row" { (job.queue) }
        td { (state(&job.status)) }
        td { (exactly(job.received_at)) }
        td { (after(job.received_at, job.started_at)) }
        td { (after(job.received_at, job.finished_at)) }
        td .number { (job.attempts) }
        td { (maybe(now, job.run_at)) }
        td { @match &job.lease_owner { Some(owner) => (owner), None => (nothing()) } }
        td .error { (told(job.last_error.as_deref())) }
        td .error { @if let Some(result) = &job.result { code { (redacted(result.clone())) } } }
    }
}

fn job_acts(visitor: &Visitor, job: &Job) -> Markup {
    let id = |verb: &str| format!("{verb}-{}-{}", job.queue, job.event_id);
    let fields = |verb: &str, more: &Markup| {
        html! {
            input type="hidden" name="act" value=(verb);
            input type="hidden" name="event_ids" value=(job.event_id);
            input type="hidden" name="queue" value=(job.queue);
            (more)
        }
    };
    let is_mail = job.queue == Queue::Notifications.as_str();
    let retry = id("retry");
    let address = html! {
        label for={ "email-" (retry) } { "Send to another address (left empty: to the same)" }
        input id={ "email-" (retry) } type="email" name="customer_email" maxlength="254";
    };
    let none = html! {};
    let (may_retry, may_discard) = (visitor.may("POST", "jobs/retry"), visitor.may("POST", "events/{id}/discard"));
    let is_dead = job.status == "dead";
    let may_release =
        ["ready", "in_doubt", "running"].contains(&&*job.status) && visitor.may("POST", "events/{id}/release");
    html! {
        @if is_dead && (may_retry || may_discard) || may_release {
            div .acts role="group" aria-label={ "The job in " (job.queue) } {
                span .quiet { "The job in " (job.queue) ":" }
                @if is_dead && may_retry {
                    (act(visitor, &retry, if is_mail { "Edit and retry" } else { "Retry" },
                         retried(Some(&job.queue)),
                         &fields("retry", if is_mail { &address } else { &none })))
                }
                @if is_dead && may_discard {
                    (act(visitor, &id("discard"), "Discard", "It stays undone, for good.", &fields("discard", &none)))
                }
                @if may_release {
                    (act(visitor, &id("release"), "Run now", "Its wait ends. A running job is taken from its worker, and starts again in doubt.",
                         &fields("release", &none)))
                }
            }
        }
    }
}

fn payload(visitor: &Visitor, event: &Event, is_revealed: bool) -> Markup {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    html! {
        details open[is_revealed] {
            summary { "Payload and headers" }
            @if !is_revealed {
                p .quiet { "What may name a customer is hidden." }
                details .act {
                    summary { "Show everything" }
                    form method="post" action={ "/console/events/" (event.event_id) } {
                        p .quiet { "The operator log will have who looked, and why." }
                        (justification(visitor, &format!("reveal-{}", event.event_id)))
                        button { "Show everything" }
                    }
                }
            }
            pre tabindex="0" { (pretty(&event.payload)) }
            pre tabindex="0" { (pretty(&event.headers)) }
        }
    }
}
