//! The frame of every page, and what pages have in common.

use axum::response::Html;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::Console;
use super::document::{Document, document};
use super::visitor::Visitor;
use crate::format::{age, gap};
use crate::read::redacted::without_addresses;

/// A part of the console, in the order of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Overview,
    Stuck,
    Jobs,
    Bulk,
    Processes,
    Schedules,
    Webhooks,
    Audit,
    Keys,
    Log,
}

impl Part {
    const ALL: [Self; 10] = [
        Self::Overview,
        Self::Stuck,
        Self::Jobs,
        Self::Bulk,
        Self::Processes,
        Self::Schedules,
        Self::Webhooks,
        Self::Audit,
        Self::Keys,
        Self::Log,
    ];

    /// What it is called, where it is, the key that leads to it after `g`, and the operation of the API that shows the same.
    const fn describe(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Overview => ("Overview", "/console", "o", "status"),
            Self::Stuck => ("Stuck", "/console/stuck", "s", "stuck"),
            Self::Jobs => ("Jobs", "/console/jobs", "j", "jobs"),
            Self::Bulk => ("Bulk acts", "/console/bulk", "b", "bulk-acts"),
            Self::Processes => ("Processes", "/console/processes", "p", "status"),
            Self::Schedules => ("Schedules", "/console/schedules", "c", "schedules"),
            Self::Webhooks => ("Webhooks", "/console/webhooks", "w", "webhooks"),
            Self::Audit => ("Audit", "/console/audit", "a", "audit"),
            Self::Keys => ("Keys", "/console/keys", "k", "keys"),
            Self::Log => ("Operator log", "/console/log", "l", "actions"),
        }
    }
}

/// What is around the content of a page.
#[derive(Debug, Default)]
pub(super) struct Frame<'a> {
    title: &'a str,
    installation: &'a str,
    part: Option<Part>,
    visitor: Option<&'a Visitor>,
    /// What is being searched for.
    query: &'a str,
}

impl<'a> Frame<'a> {
    /// For those who have not signed in.
    pub(super) fn of(console: &'a Console, title: &'a str) -> Self {
        Self { title, installation: &console.settings.console_name, ..Self::default() }
    }

    pub(super) fn in_part(self, part: Part) -> Self {
        Self { part: Some(part), ..self }
    }

    pub(super) fn for_visitor(self, visitor: &'a Visitor) -> Self {
        Self { visitor: Some(visitor), ..self }
    }

    pub(super) fn searching(self, query: &'a str) -> Self {
        Self { query, ..self }
    }
}

/// A whole page.
pub(super) fn page(frame: &Frame<'_>, content: &Markup) -> Html<String> {
    let Frame { title, installation, part, visitor, query } = *frame;
    let around = match visitor {
        Some(visitor) => [of_visitor(visitor, query), navigation(visitor, part), help()],
        None => Default::default(),
    };
    document(&Document { title, installation, ..Document::default() }, around, content)
}

fn of_visitor(visitor: &Visitor, query: &str) -> Markup {
    html! {
        form role="search" action="/console/find" {
            label .hidden for="q" { "Find an order, event or job" }
            input #q type="search" name="q" value=(query) placeholder="Order, e-mail, invoice, event, state:dead …";
            button { "Find" }
        }
        @if let (true, Some(name)) = (visitor.is_known(), &visitor.name) {
            form .visitor method="post" action="/console/sign-out" { span { (name) } button { "Sign out" } }
        }
    }
}

fn navigation(visitor: &Visitor, current: Option<Part>) -> Markup {
    html! {
        nav aria-label="Console" {
            ul {
                @for part in Part::ALL {
                    @let (name, href, key, route) = part.describe();
                    @if visitor.may("GET", route) {
                        li { a href=(href) data-key=(key) aria-current=[(current == Some(part)).then_some("page")] { (name) } }
                    }
                }
            }
        }
    }
}

fn help() -> Markup {
    html! {
        dialog #help aria-labelledby="help-title" {
            h2 #help-title { "Keys" }
            dl {
                dt { kbd { "/" } } dd { "Find" }
                @for part in Part::ALL {
                    @let (name, _, key, _) = part.describe();
                    dt { kbd { "g" } " " kbd { (key) } } dd { (name) }
                }
                dt { kbd { "?" } } dd { "This list" }
            }
            form method="dialog" { button { "Close" } }
        }
        footer { p .quiet { span .keys { kbd { "?" } " shows the keys. " } "All times are UTC." } }
    }
}

