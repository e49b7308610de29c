//! The story of an order as a table: a line per step, and below it what came of it, with the time since the step. Where the table is too
//! wide, the same as lines.

use chrono::{DateTime, Utc};
use contracts::money;

use crate::cli::format::{Cell, Content, Line, Page, Tone, table};
use crate::format::{gap, hops, or_dash, short};
use crate::read::story::{Step, Story, StoryEmail, StoryEvent, StoryJob, StoryWebhook};

/// A step, or what came of one.
struct Told {
    /// When the step was. Without it this is what came of the step above.
    at: Option<DateTime<Utc>>,
    /// Since the step before, or since its own step.
    after: Option<String>,
    what: String,
    how: String,
    by: String,
}

pub(in crate::cli) fn story(story: &Story) -> Page {
    let Story { order_number, order_id, state, currency, total_minor, steps, refunds, documents, .. } = story;
    let total = money(*total_minor, currency);
    let title = Line::after(&format!(" {order_number}"), Some(Tone::Strong)).in_pieces(1).text("", None);
    let title = title.text(state, Some(Tone::Strong)).text(&total, None).text(&order_id.to_string(), Some(Tone::Quiet));
    let mut before = None;
    let told = steps.iter().flat_map(|step| {
        let since = before.replace(step.at).map(|before| gap(before, step.at));
        std::iter::once(head(step, since)).chain(step.event.iter().flat_map(|event| came_of(step.at, event)))
    });
    let told: Vec<_> = told.collect();
    let steps = table(["at", "after", "what", "how it went", "by"], told.iter().map(Told::row));
    let steps = Content::Either(steps, told.iter().flat_map(Told::lines).collect());
    let mut page = Page::default().with(title).with(steps);
    if !story.returns.is_empty() {
        let rows = story
            .returns
            .iter()
            .map(|one| [one.id.to_string().into(), Cell::state(one.state.clone()), time(one.created_at).into()]);
        page = page.with(table(["return", "state", "asked for"], rows));
    }
    if !documents.is_empty() {
        let rows = documents.iter().map(|document| {
            let stored = document.stored_at.map(|at| gap(document.issued_at, at));
            [document.kind.clone(), document.number.clone(), time(document.issued_at), or_dash(stored)]
        });
        page = page.with(table(["document", "number", "issued", "stored after"], rows));
    }
    if !refunds.is_empty() {
        let rows = refunds.iter().map(|refund| {
            let names = [&refund.transaction_id, &refund.gateway_reference];
            let names: Vec<_> = names.into_iter().flatten().map(|name| short(name)).collect();
            let paid = refund.processed_at.map(|at| gap(refund.created_at, at));
            [
                refund.kind.clone().into(),
                Cell::state(refund.status.clone()),
                money(refund.amount_minor, currency).into(),
                or_dash(paid).into(),
                or_dash(Some(names.join(", ")).filter(|names| !names.is_empty())).into(),
            ]
        });
        page = page.with(table(["refund", "status", "amount", "paid after", "named"], rows));
    }
    if !story.actions.is_empty() {
        let rows = story
            .actions
            .iter()
            .map(|action| [time(action.acted_at), action.action.clone(), action.actor.clone(), action.id.to_string()]);
        page = page.with(table(["at", "action", "by", "number"], rows));
    }
    page
}

impl Told {
    fn row(&self) -> [Cell; 5] {
        let Self { at, after, what, how, by } = self;
        match at {
            Some(at) => [
                time(*at).into(),
                or_dash(after.clone()).into(),
                Cell::strong(what.clone()),
                how.clone().into(),
                by.clone().into(),
            ],
            None => [
                String::new().into(),
                or_dash(after.as_ref().map(|after| format!("+{after}"))).into(),
                format!("  {what}").into(),
                Cell::state(how.clone()),
                by.clone().into(),
            ],
        }
    }

    fn lines(&self) -> Vec<Line> {
        let Self { at, after, what, how, by } = self;
        let Some(at) = at else {
            let after = or_dash(after.as_ref().map(|after| format!("+{after}")));
            let line = Line::after(&format!("    {after:<11}"), Some(Tone::Quiet)).in_pieces(15);
            return vec![line.text(what, None).text(how, Tone::of(how))];
        };
        let head = Line::after(&format!(" {}  ", time(*at)), None).in_pieces(26).text(what, Some(Tone::Strong));
        let below = Line::after("    ", None).in_pieces(4).named("by", by, None);
        let below = after.iter().fold(below, |line, after| line.named("after", after, None));
        vec![head.text(how, Some(Tone::Quiet)), below]
    }
}

fn head(step: &Step, since: Option<String>) -> Told {
    let state =
        step.from_state.as_ref().map_or_else(|| step.to_state.clone(), |from| format!("{from} → {}", step.to_state));
    let how = match &step.event {
        None => "no event is kept".to_owned(),
        Some(event) => event.event_type.clone(),
    };
    let what = format!("{} {state}", step.entity_type);
    Told { at: Some(step.at), after: since, what, how, by: step.actor.clone() }
}

fn came_of(at: DateTime<Utc>, event: &StoryEvent) -> Vec<Told> {
    let mut lines = vec![published(at, event)];
    lines.extend(event.jobs.iter().map(|job| of_job(at, job)));
    lines.extend(event.emails.iter().map(|email| of_email(at, email)));
    lines.extend(event.webhooks.iter().map(|webhook| of_webhook(at, webhook)));
    lines
}

/// What came of a step: when after it, what, how it went.
fn line(at: DateTime<Utc>, then: Option<DateTime<Utc>>, what: &str, how: String) -> Told {
    Told { at: None, after: then.map(|then| gap(at, then)), what: what.to_owned(), how, by: String::new() }
}

fn published(at: DateTime<Utc>, event: &StoryEvent) -> Told {
    let reason = event.parked_reason.as_deref().map(|reason| format!(": {reason}"));
    let state = match &event.exception {
        Some(exception) => format!("{}{}", exception.to_lowercase(), reason.unwrap_or_default()),
        None if event.published => "out".to_owned(),
        None => "pending".to_owned(),
    };
    line(at, event.published_at, "outbox", told(&state, event.attempts, event.last_error.as_deref()))
}

fn of_job(at: DateTime<Utc>, job: &StoryJob) -> Told {
    let then = job.finished_at.or(job.started_at).or(Some(job.received_at));
    let how = told(&job.status, job.attempts, job.last_error.as_deref());
    line(at, then, &format!("job {}", job.queue), format!("{how}; {}", hops(at, job.received_at, job.started_at)))
}

fn of_email(at: DateTime<Utc>, email: &StoryEmail) -> Told {
    line(at, email.sent_at.or(email.recorded_at), &format!("e-mail {}", email.kind), email.status.to_lowercase())
}

fn of_webhook(at: DateTime<Utc>, webhook: &StoryWebhook) -> Told {
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
