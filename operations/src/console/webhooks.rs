//! Where events are sent to, what came of each delivery, and what can be done about it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Html;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use runtime::ApiError;
use runtime::http::RequestContext;
use secrecy::ExposeSecret;
use serde::Deserialize;
use uuid::Uuid;

use super::Console;
use super::act::{Justified, Sent, filled_in, operator};
use super::filter::{self, long_ago};
use super::page::{Frame, Part, event_link, exactly, form, maybe, moment, page, state, table, told};
use super::refusal::Answer;
use super::visitor::Visitor;
use crate::read::webhooks::{self as read, Delivery, Endpoint};
use crate::write::Operator;
use crate::write::webhooks::{self, EndpointWithSecret, Wanted};

/// Deliveries on a page.
const SHOWN: i64 = 100;

#[derive(Debug, Deserialize)]
pub(super) struct New {
    url: String,
    #[serde(default)]
    description: String,
    /// With blanks between them; empty: all.
    #[serde(default)]
    event_types: String,
    #[serde(flatten)]
    justified: Justified,
}

#[derive(Debug, Deserialize)]
pub(super) struct Act {
    #[serde(rename = "act")]
    verb: String,
    #[serde(default)]
    event_id: String,
    #[serde(default)]
    since: String,
    #[serde(flatten)]
    justified: Justified,
}

#[derive(Debug, Deserialize)]
pub(super) struct PageOf {
    #[serde(default)]
    before: String,
}

/// `GET /console/webhooks`
pub(super) async fn list(State(console): State<Arc<Console>>, visitor: Visitor) -> Answer<Html<String>> {
    visitor.must_read("webhooks")?;
    let (now, found) = (console.shared.surroundings.clock.now(), read::endpoints(&console.shared.pool).await?.data);
    let content = html! {
        @if visitor.may("POST", "webhooks") {
            (form(&visitor, "new-endpoint", "/console/webhooks", "Add an endpoint", "Its secret is shown once, after this form is sent.", &fields()))
        }
        @if found.is_empty() { p .quiet { "There is no endpoint: events are sent nowhere." } }
        @else {
            (table("Endpoints", &["Endpoint", "State", "Types", "What for", "Changed"], &found.iter().map(|endpoint| html! {
                th scope="row" { a href={ "/console/webhooks/" (endpoint.id) } { (endpoint.url) } }
                td { (condition(now, endpoint)) }
                td { (types(endpoint)) }
                td { (endpoint.description.as_deref().unwrap_or_default()) }
                td { (moment(now, endpoint.updated_at)) }
            }).collect::<Vec<_>>()))
        }
    };
    Ok(page(&Frame::of(&console, "Webhooks").in_part(Part::Webhooks).for_visitor(&visitor), &content))
}

/// `POST /console/webhooks`
pub(super) async fn create(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    context: RequestContext,
    form: Sent<New>,
) -> Answer<Html<String>> {
    visitor.must("POST", "webhooks")?;
    let New { url, description, event_types, justified } = filled_in(form)?;
    let operator = operator(&visitor, context, &justified)?;
    let description = Some(description.trim().to_owned()).filter(|text| !text.is_empty());
    let event_types = Some(event_types.split_whitespace().map(str::to_owned).collect());
    let wanted = Wanted { url: Some(url), description, event_types, enabled: None }
        .parse(console.shared.allow_private_webhooks)?;
    let (id, at) = (console.shared.ids.next(), console.shared.surroundings.clock.now());
    let made = webhooks::create(&console.shared.pool, id, wanted, at, operator).await?;
    one(&console, &visitor, id, None, &secret(&made)).await
}

fn id_of(path: &str) -> Answer<Uuid> {
    filter::id_of(path, "WEBHOOK_NOT_FOUND", "webhook endpoint")
}

/// `GET /console/webhooks/{id}`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(PageOf { before }): Query<PageOf>,
) -> Answer<Html<String>> {
    visitor.must_read("webhooks/{id}/deliveries")?;
    one(&console, &visitor, id_of(&id)?, Uuid::try_parse(&before).ok(), &html! {}).await
}

