//! The story of an order on one page, and that of a return.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Html;
use chrono::{DateTime, Utc};
use contracts::money;
use maud::{Markup, html};

use super::Console;
use super::document::encoded;
use super::filter;
use super::page::{Frame, after, event_link, exactly, nothing, page, state, table, told};
use super::pdf::opener;
use super::refusal::Answer;
use super::settings::Links;
use super::visitor::Visitor;
use crate::format::{gap, hops};
use crate::read::story::{self, Step, Story, StoryEvent};

/// What a story is shown with: who looks, and where else its parts are.
struct Shown<'a> {
    story: &'a Story,
    visitor: &'a Visitor,
    links: &'a Links,
}

/// `GET /console/orders/{of}`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Path(of): Path<String>,
) -> Answer<Html<String>> {
    visitor.must_read("stories/{of}")?;
    let story = story::tell(&console.shared.pool, &of).await?;
    let title = format!("Order {}", story.order_number);
    let shown = Shown { story: &story, visitor: &visitor, links: &console.settings.links };
    Ok(page(&Frame::of(&console, &title).for_visitor(&visitor), &shown.order()))
}

/// `GET /console/returns/{id}`
pub(super) async fn show_return(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Answer<Html<String>> {
    visitor.must_read("stories/{of}")?;
    let id = filter::id_of(&id, "RETURN_NOT_FOUND", "return")?;
    let story = story::tell_return(&console.shared.pool, id).await?;
    let title = format!("Return of {}", story.order_number);
    let shown = Shown { story: &story, visitor: &visitor, links: &console.settings.links };
    Ok(page(&Frame::of(&console, &title).for_visitor(&visitor), &shown.return_of_goods()))
}

impl Shown<'_> {
    fn order(&self) -> Markup {
        let Story { order_id, state: now, version, currency, total_minor, .. } = self.story;
        html! {
            dl {
                dt { "State" } dd { (state(now)) ", version " (version) }
                dt { "Total" } dd { (money(*total_minor, currency)) }
                dt { "Id" } dd { code { (order_id) } }
            }
            (self.returns())
            (self.rest())
        }
    }

    fn return_of_goods(&self) -> Markup {
        let number = &self.story.order_number;
        html! {
            dl {
                @for one in &self.story.returns {
                    dt { "State" } dd { (state(&one.state)) ", version " (one.version) }
                    dt { "Id" } dd { code { (one.id) } }
                    dt { "Asked for" } dd { (exactly(one.created_at)) }
                }
                dt { "Of the order" } dd { a href={ "/console/orders/" (encoded(number)) } { (number) } }
            }
            (self.rest())
        }
    }

    fn rest(&self) -> Markup {
        let Story { steps, actions, .. } = self.story;
        let before = steps.iter().map(|step| Some(step.at));
        let before: Vec<_> = std::iter::once(None).chain(before).collect();
        html! {
            (self.documents())
            (self.refunds())
            h2 { "What happened" }
            ol .story { @for (step, before) in steps.iter().zip(before) { (self.of_step(step, before)) } }
            @if !actions.is_empty() {
                (table("Operator actions", &["At", "Action", "By"], &actions.iter().map(|action| html! {
                    td { a href={ "/console/acts/" (action.id) } { (exactly(action.acted_at)) } }
                    td { code { (action.action) } }
                    td { (action.actor) }
                }).collect::<Vec<_>>()))
            }
        }
    }

    fn returns(&self) -> Markup {
        let rows = self.story.returns.iter().map(|one| {
            html! {
                td { a href={ "/console/returns/" (one.id) } { code { (one.id) } } }
                td { (state(&one.state)) }
                td { (exactly(one.created_at)) }
            }
        });
        html! { @if !self.story.returns.is_empty() { (table("Returns", &["Return", "State", "Asked for"], &rows.collect::<Vec<_>>())) } }
    }

    fn documents(&self) -> Markup {
        let rows = self.story.documents.iter().map(|document| {
            html! {
                td { (document.kind) }
                td { (document.number) }
                td { (exactly(document.issued_at)) }
                td { (after(document.issued_at, document.stored_at)) }
                td .number { @match document.size_bytes { Some(bytes) => { (bytes / 1024) " KiB" }, None => (nothing()) } }
                td { (opener(self.visitor, document)) }
            }
        });
        let head = ["Document", "Number", "Issued", "PDF stored", "Size", ""];
        html! { @if !self.story.documents.is_empty() { (table("Documents", &head, &rows.collect::<Vec<_>>())) } }
    }

    fn refunds(&self) -> Markup {
        let rows = self.story.refunds.iter().map(|refund| {
            html! {
                td { (refund.kind) }
                td { (state(&refund.status)) }
                td .number { (money(refund.amount_minor, &self.story.currency)) }
                td { (exactly(refund.created_at)) }
                td { (after(refund.created_at, refund.processed_at)) }
                td { @match &refund.transaction_id { Some(id) => (elsewhere(self.links.refund(id), id)), None => (nothing()) } }
                td { @match &refund.gateway_reference { Some(name) => code { (name) }, None => (nothing()) } }
            }
        });
        let head = ["Refund", "State", "Amount", "Asked for", "Paid", "Gateway's name", "Bank's reference"];
        html! { @if !self.story.refunds.is_empty() { (table("Refunds", &head, &rows.collect::<Vec<_>>())) } }
    }

    fn of_step(&self, step: &Step, before: Option<DateTime<Utc>>) -> Markup {
        html! {
            li {
                h3 {
                    (step.entity_type) " "
                    @if let Some(from) = &step.from_state { (from) " → " }
                    (state(&step.to_state))
                }
                p .quiet {
                    (exactly(step.at))
                    @if let Some(before) = before { ", " (gap(before, step.at)) " later" }
                    " · " (step.actor) " · " (step.trigger)
                    @if let Some(trace) = &step.trace_id { " · trace " (elsewhere(self.links.trace(trace), trace)) }
                    @if let Some(request) = &step.request_id { " · request " code { (request) } }
                }
                @match &step.event {
                    Some(event) => (came_of(step.at, event)),
                    None => { p .quiet { "The log no longer keeps its event." } }
                }
            }
        }
    }
}

