//! What a shop attaches to an order: metadata and tags.

use std::collections::{BTreeMap, BTreeSet};

use runtime::FieldErrors;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};

use super::check_text;
use crate::amend::MAX_METADATA;

const MAX_NAME: usize = 40;
const MAX_VALUE: usize = 500;
const MAX_TAGS: usize = 20;
const MAX_TAG: usize = 64;

pub(in crate::api) fn check_metadata(errors: &mut FieldErrors, metadata: &BTreeMap<String, String>) {
    if metadata.len() > MAX_METADATA {
        errors.add("metadata", format!("must not have more than {MAX_METADATA} entries"));
    }
    for (name, value) in metadata {
        check_text(errors, "metadata", name, MAX_NAME);
        check_text(errors, &format!("metadata.{name}"), value, MAX_VALUE);
    }
}

pub(in crate::api) fn check_tags(errors: &mut FieldErrors, tags: &[String]) {
    if tags.len() > MAX_TAGS {
        errors.add("tags", format!("must be at most {MAX_TAGS}"));
    }
    if tags.iter().collect::<BTreeSet<_>>().len() < tags.len() {
        errors.add("tags", "must be different from each other");
    }
    for (index, tag) in tags.iter().enumerate() {
        check_text(errors, &format!("tags[{index}]"), tag, MAX_TAG);
    }
}

/// The metadata of a new order, in the API description.
pub(super) fn metadata() -> Schema {
    entries(SchemaType::Type(Type::String)).into()
}

/// Changes of the metadata: null removes an entry.
pub(super) fn metadata_patch() -> Schema {
    let entries = entries(SchemaType::from_iter([Type::String, Type::Null]));
    entries.schema_type(SchemaType::from_iter([Type::Object, Type::Null])).into()
}

fn entries(value: SchemaType) -> ObjectBuilder {
    let text = |most: usize| {
        ObjectBuilder::new().min_length(Some(1)).max_length(Some(most)).pattern(Some(contracts::pattern(|_| false)))
    };
    let name = text(MAX_NAME).schema_type(Type::String);
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .max_properties(Some(MAX_METADATA))
        .property_names(Some(name))
        .additional_properties(Some(text(MAX_VALUE).schema_type(value)))
}

pub(super) fn tags() -> Schema {
    let tag = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(MAX_TAG));
    ArrayBuilder::new()
        .items(tag.pattern(Some(contracts::pattern(|_| false))))
        .max_items(Some(MAX_TAGS))
        .unique_items(true)
        .into()
}
