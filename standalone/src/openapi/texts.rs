//! What the description says about texts. Each text of a request to the API is checked by `contracts::check_text`, so the rule is added
//! here, once, and not at each field.

use std::collections::BTreeSet;

use contracts::pattern;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr, Required, Schema};

/// Texts that may have line breaks and tabs. Those of operators may not: they are shown in a terminal.
const PROSE: [&str; 3] = ["reason", "rejection_reason", "approval_notes"];
const OPERATIONS: &str = "/api/v1/ops";
const SCHEMAS: &str = "#/components/schemas/";
/// Longest text of a field that has no name of its own: a further field of an address.
const FURTHER: usize = 255;
/// Longest name of such a field.
const FURTHER_NAME: usize = 64;

pub(super) fn describe(whole: &mut OpenApi) {
    let rules = Rules { line: pattern(|_| false), prose: pattern(|control| matches!(control, '\n' | '\r' | '\t')) };
    let mut roots = [BTreeSet::new(), BTreeSet::new()];
    for (path, item) in &mut whole.paths.paths {
        for operation in operations(item) {
            never_null(operation);
            if path.starts_with("/api/v1/") {
                roots[usize::from(path.starts_with(OPERATIONS))].extend(body_of(operation));
            }
        }
    }
    bodies_that_may_be_absent(whole);
    let [commands, operators] = roots;
    rules.add(whole, commands, &PROSE);
    rules.add(whole, operators, &[]);
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// A parameter is there, or it is not. Only JSON has null.
fn never_null(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
            && let SchemaType::Array(types) = &mut object.schema_type
        {
            types.retain(|one| *one != Type::Null);
            if let [only] = types.as_slice() {
                object.schema_type = SchemaType::Type(only.clone());
            }
        }
    }
}

/// A request without a body counts as one with `{}`.
fn bodies_that_may_be_absent(whole: &mut OpenApi) {
    let schemas = &whole.components.get_or_insert_default().schemas;
    let has_required = |name: &String| match schemas.get(name) {
        Some(RefOr::T(Schema::Object(object))) => !object.required.is_empty(),
        _ => true,
    };
    for operation in whole.paths.paths.values_mut().flat_map(operations) {
        let required = body_of(operation).is_none_or(|name| has_required(&name));
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            body.required = Some(if required { Required::True } else { Required::False });
        }
    }
}

/// The name of the schema of a request's body.
fn body_of(operation: &Operation) -> Option<String> {
    let RefOr::T(body) = operation.request_body.as_ref()? else { return None };
    let RefOr::T(content) = body.content.get("application/json")? else { return None };
    content.schema.as_ref().and_then(named)
}

fn named(schema: &RefOr<Schema>) -> Option<String> {
    match schema {
        RefOr::Ref(reference) => reference.ref_location.strip_prefix(SCHEMAS).map(ToOwned::to_owned),
        RefOr::T(_) => None,
    }
}

struct Rules {
    line: String,
    prose: String,
}

impl Rules {
    /// Adds the rule to these schemas and all that they name.
    fn add(&self, whole: &mut OpenApi, mut names: BTreeSet<String>, prose: &[&str]) {
        let mut seen = BTreeSet::new();
        let schemas = &mut whole.components.get_or_insert_default().schemas;
        while let Some(name) = names.pop_first() {
            if let Some(RefOr::T(schema)) = schemas.get_mut(&name)
                && seen.insert(name)
            {
                self.add_to(schema, &mut names, prose, "");
            }
        }
    }

    fn add_to(&self, schema: &mut Schema, names: &mut BTreeSet<String>, prose: &[&str], field: &str) {
        let mut inner = |schema: &mut RefOr<Schema>, field: &str| match schema {
            RefOr::T(schema) => self.add_to(schema, names, prose, field),
            RefOr::Ref(_) => names.extend(named(schema)),
        };
        match schema {
            Schema::Object(object) => {
                for (field, property) in &mut object.properties {
                    inner(property, field);
                }
                if let Some(AdditionalProperties::RefOr(further)) = object.additional_properties.as_deref_mut() {
                    if let RefOr::T(Schema::Object(object)) = further {
                        object.max_length.get_or_insert(FURTHER);
                    }
                    inner(further, "");
                    let name = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
                    let name = name.max_length(Some(FURTHER_NAME)).pattern(Some(self.line.clone())).build();
                    object.property_names = Some(Box::new(name.into()));
                }
                if is_text(object) {
                    object.min_length.get_or_insert(1);
                    object.pattern = Some(if prose.contains(&field) { self.prose.clone() } else { self.line.clone() });
                }
            }
            Schema::Array(array) => {
                if let ArrayItems::RefOrSchema(items) = &mut array.items {
                    inner(items, field);
                }
            }
            Schema::OneOf(one_of) => one_of.items.iter_mut().for_each(|item| inner(item, field)),
            _ => {}
        }
    }
}

/// A text with a limit and no narrower rule.
fn is_text(object: &Object) -> bool {
    let is_string = match &object.schema_type {
        SchemaType::Type(one) => *one == Type::String,
        SchemaType::Array(types) => types.contains(&Type::String),
        SchemaType::AnyValue => false,
    };
    let is_free = object.format.is_none() && object.enum_values.is_none() && object.pattern.is_none();
    is_string && is_free && object.max_length.is_some()
}