/// A name that another program knows too, with a link to where it shows it.
fn elsewhere(link: Option<String>, name: &str) -> Markup {
    html! { @match link { Some(link) => a href=(link) rel="noreferrer" { code { (name) } }, None => code { (name) } } }
}

fn came_of(at: DateTime<Utc>, event: &StoryEvent) -> Markup {
    let line = |then: Option<DateTime<Utc>>, what: Markup, how: Markup| {
        html! { li { span { (after(at, then)) } span { (what) } span { (how) } } }
    };
    let way_out = match (&event.exception, event.published) {
        (Some(exception), _) => state(exception),
        (None, true) => state("out"),
        (None, false) => state("pending"),
    };
    html! {
        ul {
            (line(event.published_at, html! { (event_link(event.event_id)) " " code { (event.event_type) } }, html! {
                (way_out) (attempts(event.attempts)) (error(event.parked_reason.as_deref().or(event.last_error.as_deref())))
            }))
            @for job in &event.jobs {
                (line(job.finished_at.or(job.started_at).or(Some(job.received_at)), html! { "job " (job.queue) }, html! {
                    (state(&job.status)) (attempts(job.attempts)) ", " (hops(at, job.received_at, job.started_at)) (error(job.last_error.as_deref()))
                }))
            }
            @for email in &event.emails {
                (line(email.sent_at.or(email.recorded_at), html! { "e-mail " (email.kind) }, html! {
                    (state(&email.status.to_lowercase()))
                    @if email.status == "LOGGED" { ", not sent: no mail server is set" }
                }))
            }
            @for webhook in &event.webhooks {
                (line(webhook.settled_at, html! { "webhook " (webhook.url) }, html! {
                    (state(&webhook.status.to_lowercase())) (attempts(webhook.attempts)) (error(webhook.last_error.as_deref()))
                }))
            }
        }
    }
}

fn attempts(attempts: i32) -> Markup {
    html! { @if attempts > 1 { " at attempt " (attempts) } }
}

fn error(error: Option<&str>) -> Markup {
    html! { @if let Some(error) = error { ", " span .quiet { (told(Some(error))) } } }
}
