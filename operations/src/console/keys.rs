//! The keys of callers, for admins.

use std::sync::Arc;

use access::Role;
use axum::extract::{Path, State};
use axum::response::Html;
use chrono::{DateTime, TimeDelta, Utc};
use contracts::CustomerId;
use maud::{Markup, html};
use runtime::ApiError;
use runtime::http::RequestContext;
use secrecy::ExposeSecret;
use serde::Deserialize;
use uuid::Uuid;

use super::Console;
use super::act::{Justified, Sent, filled_in, operator};
use super::page::{Frame, Part, exactly, form, maybe, moment, page, state, table};
use super::refusal::{Answer, Refusal};
use super::visitor::Visitor;
use crate::read::keys::{self as read, KeyStatus};
use crate::write::keys::{self, MadeKey, NewKey};

const SHOWN: i64 = 500;

#[derive(Debug, Deserialize)]
pub(super) struct New {
    name: String,
    role: String,
    #[serde(default)]
    customer_id: String,
    /// Days; empty: it does not expire.
    #[serde(default)]
    expires_in_days: String,
    /// CIDR blocks with blanks between them.
    #[serde(default)]
    networks: String,
    #[serde(flatten)]
    justified: Justified,
}

#[derive(Debug, Deserialize)]
pub(super) struct Act {
    #[serde(rename = "act")]
    verb: String,
    #[serde(flatten)]
    justified: Justified,
}

/// `GET /console/keys`
pub(super) async fn list(State(console): State<Arc<Console>>, visitor: Visitor) -> Answer<Html<String>> {
    visitor.must_read("keys")?;
    whole(&console, &visitor, &html! {}).await
}

/// `POST /console/keys`: makes a key, and shows it this once.
pub(super) async fn create(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    context: RequestContext,
    form: Sent<New>,
) -> Answer<Html<String>> {
    visitor.must("POST", "keys")?;
    let new = filled_in(form)?;
    let operator = operator(&visitor, context, &new.justified)?;
    let new = new.parse(console.shared.surroundings.clock.now())?;
    let made = keys::create(&console.shared.pool, new, operator).await?;
    whole(&console, &visitor, &this_once(&made)).await
}

/// `POST /console/keys/{id}`: rotates or revokes it.
pub(super) async fn act(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    context: RequestContext,
    Path(id): Path<String>,
    form: Sent<Act>,
) -> Answer<Html<String>> {
    let id =
        Uuid::try_parse(&id).map_err(|_| Refusal::from(ApiError::not_found("KEY_NOT_FOUND", "no key has this id")))?;
    let Act { verb, justified } = filled_in(form)?;
    let operator = operator(&visitor, context, &justified)?;
    let told = match &*verb {
        "rotate" => {
            visitor.must("POST", "keys/{id}/rotate")?;
            this_once(&keys::rotate(&console.shared.pool, id, keys::USUAL_OVERLAP, operator).await?)
        }
        "revoke" => {
            visitor.must("POST", "keys/{id}/revoke")?;
            keys::revoke(&console.shared.pool, id, operator).await?;
            html! { p role="status" .fine { "The key is revoked: no service accepts it after 5 seconds." } }
        }
        _ => return Err(ApiError::invalid_field("act", "must be rotate or revoke").into()),
    };
    whole(&console, &visitor, &told).await
}

impl New {
    fn parse(&self, now: DateTime<Utc>) -> Result<NewKey, ApiError> {
        let invalid = |field: &'static str, error: String| ApiError::invalid_field(field, error);
        let role = self.role.parse::<Role>().map_err(|error| invalid("role", error.to_string()))?;
        let customer_id = Some(self.customer_id.trim()).filter(|id| !id.is_empty()).map(CustomerId::parse).transpose();
        let customer_id = customer_id.map_err(|error| invalid("customer_id", error.to_string()))?;
        let networks = self.networks.split_whitespace().map(runtime::config::network).collect::<Result<_, _>>();
        let networks = networks.map_err(|error| invalid("networks", error))?;
        let days = Some(self.expires_in_days.trim()).filter(|days| !days.is_empty());
        let days = days
            .map(|days| days.parse::<u16>().ok().filter(|days| *days > 0))
            .map(|days| days.ok_or_else(|| invalid("expires_in_days", "must be 1 to 65,535".to_owned())));
        let expires_at = days.transpose()?.map(|days| now + TimeDelta::days(days.into()));
        Ok(NewKey::new(&self.name, role, customer_id, networks, expires_at)?)
    }
}

