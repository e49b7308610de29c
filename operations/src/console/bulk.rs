//! Acts on all that a filter matches: what one would do, how far it is, and what came of it.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use contracts::Queue;
use maud::{Markup, html};
use runtime::http::RequestContext;
use serde::Deserialize;
use uuid::Uuid;

use super::Console;
use super::act::{Justified, Sent, filled_in, operator, remembering};
use super::filter::{self, Wanted};
use super::page::{Frame, Part, event_link, exactly, form, justification, maybe, moment, page, state, table, told};
use super::refusal::Answer;
use super::visitor::Visitor;
use crate::OperationError;
use crate::read::bulk::{self, BulkAct};
use crate::read::outcome::{self, Outcome};
use crate::write::bulk::{BulkPreview, BulkVerb, BulkWork, Effort, FASTEST, cancel, preview, start};

/// Acts on the page.
const SHOWN: i64 = 100;
/// The operation of the API that does the same.
const START: &str = "bulk-acts";

#[derive(Debug, Deserialize)]
pub(super) struct Start {
    #[serde(flatten)]
    wanted: Wanted,
    #[serde(default)]
    per_second: String,
    #[serde(flatten)]
    justified: Justified,
}

/// `GET /console/bulk`
pub(super) async fn list(State(console): State<Arc<Console>>, visitor: Visitor) -> Answer<Html<String>> {
    visitor.must_read(START)?;
    let (now, acts) = (console.shared.surroundings.clock.now(), bulk::list(&console.shared.pool, SHOWN).await?.data);
    let content = html! {
        p { "An act on all that a filter matches, however many. It goes on in batches, also when this page is closed or a process restarts." }
        @if visitor.may("POST", START) { (new_ones()) }
        h2 { "Acts" }
        @if acts.is_empty() { p { "There was none yet." } }
        @else {
            (table("Acts", &["Began", "Act", "On", "State", "Done", "Of", "By", "Why"], &acts.iter().map(|act| row(now, act)).collect::<Vec<_>>()))
        }
    };
    Ok(page(&Frame::of(&console, "Bulk acts").in_part(Part::Bulk).for_visitor(&visitor), &content))
}

/// The forms that lead to a preview.
fn new_ones() -> Markup {
    html! {
        h2 { "Dead jobs" }
        form .filter action="/console/bulk/new" {
            label { "Act" select name="act" { option value="retry" { "retry" } option value="discard" { "discard" } } }
            label { "Queue" select name="queue" {
                option value="" { "all" }
                @for queue in Queue::ALL { option value=(queue.as_str()) { (queue.as_str()) } }
            } }
            label { "Type of event" input name="event_type" placeholder="order.shipped"; }
            label { "Error contains" input name="error"; }
            label { "Came within" input name="since" placeholder="2h" size="6"; }
            button { "Show what that is" }
        }
        h2 { "Events to replay" }
        form .filter action="/console/bulk/new" {
            input type="hidden" name="act" value="replay";
            label { "Type of event" input name="event_type" placeholder="order.shipped"; }
            label { "Occurred within" input name="since" placeholder="2h" size="6"; }
            label { "Only parked ones" select name="parked" { option value="" { "no" } option value="yes" { "yes" } } }
            button { "Show what that is" }
        }
    }
}

fn row(now: DateTime<Utc>, act: &BulkAct) -> Markup {
    html! {
        td { a href={ "/console/bulk/" (act.id) } { (moment(now, act.created_at)) } }
        td { (act.act.to_lowercase()) }
        td .error { code { (act.selection) } }
        td { (state(&act.status)) }
        td .number { (act.acted) }
        td .number { @if !act.is_counted { "more than " } (act.matched) }
        td { (act.actor) }
        td .error { (act.reason) }
    }
}

