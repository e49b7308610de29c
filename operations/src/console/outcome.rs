//! An act, and what came of it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Html;
use maud::html;
use runtime::ApiError;
use serde::Deserialize;

use super::Console;
use super::page::{Frame, after, event_link, exactly, moment, page, state, table, told};
use super::refusal::Answer;
use super::visitor::Visitor;
use crate::read::outcome::{self, Outcome};

/// Lines on the page.
const SHOWN: usize = 200;

#[derive(Debug, Deserialize)]
pub(super) struct Params {
    /// What of the act was refused, and why.
    #[serde(default)]
    refused: String,
}

/// `GET /console/acts/{id}`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(params): Query<Params>,
) -> Answer<Html<String>> {
    visitor.must_read("actions")?;
    let not_found = || ApiError::not_found("ACTION_NOT_FOUND", "no operator action has this number");
    let id = id.parse::<i64>().map_err(|_| not_found())?;
    let Outcome { at, action, sentence, lines, is_under_way } =
        outcome::of(&console.shared.pool, id).await?.ok_or_else(not_found)?;
    let content = html! {
        p role="status" .fine { strong { (sentence) } @if is_under_way { span data-follow { " It is under way. " a href={ "/console/acts/" (id) } { "Look again" } } } }
        @if !params.refused.is_empty() { p role="alert" .alert { "Refused: " (params.refused) } }
        dl {
            dt { "Who" } dd { (action.actor) }
            dt { "When" } dd { (exactly(action.acted_at)) ", " (moment(at, action.acted_at)) }
            dt { "Why" } dd { (action.reason) }
            dt { "What" } dd { code { (action.action) } ", " (action.rows_changed) " rows, by " (action.source) }
            @if let Some(request) = &action.request_id { dt { "Request" } dd { code { (request) } } }
        }
        @if !lines.is_empty() {
            (table("What came of it", &["Event", "Queue", "State now", "After", "Last error"], &lines.iter().take(SHOWN).map(|line| html! {
                td { (event_link(line.event_id)) }
                td { (line.queue.as_deref().unwrap_or("outbox")) }
                td { (state(&line.state)) }
                td { (after(action.acted_at, line.at)) }
                td .error { (told(line.error.as_deref())) }
            }).collect::<Vec<_>>()))
        }
        @if lines.len() > SHOWN { p .quiet { (SHOWN) " of " (lines.len()) " are shown." } }
        @if action.action == "PAUSE" || action.action == "RESUME" { p { a href="/console" { "All queues" } } }
        @if action.action == "RUN_SCHEDULE" { p { a href="/console/schedules" { "All schedules" } } }
    };
    let title = format!("Operator action {id}");
    Ok(page(&Frame::of(&console, &title).for_visitor(&visitor), &content))
}
