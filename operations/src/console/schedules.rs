//! What runs by the clock.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::Console;
use super::page::{Frame, Part, act, after, moment, nothing, page, state, table};
use super::refusal::Answer;
use super::visitor::Visitor;
use crate::read::schedules;

/// `GET /console/schedules`
pub(super) async fn show(State(console): State<Arc<Console>>, visitor: Visitor) -> Answer<Html<String>> {
    visitor.must_read("schedules")?;
    let found = schedules::list(&console.shared.pool).await?;
    let may_run = visitor.may("POST", "schedules/{name}/run");
    let rows = found.schedules.iter().map(|schedule| {
        html! {
            th scope="row" { (schedule.name) }
            td { code { (schedule.cron) } " " (schedule.timezone) }
            td { @match schedule.next_due_at { Some(at) => (moment(found.at, at)), None => { "switched off" } } }
            td { @match &schedule.leader { Some(leader) => (leader), None => (nothing()) } }
            @match &schedule.last_run {
                Some(run) => {
                    td { (state(&run.status)) @if run.attempt > 1 { " at attempt " (run.attempt) } @if run.missed > 0 { ", " (run.missed) " missed" } }
                    td { (moment(found.at, run.started_at)) }
                    td { (after(run.started_at, run.finished_at)) }
                    td .error { @match (&run.error, &run.result) { (Some(error), _) => (error), (None, Some(result)) => code { (result) }, (None, None) => (nothing()) } }
                }
                None => { td { "none yet" } td {} td {} td {} }
            }
            td { @if schedule.next_due_at.is_some() && may_run { (run_form(&visitor, &schedule.name)) } }
        }
    });
    let head = ["Schedule", "Runs at", "Next", "Led by", "Last run", "Started", "Took", "What it did", ""];
    let content = table("Schedules", &head, &rows.collect::<Vec<_>>());
    Ok(page(&Frame::of(&console, "Schedules").in_part(Part::Schedules).for_visitor(&visitor), &content))
}

fn run_form(visitor: &Visitor, name: &str) -> Markup {
    let fields =
        html! { input type="hidden" name="act" value="run"; input type="hidden" name="schedule" value=(name); };
    act(
        visitor,
        &format!("run-{name}"),
        "Run now",
        "Its next run moves up to now. Its other times stay as they are.",
        &fields,
    )
}
