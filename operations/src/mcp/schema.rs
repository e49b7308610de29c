//! JSON Schemas of arguments and answers, from the types that the API describes.

use rmcp::model::JsonObject;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Where the description of the API keeps its types.
const COMPONENTS: &str = "#/components/schemas/";
/// Where a schema that stands alone keeps them.
const DEFINITIONS: &str = "#/$defs/";

/// The schema of a type, with the types that it refers to.
pub(super) fn of<T: ToSchema>() -> JsonObject {
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    let mut whole = object(&T::schema());
    let definitions: JsonObject = parts.iter().map(|(name, part)| (name.clone(), object(part).into())).collect();
    if !definitions.is_empty() {
        whole.insert("$defs".to_owned(), definitions.into());
    }
    let mut whole = Value::Object(whole);
    refer_to_definitions(&mut whole);
    match whole {
        Value::Object(whole) => whole,
        _ => JsonObject::new(),
    }
}

/// That of a tool without arguments.
pub(super) fn nothing() -> JsonObject {
    object(&json!({ "type": "object", "additionalProperties": false }))
}

fn object(schema: &impl Serialize) -> JsonObject {
    match serde_json::to_value(schema) {
        Ok(Value::Object(object)) => object,
        // The tests read all schemas: none is anything else.
        _ => JsonObject::new(),
    }
}

fn refer_to_definitions(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(COMPONENTS)
            {
                *reference = format!("{DEFINITIONS}{name}");
            }
            members.values_mut().for_each(refer_to_definitions);
        }
        Value::Array(elements) => elements.iter_mut().for_each(refer_to_definitions),
        _ => {}
    }
}
