//! What operators did: as a page, and as a file.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use super::Console;
use super::document::encoded;
use super::page::{Frame, Part, exactly, moment, page, table};
use super::refusal::Answer;
use super::visitor::Visitor;
use crate::read::actions::{self, Matching, OperatorAction};

/// Actions on the page, and in the file.
const SHOWN: i64 = 200;
const IN_THE_FILE: i64 = 20_000;

/// What the list is narrowed by.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Narrowed {
    #[serde(default)]
    actor: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    text: String,
}

impl Narrowed {
    fn matching(&self) -> Matching<'_> {
        let given = |text: &'_ str| !text.trim().is_empty();
        Matching {
            actor: Some(self.actor.trim()).filter(|text| given(text)),
            action: Some(self.action.trim()).filter(|text| given(text)),
            text: Some(self.text.trim()).filter(|text| given(text)),
        }
    }
}

/// `GET /console/log`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Query(narrowed): Query<Narrowed>,
) -> Answer<Html<String>> {
    visitor.must_read("actions")?;
    let found = actions::matching(&console.shared.pool, narrowed.matching(), SHOWN).await?;
    let query = [("actor", &narrowed.actor), ("action", &narrowed.action), ("text", &narrowed.text)]
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    let content = html! {
        form .filter action="/console/log" {
            label { "Who" input name="actor" value=(narrowed.actor); }
            label { "Action" input name="action" value=(narrowed.action) placeholder="REPLAY"; }
            label { "Reason or target contains" input name="text" value=(narrowed.text); }
            button { "Filter" }
            a href={ "/console/log.csv?" (query.join("&")) } { "All of these as CSV" }
        }
        (actions_table(console.shared.surroundings.clock.now(), &found))
        @if i64::try_from(found.len()).is_ok_and(|found| found >= SHOWN) {
            p .quiet { "The latest " (SHOWN) " are shown. The file has up to " (IN_THE_FILE) "." }
        }
    };
    Ok(page(&Frame::of(&console, "Operator log").in_part(Part::Log).for_visitor(&visitor), &content))
}

/// `GET /console/log.csv`
pub(super) async fn csv(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Query(narrowed): Query<Narrowed>,
) -> Answer<Response> {
    visitor.must_read("actions")?;
    let found = actions::matching(&console.shared.pool, narrowed.matching(), IN_THE_FILE).await?;
    let mut text = "id,acted_at,actor,source,action,rows_changed,reason,target,request_id\r\n".to_owned();
    for action in found {
        let fields = [
            action.id.to_string(),
            action.acted_at.to_rfc3339(),
            action.actor,
            action.source,
            action.action,
            action.rows_changed.to_string(),
            action.reason,
            action.target.to_string(),
            action.request_id.unwrap_or_default(),
        ];
        text += &fields.map(|field| quoted(&field)).join(",");
        text += "\r\n";
    }
    let name = "attachment; filename=\"operator-log.csv\"";
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, name)], text).into_response())
}

/// A field of a CSV file (RFC 4180). A spreadsheet takes what begins like a formula for one, unless an apostrophe stands before it.
fn quoted(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let apostrophe = if is_formula { "'" } else { "" };
    format!("\"{apostrophe}{}\"", field.replace('"', "\"\""))
}

/// Actions, each with a link to what came of it.
pub(super) fn actions_table(now: DateTime<Utc>, actions: &[OperatorAction]) -> Markup {
    if actions.is_empty() {
        return html! { p .quiet { "No operator action." } };
    }
    let rows = actions.iter().map(|action| {
        html! {
            td { a href={ "/console/acts/" (action.id) } { (moment(now, action.acted_at)) } }
            td { (action.actor) }
            td { code { (action.action) } }
            td .number { (action.rows_changed) }
            td .error { (action.reason) }
            td { (action.source) }
            td { (exactly(action.acted_at)) }
        }
    });
    table("Operator actions", &["When", "Who", "Action", "Rows", "Reason", "From", "At"], &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_spreadsheet_runs_nothing_of_a_reason() {
        assert_eq!(quoted("it is \"back\""), "\"it is \"\"back\"\"\"");
        for formula in ["=1+1", "@x", "+1", "-1", "\t=1"] {
            assert!(quoted(formula).starts_with("\"'"), "{formula}");
        }
    }
}