/// `GET /console/bulk/new`: what an act would do. Nothing is changed.
pub(super) async fn show_new(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
) -> Answer<Html<String>> {
    visitor.must("POST", "bulk-acts/preview")?;
    let work = wanted.work(console.shared.surroundings.clock.now())?;
    let found = preview(&console.shared.pool, &work, Effort::Quick).await?;
    let verb = work.verb();
    let content = html! {
        @if found.matched == 0 {
            p role="status" { @if found.is_counted { "Nothing matches." } @else { "Nothing was found in three seconds. Narrow it down by queue, type or time." } }
        }
        @else {
            p role="status" { strong { @if !found.is_counted { "More than " } (found.matched) } " would be " (outcome::done(verb.as_str())) "." }
            (table("Of these kinds", &[if verb == BulkVerb::Replay { "State" } else { "Queue" }, "Type", "Number"],
                   &found.groups.iter().map(|group| html! { td { (group.of) } td { code { (group.event_type) } } td .number { (group.number) } }).collect::<Vec<_>>()))
            (sample(&found))
            @if visitor.may("POST", START) { (start_form(&visitor, &work, &wanted, &found)) }
        }
        p { a href="/console/bulk" { "Another filter" } }
    };
    let title = format!("{} all that match", capitalized(verb));
    Ok(page(&Frame::of(&console, &title).in_part(Part::Bulk).for_visitor(&visitor), &content))
}

fn capitalized(verb: BulkVerb) -> &'static str {
    match verb {
        BulkVerb::Replay => "Replay",
        BulkVerb::Retry => "Retry",
        BulkVerb::Discard => "Discard",
    }
}

fn sample(found: &BulkPreview) -> Markup {
    table(
        "Some of them",
        &["Event", "Queue or state", "Type", "Last error"],
        &found
            .sample
            .iter()
            .map(|one| {
                html! {
                    td { (event_link(one.event_id)) }
                    td { (one.of) }
                    td { code { (one.event_type) } }
                    td .error { (told(one.last_error.as_deref())) }
                }
            })
            .collect::<Vec<_>>(),
    )
}

fn start_form(visitor: &Visitor, work: &BulkWork, wanted: &Wanted, found: &BulkPreview) -> Markup {
    let verb = work.verb();
    let (since, until) = match work {
        BulkWork::Replay(events) => (events.from, events.to),
        BulkWork::Retry(jobs) | BulkWork::Discard(jobs) => (jobs.since, jobs.died_until.or(Some(found.at))),
    };
    let time = |time: Option<DateTime<Utc>>| time.map(|time| time.to_rfc3339());
    let explained = match verb {
        BulkVerb::Replay => "The relay sends them again. What a consumer has already it drops.",
        BulkVerb::Retry => {
            "They get all their attempts back. A worker first looks up whether the effect has happened. What dies meanwhile is left alone."
        }
        BulkVerb::Discard => "They stay undone, for good. What dies meanwhile is left alone.",
    };
    html! {
        form .act .start method="post" action="/console/bulk" {
            h2 { (capitalized(verb)) " them" }
            p .quiet { (explained) }
            input type="hidden" name="act" value=(verb.as_str().to_lowercase());
            @for (name, value) in [("queue", &wanted.queue), ("event_type", &wanted.event_type), ("error", &wanted.error), ("parked", &wanted.parked)] {
                @if !value.is_empty() { input type="hidden" name=(name) value=(value); }
            }
            @if let Some(since) = time(since) { input type="hidden" name="since" value=(since); }
            @if let Some(until) = time(until) { input type="hidden" name="until" value=(until); }
            label for="per-second" { "At most per second (left empty: as fast as it goes)" }
            input #per-second name="per_second" type="number" min="1" max=(FASTEST);
            (justification(visitor, "bulk"))
            button { (capitalized(verb)) " " @if !found.is_counted { "more than " } (found.matched) }
        }
    }
}

/// `POST /console/bulk`
pub(super) async fn begin(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    context: RequestContext,
    headers: HeaderMap,
    form: Sent<Start>,
) -> Answer<Response> {
    let Start { wanted, per_second, justified } = filled_in(form)?;
    let operator = operator(&visitor, context, &justified)?;
    visitor.must("POST", START)?;
    let per_second = match per_second.trim() {
        "" => None,
        text => {
            let wrong =
                |_| OperationError::Invalid("per_second", format!("must be a whole number from 1 to {FASTEST}"));
            Some(text.parse::<NonZeroU32>().map_err(wrong)?)
        }
    };
    let work = wanted.work(console.shared.surroundings.clock.now())?;
    let act = start(&console.shared.pool, &console.shared.ids, work, per_second, &operator).await?;
    let remember = remembering(&visitor, &justified, &headers);
    let next = Redirect::to(&format!("/console/bulk/{}", act.id));
    Ok((remember, next).into_response())
}

