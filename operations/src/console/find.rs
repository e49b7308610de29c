//! One box for everything that has a number, an id or a state.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use maud::html;
use serde::Deserialize;
use uuid::Uuid;

use super::Console;
use super::document::encoded;
use super::page::{Frame, exactly, moment, page, state, table};
use super::refusal::Answer;
use super::visitor::Visitor;
use crate::OperationError;
use crate::read::find::{self, FoundOrder};
use crate::read::{show, story};

/// What can be asked of jobs, and what the page of the jobs calls it.
const QUALIFIERS: [(&str, &str); 5] =
    [("state", "status"), ("queue", "queue"), ("type", "event_type"), ("error", "error"), ("since", "since")];

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
}

/// `GET /console/find`: leads to the page of what is found.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Query(Asked { q }): Query<Asked>,
) -> Answer<Response> {
    visitor.must_read("status")?;
    let q = q.trim();
    if q.is_empty() {
        return Ok(Redirect::to("/console").into_response());
    }
    if let Some(jobs) = jobs_page(q) {
        return Ok(Redirect::to(&jobs).into_response());
    }
    if let Ok(id) = q.parse::<Uuid>() {
        if show::is_event(&console.shared.pool, id).await? {
            return Ok(Redirect::to(&format!("/console/events/{id}")).into_response());
        }
        if story::is_return(&console.shared.pool, id).await? {
            return Ok(Redirect::to(&format!("/console/returns/{id}")).into_response());
        }
    }
    match story::number_of(&console.shared.pool, q).await {
        Ok(number) => Ok(story_of(&number)),
        Err(OperationError::OrderNotFound(_)) => {
            let (now, orders) = (console.shared.surroundings.clock.now(), find::orders(&console.shared.pool, q).await?);
            Ok(match &orders[..] {
                [] => nothing_found(&console, &visitor, q).into_response(),
                [only] => story_of(&only.order_number),
                orders => many(&console, &visitor, q, now, orders).into_response(),
            })
        }
        Err(error) => Err(error.into()),
    }
}

fn story_of(order_number: &str) -> Response {
    Redirect::to(&format!("/console/orders/{}", encoded(order_number))).into_response()
}

fn many(console: &Console, visitor: &Visitor, q: &str, now: DateTime<Utc>, orders: &[FoundOrder]) -> Html<String> {
    let rows = orders.iter().map(|order| {
        html! {
            th scope="row" { a href={ "/console/orders/" (encoded(&order.order_number)) } { (order.order_number) } }
            td { (state(&order.state)) }
            td { (exactly(order.created_at)) ", " (moment(now, order.created_at)) }
            td { (order.by) }
        }
    });
    let content = html! {
        (table("Orders", &["Order", "State", "Placed", "Found by"], &rows.collect::<Vec<_>>()))
        @if i64::try_from(orders.len()).is_ok_and(|shown| shown >= find::MOST) { p .quiet { "The newest " (find::MOST) " are shown." } }
    };
    page(&Frame::of(console, "Find").for_visitor(visitor).searching(q), &content)
}

/// States of events that are not out. They stand on one page, with any other part of the search left aside.
const NOT_OUT: [&str; 5] = ["parked", "pending", "held", "waiting", "back_off"];

/// The address of the page of these jobs, or of the events that are not out. `None`: neither is asked for.
fn jobs_page(q: &str) -> Option<String> {
    let mut parts = Vec::new();
    let mut rest = q;
    while !rest.is_empty() {
        let (name, value) = rest.split_once(':')?;
        let (_, param) = QUALIFIERS.iter().find(|(qualifier, _)| *qualifier == name)?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => value.split_once(' ').unwrap_or((value, "")),
        };
        if name == "state" && NOT_OUT.contains(&value) {
            return Some("/console/stuck".to_owned());
        }
        parts.push(format!("{param}={}", encoded(value)));
        rest = after.trim_start();
    }
    Some(format!("/console/jobs?{}", parts.join("&")))
}

fn nothing_found(console: &Console, visitor: &Visitor, q: &str) -> Html<String> {
    let content = html! {
        p role="status" { "Nothing is called " strong { (q) } "." }
        p { "What can be found:" }
        dl {
            dt { "An order" } dd { "by its number or id, or the id of its return, refund or document, or the number of its invoice or credit note" }
            dt { "Orders" } dd { "by the e-mail address or the id of a customer, a tracking number, or the transaction of a payment or refund" }
            dt { "An event" } dd { "by its id, while the log keeps it" }
            dt { "Events that are not out" } dd { code { "state:parked" } ", or " code { "pending" } ", " code { "held" } ", " code { "back_off" } }
            dt { "Jobs" } dd { code { "state:dead queue:refunds type:return.completed error:\"timed out\" since:2h" } ", each part where it is needed" }
        }
    };
    page(&Frame::of(console, "Find").for_visitor(visitor).searching(q), &content)
}

#[cfg(test)]
mod tests {
    use super::jobs_page;

    #[test]
    fn qualifiers_ask_for_jobs() {
        for (q, page) in [
            ("state:dead", Some("/console/jobs?status=dead")),
            ("state:dead  queue:refunds", Some("/console/jobs?status=dead&queue=refunds")),
            ("error:\"timed out\" since:2h", Some("/console/jobs?error=timed%20out&since=2h")),
            ("error:\"timed out", Some("/console/jobs?error=timed%20out")),
            ("state:parked", Some("/console/stuck")),
            ("AC-1001", None),
            ("colour:red", None),
            ("AC-1001 state:dead", None),
        ] {
            assert_eq!(jobs_page(q).as_deref(), page, "{q}");
        }
    }
}
