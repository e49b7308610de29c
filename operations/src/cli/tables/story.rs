//! The story of an order as a table: a line per step, and below it what came of it, with the time since the step.

use chrono::{DateTime, Utc};
use contracts::money;

use crate::cli::format::table;
use crate::format::{gap, or_dash, short};
use crate::read::story::{Step, Story, StoryEmail, StoryEvent, StoryJob, StoryWebhook};

type Line = [String; 5];

pub(in crate::cli) fn story(story: &Story) -> String {
    let Story { order_number, order_id, state, currency, total_minor, steps, refunds, documents, .. } = story;
    let mut parts = vec![format!(" {order_number}  {state}  {}  {order_id}", money(*total_minor, currency))];
    let mut before = None;
    let lines = steps.iter().flat_map(|step| {
        let since = before.replace(step.at).map(|before| gap(before, step.at));
        std::iter::once(head(step, since)).chain(step.event.iter().flat_map(|event| came_of(step.at, event)))
    });
    parts.push(table(["at", "after", "what", "how it went", "by"], lines));
    if !documents.is_empty() {
        let rows = documents.iter().map(|document| {
            let stored = document.stored_at.map(|at| gap(document.issued_at, at));
            [document.kind.clone(), document.number.clone(), time(document.issued_at), or_dash(stored)]
        });
        parts.push(table(["document", "number", "issued", "stored after"], rows));
    }
    if !refunds.is_empty() {
        let rows = refunds.iter().map(|refund| {
            let names = [&refund.transaction_id, &refund.gateway_reference];
            let names: Vec<_> = names.into_iter().flatten().map(|name| short(name)).collect();
            let paid = refund.processed_at.map(|at| gap(refund.created_at, at));
            [
                refund.kind.clone(),
                refund.status.clone(),
                money(refund.amount_minor, currency),
                or_dash(paid),
                or_dash(Some(names.join(", ")).filter(|names| !names.is_empty())),
            ]
        });
        parts.push(table(["refund", "status", "amount", "paid after", "named"], rows));
    }
    if !story.actions.is_empty() {
        let rows = story
            .actions
            .iter()
            .map(|action| [time(action.acted_at), action.action.clone(), action.actor.clone(), action.id.to_string()]);
        parts.push(table(["at", "action", "by", "number"], rows));
    }
    parts.join("\n\n")
}

fn head(step: &Step, since: Option<String>) -> Line {
    let state =
        step.from_state.as_ref().map_or_else(|| step.to_state.clone(), |from| format!("{from} → {}", step.to_state));
    let how = match &step.event {
        None => "no event is kept".to_owned(),
        Some(event) => event.event_type.clone(),
    };
    [time(step.at), or_dash(since), format!("{} {state}", step.entity_type), how, step.actor.clone()]
}

fn came_of(at: DateTime<Utc>, event: &StoryEvent) -> Vec<Line> {
    let mut lines = vec![published(at, event)];
    lines.extend(event.jobs.iter().map(|job| of_job(at, job)));
    lines.extend(event.emails.iter().map(|email| of_email(at, email)));
    lines.extend(event.webhooks.iter().map(|webhook| of_webhook(at, webhook)));
    lines
}

/// What came of a step: when after it, what, how it went.
fn line(at: DateTime<Utc>, then: Option<DateTime<Utc>>, what: &str, how: String) -> Line {
    [String::new(), or_dash(then.map(|then| format!("+{}", gap(at, then)))), format!("  {what}"), how, String::new()]
}

fn published(at: DateTime<Utc>, event: &StoryEvent) -> Line {
    let reason = event.parked_reason.as_deref().map(|reason| format!(": {reason}"));
    let state = match &event.exception {
        Some(exception) => format!("{}{}", exception.to_lowercase(), reason.unwrap_or_default()),
        None if event.published => "out".to_owned(),
        None => "pending".to_owned(),
    };
    line(at, event.published_at, "outbox", told(&state, event.attempts, event.last_error.as_deref()))
}

fn of_job(at: DateTime<Utc>, job: &StoryJob) -> Line {
    let then = job.finished_at.or(job.started_at).or(Some(job.received_at));
    line(at, then, &format!("job {}", job.queue), told(&job.status, job.attempts, job.last_error.as_deref()))
}

fn of_email(at: DateTime<Utc>, email: &StoryEmail) -> Line {
    line(at, email.sent_at.or(email.recorded_at), &format!("e-mail {}", email.kind), email.status.to_lowercase())
}

fn of_webhook(at: DateTime<Utc>, webhook: &StoryWebhook) -> Line {
    let how = told(&webhook.status.to_lowercase(), webhook.attempts, webhook.last_error.as_deref());
    line(at, webhook.settled_at, &format!("webhook {}", short(&webhook.url)), how)
}

/// A state, with the attempts where they say something, and what went wrong last.
fn told(state: &str, attempts: i32, error: Option<&str>) -> String {
    let attempts = if attempts > 1 { format!(" at attempt {attempts}") } else { String::new() };
    let error = error.map(|error| format!("; last error: {}", short(error)));
    format!("{state}{attempts}{}", error.unwrap_or_default())
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}
