//! The processes: what is connected, what each reads or works on, and until when its lease holds.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Html;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::Console;
use super::page::{Frame, Part, maybe, moment, nothing, page, state, table};
use super::refusal::Answer;
use super::visitor::Visitor;
use crate::format::ranges;
use crate::read::processes::{self, Connected, Processes, Reader, Worker};

/// `GET /console/processes`
pub(super) async fn show(State(console): State<Arc<Console>>, visitor: Visitor) -> Answer<Html<String>> {
    visitor.must_read("status")?;
    let Processes { at, connected, readers, workers } = processes::processes(&console.shared.pool).await?;
    let releases = connected.iter().filter_map(|one| one.knows).collect::<std::collections::BTreeSet<_>>();
    let content = html! {
        @if releases.len() > 1 {
            p .alert { "Programs of " (releases.len()) " releases are connected: an upgrade is under way, or a process was forgotten." }
        }
        h2 { "Connected to the database" }
        (table("Connected", &["Program", "From", "Knows migration", "Connections", "Since", "Oldest open transaction"],
               &connected.iter().map(|one| connected_row(at, one)).collect::<Vec<_>>()))
        h2 { "Read the log" }
        @if readers.is_empty() { p .alert { "No process reads the log." } }
        @else {
            (table("Readers", &["For", "Process", "Shards", "Lease", "A mark moved"],
                   &readers.iter().map(|one| reader_row(at, one)).collect::<Vec<_>>()))
        }
        h2 { "Work on queues" }
        @if workers.is_empty() { p .alert { "No process works on a queue." } }
        @else {
            (table("Workers", &["Queue", "Process", "Running jobs", "Lease"],
                   &workers.iter().map(|one| worker_row(at, one)).collect::<Vec<_>>()))
        }
    };
    Ok(page(&Frame::of(&console, "Processes").in_part(Part::Processes).for_visitor(&visitor), &content))
}

fn connected_row(now: DateTime<Utc>, one: &Connected) -> Markup {
    html! {
        th scope="row" { (one.program) }
        td { (one.machine.as_deref().unwrap_or("its own machine")) }
        td .number { @match one.knows { Some(knows) => (knows), None => (nothing()) } }
        td .number { (one.connections) }
        td { (moment(now, one.since)) }
        td { (maybe(now, one.oldest_transaction_at)) }
    }
}

fn reader_row(now: DateTime<Utc>, one: &Reader) -> Markup {
    html! {
        td { (one.consumer) }
        th scope="row" { (one.name) }
        td { (ranges(&one.shards)) }
        td { (lease(now, one.expires_at)) }
        td { (maybe(now, one.moved_at)) }
    }
}

fn worker_row(now: DateTime<Utc>, one: &Worker) -> Markup {
    html! {
        td { (one.queue) }
        th scope="row" { (one.owner) }
        td .number { (one.running) }
        td { (lease(now, one.expires_at)) }
    }
}

fn lease(now: DateTime<Utc>, expires_at: DateTime<Utc>) -> Markup {
    html! { @if expires_at > now { "ends " (moment(now, expires_at)) } @else { (state("lease_expired")) " " (moment(now, expires_at)) } }
}
