//! The body of `PATCH /orders/{id}`, and notes.

use std::collections::BTreeMap;

use contracts::Email;
use runtime::{ApiError, FieldErrors};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use super::{
    MAX_ACTOR, MAX_REASON, PortalAnswer, StepBody, check_optional, check_prose, extras, parse_optional,
    reason_and_actor,
};
use crate::amend::{Amendments, Patch};
use crate::correct::Facts;
use crate::e_invoice::Registration;
use crate::transition::Details;

/// What is to be changed of an order. What is left out stays as it is.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CorrectOrder {
    /// From `PAID` on.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    payment_transaction_id: Option<String>,
    /// From `SHIPPED` on.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    carrier: Option<String>,
    /// From `SHIPPED` on.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    tracking_number: Option<String>,
    /// Another answer of the registration portal, once one was entered.
    #[serde(default)]
    e_invoice: Option<PortalAnswer>,
    /// null removes it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 254, format = Email)]
    customer_email: Patch<String>,
    /// Until the order is in the warehouse, and only if the GST stays the same. Members of the address that are left out stay as they
    /// are; null removes one, or the whole address.
    #[serde(default)]
    #[schema(schema_with = address_patch)]
    shipping_address: Patch<Map<String, Value>>,
    /// The same.
    #[serde(default)]
    #[schema(schema_with = address_patch)]
    billing_address: Patch<Map<String, Value>>,
    /// Entries that are left out stay as they are; null removes one, or all. At most 50.
    #[serde(default)]
    #[schema(schema_with = extras::metadata_patch)]
    metadata: Patch<BTreeMap<String, Option<String>>>,
    /// All tags, in place of those that the order has.
    #[serde(default)]
    #[schema(schema_with = extras::tags)]
    tags: Patch<Vec<String>>,
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// A note about an order, for the shop's own people.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api) struct Note {
    #[schema(required = true, nullable = false, min_length = 1, max_length = 1000, rename = "note")]
    #[serde(rename = "note")]
    reason: Option<String>,
    #[schema(max_length = 64)]
    actor: Option<String>,
}

reason_and_actor!(CorrectOrder, Note);

impl CorrectOrder {
    /// The facts, which [`check`](StepBody::check) has found valid.
    pub(in crate::api) fn facts(self) -> Facts {
        let Self { payment_transaction_id, carrier, tracking_number, e_invoice, .. } = self;
        let e_invoice = e_invoice.map(|answer| Registration { document: answer.into(), corrects: true });
        let customer_email = match self.customer_email {
            Patch::Keep => Patch::Keep,
            Patch::Remove => Patch::Remove,
            Patch::Set(email) => Email::parse(&email).map_or(Patch::Keep, Patch::Set),
        };
        let amendments = Amendments {
            customer_email,
            shipping_address: self.shipping_address,
            billing_address: self.billing_address,
            metadata: self.metadata,
            tags: self.tags,
        };
        Facts { payment_transaction_id, carrier, tracking_number, e_invoice, amendments, ..Facts::default() }
    }
}

impl StepBody for CorrectOrder {
    fn check(&self, errors: &mut FieldErrors) {
        check_optional(errors, "payment_transaction_id", self.payment_transaction_id.as_deref(), 128);
        check_optional(errors, "carrier", self.carrier.as_deref(), 64);
        check_optional(errors, "tracking_number", self.tracking_number.as_deref(), 128);
        if let Some(answer) = &self.e_invoice {
            answer.check(errors, "e_invoice.");
        }
        parse_optional(errors, "customer_email", self.customer_email.set().map(String::as_str), Email::parse);
        let metadata = self.metadata.set().into_iter().flatten();
        let kept = metadata.filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        extras::check_metadata(errors, &kept.collect());
        extras::check_tags(errors, self.tags.set().map_or(&[], Vec::as_slice));
    }

    fn into_details(self) -> Details {
        Details::default()
    }
}

impl StepBody for Note {
    fn validate(&self) -> Result<(), ApiError> {
        let mut errors = FieldErrors::default();
        check_optional(&mut errors, "actor", self.actor.as_deref(), MAX_ACTOR);
        match &self.reason {
            Some(note) => check_prose(&mut errors, "note", Some(note), MAX_REASON),
            None => errors.add("note", "is required"),
        }
        errors.finish()
    }

    fn into_details(self) -> Details {
        Details::default()
    }
}

/// An address of which each member may be null.
fn address_patch() -> Schema {
    let text = |most: usize| {
        let text = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
        text.min_length(Some(1)).max_length(Some(most)).pattern(Some(contracts::pattern(|_| false)))
    };
    let members = ["name", "line1", "line2", "city", "state", "postal_code", "country", "phone", "gstin"];
    let object = members.into_iter().fold(ObjectBuilder::new(), |object, name| object.property(name, text(255)));
    let sez = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Boolean, Type::Null]));
    object
        .property("sez", sez)
        .additional_properties(Some(text(255)))
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .into()
}
