//! Request bodies, and the checks that need no database.

mod orders;
mod corrections;
mod transitions;
mod extras;
mod e_invoices;
mod receipt;
mod returns;
mod refunds;

use contracts::InvalidValue;
use runtime::{ApiError, FieldErrors};
use serde::Deserialize;
use utoipa::ToSchema;

pub(super) use corrections::{CorrectOrder, Note};
pub(super) use e_invoices::{PortalAnswer, Register};
pub(super) use orders::{ChangeOrderState, Pay, PlaceOrder, QuoteOrder};
pub(super) use refunds::GiveBack;
pub(super) use returns::{
    Approve, ChangeReturnState, Complete, CorrectReturn, PreviewReturn, Receive, Reject, RequestReturn, Withdraw,
};
pub(super) use transitions::{OrderTransition, OrderTransitions};

use crate::context::Body;
use crate::transition::Details;

const MAX_REASON: usize = 1000;
const MAX_ACTOR: usize = 64;

/// The body of a step: a reason and an actor, and for some steps more.
pub(super) trait StepBody: Body {
    /// Checks every field but reason and actor.
    fn check(&self, _errors: &mut FieldErrors) {}

    /// What the step adds to the entity's document.
    fn into_details(self) -> Details;

    /// # Errors
    /// 422 with every invalid field.
    fn validate(&self) -> Result<(), ApiError> {
        let mut errors = FieldErrors::default();
        check_reason_and_actor(&mut errors, self);
        self.check(&mut errors);
        errors.finish()
    }
}

/// The two fields that every body has.
macro_rules! reason_and_actor {
    ($($body:ty),+) => {
        $(impl $crate::context::Body for $body {
            fn actor(&self) -> Option<&str> {
                self.actor.as_deref()
            }

            fn reason(&self) -> Option<&str> {
                self.reason.as_deref()
            }
        })+
    };
}
use reason_and_actor;

/// Why a step is made, and by whom. Without `actor` the header `X-Actor` names the actor, and without that it is
/// "anonymous".
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Step {
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// A parcel that has been sent.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ship {
    #[schema(max_length = 64)]
    carrier: Option<String>,
    #[schema(max_length = 128)]
    tracking_number: Option<String>,
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[schema(max_length = 64)]
    actor: Option<String>,
}

reason_and_actor!(Step, Ship);

impl StepBody for Step {
    fn into_details(self) -> Details {
        Details::default()
    }
}

impl StepBody for Ship {
    fn check(&self, errors: &mut FieldErrors) {
        check_optional(errors, "carrier", self.carrier.as_deref(), 64);
        check_optional(errors, "tracking_number", self.tracking_number.as_deref(), 128);
    }

    fn into_details(self) -> Details {
        Details { carrier: self.carrier, tracking_number: self.tracking_number, ..Details::default() }
    }
}

/// The value that a field holds. `None` when it is invalid, which is then reported.
fn parse_field<T>(
    errors: &mut FieldErrors,
    field: &str,
    text: &str,
    parse: fn(&str) -> Result<T, InvalidValue>,
) -> Option<T> {
    parse(text).inspect_err(|error| errors.add(field, error.to_string())).ok()
}

/// The same for a field that may be absent.
fn parse_optional<T>(
    errors: &mut FieldErrors,
    field: &str,
    text: Option<&str>,
    parse: fn(&str) -> Result<T, InvalidValue>,
) -> Option<T> {
    text.and_then(|text| parse_field(errors, field, text, parse))
}

/// More than nothing, in minor units.
fn check_amount(errors: &mut FieldErrors, field: &str, amount_minor: i64) {
    if !(1..=domain::MAX_MINOR).contains(&amount_minor) {
        errors.add(field, format!("must be from 1 to {} (minor units)", domain::MAX_MINOR));
    }
}

/// A line of 1 to `max` characters. It goes into addresses, subjects and tables, so it has no line break and no other control character.
fn check_text(errors: &mut FieldErrors, field: &str, text: &str, max: usize) {
    check_characters(errors, field, text, max, |_| false);
}

/// Prose of 1 to `max` characters: it may have line breaks and tabs.
fn check_prose(errors: &mut FieldErrors, field: &str, text: Option<&str>, max: usize) {
    if let Some(text) = text {
        check_characters(errors, field, text, max, |control| matches!(control, '\n' | '\r' | '\t'));
    }
}

fn check_characters(errors: &mut FieldErrors, field: &str, text: &str, max: usize, allowed: fn(char) -> bool) {
    if let Err(error) = contracts::check_text(text, max, allowed) {
        errors.add(field, error.to_string());
    }
}

/// The same for a field that may be absent.
fn check_optional(errors: &mut FieldErrors, field: &str, text: Option<&str>, max: usize) {
    if let Some(text) = text {
        check_text(errors, field, text, max);
    }
}

fn check_reason_and_actor(errors: &mut FieldErrors, body: &(impl Body + ?Sized)) {
    check_prose(errors, body.reason_field(), body.reason(), MAX_REASON);
    check_optional(errors, "actor", body.actor(), MAX_ACTOR);
}