/// `POST /console/webhooks/{id}`
pub(super) async fn act(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    context: RequestContext,
    Path(id): Path<String>,
    form: Sent<Act>,
) -> Answer<Html<String>> {
    let id = id_of(&id)?;
    let Act { verb, event_id, since, justified } = filled_in(form)?;
    let operator = operator(&visitor, context, &justified)?;
    let told = carry_out(&console, &visitor, id, (&verb, &event_id, &since), operator).await?;
    if verb == "delete" {
        return list(State(console), visitor).await;
    }
    one(&console, &visitor, id, None, &told).await
}

/// Does it, and says what came of it.
async fn carry_out(
    console: &Console,
    visitor: &Visitor,
    id: Uuid,
    (verb, event_id, since): (&str, &str, &str),
    operator: Operator,
) -> Answer<Markup> {
    let (pool, now) = (&console.shared.pool, console.shared.surroundings.clock.now());
    let switched = |enabled| Wanted { url: None, description: None, event_types: None, enabled: Some(enabled) };
    let on_its_way = html! { p role="status" .fine { "It is on its way; its line below says what came of it. " a href={ "/console/webhooks/" (id) } { "Look again" } } };
    Ok(match verb {
        "test" => {
            visitor.must("POST", "webhooks/{id}/test")?;
            webhooks::test(pool, id, console.shared.ids.next(), now, operator).await?;
            on_its_way
        }
        "redeliver" => {
            visitor.must("POST", "webhooks/{id}/deliveries/{event_id}/redeliver")?;
            let event_id =
                Uuid::try_parse(event_id).map_err(|_| ApiError::invalid_field("event_id", "must be a UUID"))?;
            webhooks::redeliver(pool, id, event_id, operator).await?;
            on_its_way
        }
        "recover" => {
            visitor.must("POST", "webhooks/{id}/recover")?;
            let since = long_ago(now, since)?;
            if since.timestamp() < 0 {
                return Err(ApiError::invalid_field("since", "must lead to a time from 1970 on").into());
            }
            let pool = pool.clone();
            // It goes on when the browser has gone.
            let recovered = tokio::spawn(async move { webhooks::recover(&pool, id, since, operator).await });
            let recovered = recovered.await.map_err(ApiError::internal)??;
            html! { p role="status" .fine { "Deliveries that will be made: " (recovered.deliveries) "." } }
        }
        "rotate" => {
            visitor.must("POST", "webhooks/{id}/rotate-secret")?;
            secret(&webhooks::rotate(pool, id, webhooks::USUAL_OVERLAP, now, operator).await?)
        }
        "enable" | "disable" => {
            visitor.must("PATCH", "webhooks/{id}")?;
            webhooks::change(pool, id, switched(verb == "enable"), operator).await?;
            html! { p role="status" .fine { "The endpoint is " (verb) "d." } }
        }
        "delete" => {
            visitor.must("POST", "webhooks/{id}/delete")?;
            webhooks::delete(pool, id, operator).await?;
            html! {}
        }
        _ => return Err(ApiError::invalid_field("act", "is none that an endpoint knows").into()),
    })
}

async fn one(
    console: &Console,
    visitor: &Visitor,
    id: Uuid,
    before: Option<Uuid>,
    told: &Markup,
) -> Answer<Html<String>> {
    let pool = &console.shared.pool;
    let (now, endpoint) = (console.shared.surroundings.clock.now(), read::endpoint(pool, id).await?);
    let found = read::deliveries(pool, id, None, before, SHOWN).await?;
    let content = html! {
        (told)
        dl {
            dt { "State" } dd { (condition(now, &endpoint)) }
            dt { "Types" } dd { (types(&endpoint)) }
            @if let Some(description) = &endpoint.description { dt { "What for" } dd { (description) } }
            @if let Some(until) = endpoint.earlier_secret_until { dt { "Earlier secret signs until" } dd { (exactly(until)) } }
        }
        div .acts { (acts_on(visitor, &endpoint)) }
        @if found.data.is_empty() { p .quiet { "Nothing was sent to it yet." } }
        @else {
            (table("Deliveries", &["Event", "Type", "State", "Attempts", "Made", "Next attempt", "Last error", ""],
                   &found.data.iter().map(|delivery| delivery_row(now, visitor, endpoint.disabled_at.is_none(), delivery)).collect::<Vec<_>>()))
        }
        @if let Some(before) = found.next_before { p { a href={ "/console/webhooks/" (id) "?before=" (before) } { "Earlier ones" } } }
    };
    let title = format!("Webhooks to {}", endpoint.url);
    Ok(page(&Frame::of(console, &title).in_part(Part::Webhooks).for_visitor(visitor), &content))
}

