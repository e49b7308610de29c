//! What needs a person, then how things stand.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Html;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::Console;
use super::log::actions_table;
use super::page::{Frame, Part, act, maybe, moment, page, state, table};
use super::plots::{Asked, plots};
use super::refusal::{Answer, Refusal};
use super::visitor::Visitor;
use crate::doctor::{self, Diagnosis, Severity};
use crate::format::ranges;
use crate::read::queues::QueueStatus;
use crate::read::status::{self, OutboxStatus, RelayStatus};
use crate::read::stuck::{self, PATIENCE, Stuck};

/// `GET /console`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Answer<Html<String>> {
    visitor.must_read("status")?;
    let pool = &console.shared.pool;
    // The doctor asks most. Meanwhile the rest is answered.
    let rest = async {
        let status = status::status(pool).await?;
        let stuck = stuck::stuck(pool, PATIENCE, 1).await?;
        let plots = plots(pool, status.at, &asked).await?;
        Ok::<_, Refusal>((status, stuck, plots))
    };
    let (diagnosis, rest) = tokio::join!(doctor::diagnose(pool, &console.shared.surroundings), rest);
    let ((status, stuck, plots), diagnosis) = (rest?, diagnosis?);
    let now = status.at;
    let content = html! {
        (needs_a_person(&diagnosis, &stuck))
        h2 { "Queues" }
        (table("Queues", &["Queue", "State", "Ready", "Oldest ready", "Running", "In doubt", "Dead", "Blocked", ""],
               &status.queues.iter().map(|queue| queue_row(now, &visitor, queue)).collect::<Vec<_>>()))
        h2 { "Throughput and hops" }
        (plots)
        h2 { "Outbox" }
        (outbox(now, &status.outbox, status.shards_free))
        (table("Relays", &["Relay", "Shards", "Lease ends"], &status.relays.iter().map(|relay| relay_row(now, relay)).collect::<Vec<_>>()))
        h2 { "Latest operator actions" }
        (actions_table(now, &status.actions))
    };
    Ok(page(&Frame::of(&console, "Overview").in_part(Part::Overview).for_visitor(&visitor), &content))
}

fn needs_a_person(diagnosis: &Diagnosis, stuck: &Stuck) -> Markup {
    let is_quiet = diagnosis.findings.is_empty() && stuck.events_total == 0 && stuck.jobs_total == 0;
    html! {
        h2 .hidden { "What needs a person" }
        @if is_quiet { p .fine { "Nothing needs a person." } }
        @if stuck.events_total + stuck.jobs_total > 0 {
            p .alert {
                a href="/console/stuck" { (what_is_stuck(stuck)) } "."
            }
        }
        @if !diagnosis.findings.is_empty() {
            ul .findings {
                @for finding in &diagnosis.findings {
                    @let is_problem = finding.severity == Severity::Problem;
                    li .problem[is_problem] {
                        p { (state(if is_problem { "problem" } else { "warning" })) " " (finding.cause) }
                        p { "Remedy: " (finding.remedy) }
                        @if let Some(place) = place_of(finding.code) { p { a href=(place) { "Look at it here" } } }
                        p .quiet { code { (finding.code) } }
                    }
                }
            }
        }
    }
}

/// The page on which a finding can be looked into, and mended.
fn place_of(code: &str) -> Option<&'static str> {
    match code {
        "JOBS_DEAD" => Some("/console/jobs?status=dead"),
        "JOBS_IN_DOUBT" => Some("/console/jobs?status=in_doubt"),
        "JOBS_BLOCKED" | "AGGREGATE_BLOCKED" | "OUTBOX_OVERDUE" | "EXCEPTIONS_FULL" => Some("/console/stuck"),
        "JOBS_SILENT" | "LEASE_EXPIRED" | "NO_RELAY" => Some("/console/processes"),
        "SCHEDULE_FAILED" | "SCHEDULE_FAILING" | "SCHEDULE_OVERDUE" => Some("/console/schedules"),
        "WEBHOOK_DISABLED" | "WEBHOOK_FAILING" | "WEBHOOKS_GIVEN_UP" => Some("/console/webhooks"),
        _ => None,
    }
}

fn what_is_stuck(stuck: &Stuck) -> String {
    let kinds =
        [(stuck.events_total, "event"), (stuck.jobs_total, "job")].into_iter().filter(|(number, _)| *number > 0);
    let kinds: Vec<_> = kinds.map(|(number, kind)| count(number, kind)).collect();
    let verb = if stuck.events_total + stuck.jobs_total == 1 { "makes" } else { "make" };
    format!("{} {verb} no progress", kinds.join(" and "))
}

/// A number with its word.
pub(super) fn count(number: i64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

fn queue_row(now: DateTime<Utc>, visitor: &Visitor, queue: &QueueStatus) -> Markup {
    let jobs = |status: &str, number: i64| {
        html! {
            @if number == 0 { "0" } @else { a href={ "/console/jobs?queue=" (queue.name) "&status=" (status) } { (number) } }
        }
    };
    html! {
        th scope="row" { (queue.name) }
        td { (condition(now, queue)) }
        td .number { (jobs("ready", queue.ready)) }
        td { (maybe(now, queue.oldest_ready)) }
        td .number { (jobs("running", queue.running)) }
        td .number { (jobs("in_doubt", queue.in_doubt)) }
        td .number { (jobs("dead", queue.dead)) }
        td .number { (jobs("blocked", queue.blocked)) }
        td { (switch(visitor, queue)) }
    }
}

fn condition(now: DateTime<Utc>, queue: &QueueStatus) -> Markup {
    html! {
        @match (queue.paused_at, queue.outage_since) {
            (Some(at), _) => {
                (state("paused")) " " (moment(now, at)) " by " (queue.paused_by.as_deref().unwrap_or_default()) ": "
                (queue.paused_reason.as_deref().unwrap_or_default())
            }
            (None, Some(since)) => {
                (state("outage")) " since " (moment(now, since)) ": " (queue.outage_reason.as_deref().unwrap_or_default())
            }
            (None, None) => (state("works")),
        }
    }
}

fn switch(visitor: &Visitor, queue: &QueueStatus) -> Markup {
    let (verb, name, explained) = if queue.paused_at.is_some() {
        ("resume", "Resume", "Workers take jobs of this queue again.")
    } else {
        ("pause", "Pause", "No worker starts a job of this queue until it is resumed. Jobs that run end.")
    };
    if !visitor.may("POST", &format!("queues/{{queue}}/{verb}")) {
        return html! {};
    }
    let fields =
        html! { input type="hidden" name="act" value=(verb); input type="hidden" name="queue" value=(queue.name); };
    act(visitor, &format!("{verb}-{}", queue.name), name, explained, &fields)
}

fn outbox(now: DateTime<Utc>, outbox: &OutboxStatus, shards_free: i64) -> Markup {
    html! {
        dl {
            dt { "Pending" } dd { (outbox.pending) }
            dt { "Oldest pending" } dd { (maybe(now, outbox.oldest_pending)) }
            dt { "Parked" } dd { @if outbox.parked > 0 { a href="/console/stuck" { (outbox.parked) } } @else { "0" } }
            dt { "Published in the last minute" } dd { (outbox.published_per_minute) }
            dt { "Shards without a relay" } dd { (shards_free) }
        }
    }
}

fn relay_row(now: DateTime<Utc>, relay: &RelayStatus) -> Markup {
    html! {
        th scope="row" { (relay.name) }
        td { (ranges(&relay.shards)) }
        td { (moment(now, relay.expires_at)) }
    }
}