/// A moment, with how long ago it was.
pub(super) fn moment(now: DateTime<Utc>, at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) title=(at.format("%Y-%m-%d %H:%M:%S%.3f UTC")) { (age(now, at)) @if at <= now { " ago" } } }
}

/// A moment that may not be.
pub(super) fn maybe(now: DateTime<Utc>, at: Option<DateTime<Utc>>) -> Markup {
    at.map_or_else(nothing, |at| moment(now, at))
}

/// A moment to the millisecond.
pub(super) fn exactly(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) { (at.format("%Y-%m-%d %H:%M:%S%.3f")) } }
}

/// The time from one moment to another.
pub(super) fn after(from: DateTime<Utc>, to: Option<DateTime<Utc>>) -> Markup {
    match to {
        Some(to) => {
            html! { time datetime=(to.to_rfc3339()) title=(to.format("%Y-%m-%d %H:%M:%S%.3f UTC")) { "+" (gap(from, to)) } }
        }
        None => nothing(),
    }
}

pub(super) fn nothing() -> Markup {
    html! { span .quiet aria-hidden="true" { "–" } span .hidden { "none" } }
}

/// A state as a word with a colour. The word alone says it.
pub(super) fn state(name: &str) -> Markup {
    let kind = match name.to_ascii_lowercase().as_str() {
        "done" | "out" | "delivered" | "sent" | "processed" | "success" | "published" | "works" | "holds" | "valid" => {
            "good"
        }
        "dead" | "parked" | "failed" | "violated" | "refused" | "problem" | "unroutable" | "too_large"
        | "attempts_spent" | "undecodable" => "bad",
        "in_doubt"
        | "under investigation"
        | "running"
        | "cancelled"
        | "not checked"
        | "disabled"
        | "waiting"
        | "held"
        | "back_off"
        | "warning"
        | "paused"
        | "outage"
        | "lease_expired"
        | "overdue"
        | "blocked" => "doubtful",
        _ => "plain",
    };
    html! { span class={ "state " (kind) } { (name) } }
}

/// The fields that every form needs: its token, who acts where that is not known, and why.
pub(super) fn justification(visitor: &Visitor, id: &str) -> Markup {
    html! {
        input type="hidden" name="form_token" value=(visitor.form_token());
        @if !visitor.is_known() {
            label for={ "actor-" (id) } { "Your name" }
            input id={ "actor-" (id) } name="actor" required maxlength="64" value=[visitor.name.as_deref()] autocomplete="name";
        }
        label for={ "reason-" (id) } { "Reason" }
        input id={ "reason-" (id) } name="reason" required maxlength="1000" placeholder="Why, for the operator log";
    }
}

/// A form for one act on events, jobs or queues.
pub(super) fn act(visitor: &Visitor, id: &str, name: &str, explained: &str, fields: &Markup) -> Markup {
    form(visitor, id, "/console/act", name, explained, fields)
}

/// A form, folded away behind its name.
pub(super) fn form(visitor: &Visitor, id: &str, action: &str, name: &str, explained: &str, fields: &Markup) -> Markup {
    html! {
        details .act {
            summary { (name) }
            form method="post" action=(action) {
                p .quiet { (explained) }
                (fields)
                (justification(visitor, id))
                button { (name) }
            }
        }
    }
}

/// A table that can be scrolled sideways on a small screen.
pub(super) fn table(caption: &str, head: &[&str], rows: &[Markup]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption { (caption) }
                thead { tr { @for name in head { th scope="col" { (name) } } } }
                tbody { @for row in rows { tr { (row) } } }
            }
        }
    }
}

/// What went wrong, without addresses of customers.
pub(super) fn told(error: Option<&str>) -> Markup {
    html! { @if let Some(error) = error { (without_addresses(error)) } }
}

/// The last eight characters of an id, as a link to all of it.
pub(super) fn event_link(id: uuid::Uuid) -> Markup {
    let text = id.to_string();
    html! { a href={ "/console/events/" (text) } title=(text) { code { "…" (&text[text.len() - 8..]) } } }
}