async fn whole(console: &Console, visitor: &Visitor, told: &Markup) -> Answer<Html<String>> {
    let (now, keys) =
        (console.shared.surroundings.clock.now(), read::list(&console.shared.pool, false, SHOWN).await?.data);
    let content = html! {
        (told)
        (form(visitor, "new-key", "/console/keys", "Make a key", "It is shown once, after this form is sent.", &fields()))
        @if keys.is_empty() { p .quiet { "There is no key." } }
        @else {
            @if i64::try_from(keys.len()).is_ok_and(|shown| shown >= SHOWN) {
                p .alert { "The latest " (SHOWN) " keys are shown. " code { "ops keys list" } " has all." }
            }
            (table("Keys", &["Name", "Role", "State", "Begins with", "Made", "By", "Expires", "Last used", "From", ""],
                   &keys.iter().map(|key| row(now, visitor, key)).collect::<Vec<_>>()))
        }
    };
    Ok(page(&Frame::of(console, "Keys").in_part(Part::Keys).for_visitor(visitor), &content))
}

fn fields() -> Markup {
    html! {
        label for="key-name" { "Name, the actor in the audit" }
        input #key-name name="name" required maxlength="64";
        label for="key-role" { "Role" }
        select #key-role name="role" { @for role in Role::ALL { option value=(role) { (role) } } }
        label for="key-customer" { "Customer, for the role customer" }
        input #key-customer name="customer_id" maxlength="64";
        label for="key-days" { "Expires after so many days (left empty: never)" }
        input #key-days type="number" name="expires_in_days" min="1" max="65535";
        label for="key-networks" { "Networks from which it may be used (left empty: all)" }
        input #key-networks name="networks" placeholder="203.0.113.0/24";
    }
}

fn this_once(made: &MadeKey) -> Markup {
    html! {
        div role="status" .fine {
            p { "The key of " strong { (made.name) } ", role " (made.role) ". It is shown this once:" }
            p { code .secret { (made.key.expose_secret()) } }
            @if let Some(until) = made.earlier_key_until { p { "The earlier key works until " (exactly(until)) "." } }
        }
    }
}

fn row(now: DateTime<Utc>, visitor: &Visitor, key: &KeyStatus) -> Markup {
    let condition = if key.is_valid {
        "valid"
    } else if key.revoked_at.is_some() {
        "revoked"
    } else {
        "expired"
    };
    let offer = |act: &str, name: &str, explained: &str| {
        let fields = html! { input type="hidden" name="act" value=(act); };
        form(visitor, &format!("{act}-{}", key.id), &format!("/console/keys/{}", key.id), name, explained, &fields)
    };
    html! {
        th scope="row" { (key.name) }
        td { (key.role) }
        td { (state(condition)) @if let (true, Some(until)) = (key.is_valid, key.revoked_at) { " until " (exactly(until)) } }
        td { code { (key.prefix) } }
        td { (moment(now, key.created_at)) }
        td { (key.created_by) }
        td { (maybe(now, key.expires_at)) }
        td { (maybe(now, key.last_used_at)) }
        td { (key.networks.join(" ")) }
        td {
            @if key.is_valid {
                @if key.revoked_at.is_none() { (offer("rotate", "Rotate", "Makes another key of the same name and role. This one works for a day more.")) }
                (offer("revoke", "Revoke", "No service accepts it after 5 seconds."))
            }
        }
    }
}