fn id_of(path: &str) -> Answer<Uuid> {
    filter::id_of(path, "BULK_ACT_NOT_FOUND", "bulk act")
}

/// `GET /console/bulk/{id}`: how far it is, and what came of it.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Answer<Html<String>> {
    visitor.must_read("bulk-acts/{id}")?;
    let (pool, id) = (&console.shared.pool, id_of(&id)?);
    let act = bulk::get(pool, id).await?.ok_or(OperationError::BulkActNotFound(id))?;
    let outcome = outcome::of_bulk(pool, &act).await?;
    let now = console.shared.surroundings.clock.now();
    let is_under_way = act.status == "RUNNING" || outcome.as_ref().is_some_and(|outcome| outcome.is_under_way);
    let content = html! {
        (progress(&act, is_under_way))
        dl {
            dt { "Act" } dd { (act.act.to_lowercase()) " on " code { (act.selection) } }
            dt { "Pace" } dd { @match act.per_second { Some(rate) => { (rate) " per second at most" }, None => "as fast as it goes" } }
            dt { "Who" } dd { (act.actor) ", by " (act.source) }
            dt { "Why" } dd { (act.reason) }
            dt { "Began" } dd { (exactly(act.created_at)) ", " (moment(now, act.created_at)) }
            dt { "Ended" } dd { (maybe(now, act.finished_at)) }
        }
        @if act.status == "RUNNING" && visitor.may("POST", "bulk-acts/{id}/cancel") {
            (form(&visitor, "cancel", &format!("/console/bulk/{id}/cancel"), "Cancel", "It ends before its next batch. What is done stays done.", &html! {}))
        }
        @if let Some(outcome) = &outcome { (came_of(&act, outcome)) }
    };
    let title = format!("Bulk act {}", &id.to_string()[28..]);
    Ok(page(&Frame::of(&console, &title).in_part(Part::Bulk).for_visitor(&visitor), &content))
}

fn progress(act: &BulkAct, is_under_way: bool) -> Markup {
    let class = if act.status == "FAILED" { "alert" } else { "fine" };
    html! {
        p role="status" class=(class) {
            (state(&act.status)) " "
            strong { (act.acted) " of " @if !act.is_counted { "more than " } (act.matched) " " (outcome::done(&act.act)) "." }
            @if is_under_way { span data-follow { " " a href={ "/console/bulk/" (act.id) } { "Look again" } } }
        }
        @if act.status == "RUNNING" && act.is_counted {
            progress max=(act.matched) value=(act.acted) aria-label="Progress" {}
        }
        @if let Some(why) = &act.waits_for { p .alert role="alert" { @if act.status == "RUNNING" { "It waits: " } @else { "It failed: " } (told(Some(why))) } }
        @if act.status == "DONE" && act.acted < act.matched {
            p .quiet { "The others were in another state by then: they were mended, or acted on, by other means." }
        }
    }
}

fn came_of(act: &BulkAct, outcome: &Outcome) -> Markup {
    let looked_at = i64::try_from(outcome.lines.len()).unwrap_or(i64::MAX);
    html! {
        h2 { "What came of it" }
        p { (outcome.sentence) }
        @if looked_at < act.acted { p .quiet { "Of the first batches. All of them: " a href={ "/console/log?text=" (act.id) } { "operator log" } "." } }
    }
}

/// `POST /console/bulk/{id}/cancel`
pub(super) async fn end(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    context: RequestContext,
    Path(id): Path<String>,
    form: Sent<Justified>,
) -> Answer<Redirect> {
    let (justified, id) = (filled_in(form)?, id_of(&id)?);
    let operator = operator(&visitor, context, &justified)?;
    visitor.must("POST", "bulk-acts/{id}/cancel")?;
    cancel(&console.shared.pool, id, operator).await?;
    Ok(Redirect::to(&format!("/console/bulk/{id}")))
}