fn condition(now: DateTime<Utc>, endpoint: &Endpoint) -> Markup {
    html! {
        @match (endpoint.disabled_at, endpoint.failing_since) {
            (Some(at), _) => { (state("disabled")) " " (moment(now, at)) ": " (endpoint.disabled_reason.as_deref().unwrap_or_default()) }
            (None, Some(since)) => { (state("failed")) ", nothing delivered since " (moment(now, since)) }
            (None, None) => (state("works")),
        }
    }
}

fn types(endpoint: &Endpoint) -> String {
    if endpoint.event_types.is_empty() { "all".to_owned() } else { endpoint.event_types.join(", ") }
}

fn fields() -> Markup {
    html! {
        label for="endpoint-url" { "URL" }
        input #endpoint-url type="url" name="url" required maxlength="2048" placeholder="https://";
        label for="endpoint-types" { "Types of events (left empty: all)" }
        input #endpoint-types name="event_types" placeholder="order.shipped refund.processed";
        label for="endpoint-description" { "What for" }
        input #endpoint-description name="description" maxlength="255";
    }
}

fn secret(made: &EndpointWithSecret) -> Markup {
    html! { div role="status" .fine { p { "The secret that verifies what is sent. It is shown this once:" } p { code .secret { (made.secret.expose_secret()) } } } }
}

fn acts_on(visitor: &Visitor, endpoint: &Endpoint) -> Markup {
    let offer = |verb: &str, (method, route): (&str, &str), name: &str, explained: &str, more: Markup| {
        let fields = html! { input type="hidden" name="act" value=(verb); (more) };
        html! {
            @if visitor.may(method, route) { (form(visitor, verb, &format!("/console/webhooks/{}", endpoint.id), name, explained, &fields)) }
        }
    };
    let since = html! { label for="since" { "Since how long ago" } input #since name="since" required value="3days"; };
    html! {
        @if endpoint.disabled_at.is_none() {
            (offer("test", ("POST", "webhooks/{id}/test"), "Send a test event", "Of the type webhook.test.", html! {}))
            (offer("recover", ("POST", "webhooks/{id}/recover"), "Recover", "Makes every delivery since then that failed or was not recorded.", since))
            (offer("disable", ("PATCH", "webhooks/{id}"), "Disable", "It gets nothing, and nothing is recorded for it.", html! {}))
        } @else {
            (offer("enable", ("PATCH", "webhooks/{id}"), "Enable", "It gets events again from now on. Recover sends what it has missed.", html! {}))
        }
        (offer("rotate", ("POST", "webhooks/{id}/rotate-secret"), "Rotate the secret", "For a day every event is signed with both secrets.", html! {}))
        (offer("delete", ("POST", "webhooks/{id}/delete"), "Delete", "What is pending for it is discarded.", html! {}))
    }
}

fn delivery_row(now: DateTime<Utc>, visitor: &Visitor, is_enabled: bool, delivery: &Delivery) -> Markup {
    let fields = html! { input type="hidden" name="act" value="redeliver"; input type="hidden" name="event_id" value=(delivery.event_id); };
    let id = format!("redeliver-{}", delivery.event_id);
    html! {
        td { @if delivery.event_type == "webhook.test" { code { (delivery.event_id) } } @else { (event_link(delivery.event_id)) } }
        td { code { (delivery.event_type) } }
        td { (state(&delivery.status.to_lowercase())) }
        td .number { (delivery.attempts) }
        td { (moment(now, delivery.created_at)) }
        td { (maybe(now, delivery.next_attempt_at)) }
        td .error { (told(delivery.last_error.as_deref())) }
        td {
            @if is_enabled && delivery.status != "PENDING" && visitor.may("POST", "webhooks/{id}/deliveries/{event_id}/redeliver") {
                (form(visitor, &id, &format!("/console/webhooks/{}", delivery.endpoint_id), "Redeliver", "The event is sent once more.", &fields))
            }
        }
    }
}
