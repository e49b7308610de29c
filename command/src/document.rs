//! The document of an order or a return: what is frozen when it is created, and what its transitions add.
//!
//! The frozen part is stored once, with the order or the return. Events and stored answers keep only the rest. The parts are joined
//! as text: by the command service here, by all other readers in SQL (`command.whole`).

use std::borrow::Cow;
use std::fmt::Write;

use runtime::ApiError;
use serde::Serialize;
use serde_json::{Map, Value};

/// The members of a document that change, and therefore are not in its frozen part.
const CHANGING: [&str; 3] = ["state", "version", "updated_at"];

/// The frozen part of a new document, as JSON. `more` are further members that change.
pub(crate) fn frozen(document: &impl Serialize, more: &[&str]) -> Result<String, ApiError> {
    let mut value = serde_json::to_value(document).map_err(ApiError::internal)?;
    let members = value.as_object_mut().ok_or_else(|| ApiError::internal("a document is not an object"))?;
    for name in CHANGING.iter().chain(more) {
        members.remove(*name);
    }
    serde_json::to_string(&value).map_err(ApiError::internal)
}

/// The frozen part of a return, with the items as they were requested.
pub(crate) fn with_items(frozen: &str, items: &str) -> String {
    format!("{{{},\"items\":{items}}}", members(frozen))
}

/// Members of the frozen part that may change all the same. What a transition has added goes before it.
const AMENDABLE: [&str; 3] = ["customer_email", "shipping_address", "billing_address"];

/// The whole document. Both parts are JSON objects.
pub(crate) fn whole(frozen: &str, progress: &str, state: &str, version: i32) -> String {
    let frozen = &unamended(frozen, progress);
    let mut whole = String::with_capacity(frozen.len() + progress.len() + 48);
    whole.push('{');
    for part in [members(frozen), members(progress)] {
        if !part.is_empty() {
            whole.push_str(part);
            whole.push(',');
        }
    }
    let _infallible = write!(whole, "\"state\":\"{state}\",\"version\":{version}}}");
    whole
}

/// The frozen part without what was amended.
fn unamended<'f>(frozen: &'f str, progress: &str) -> Cow<'f, str> {
    if !AMENDABLE.iter().any(|name| progress.contains(&format!("\"{name}\""))) {
        return Cow::Borrowed(frozen);
    }
    let parts =
        (serde_json::from_str::<Map<String, Value>>(frozen), serde_json::from_str::<Map<String, Value>>(progress));
    let (Ok(mut members), Ok(progress)) = parts else { return Cow::Borrowed(frozen) };
    for name in AMENDABLE {
        if progress.contains_key(name) {
            members.remove(name);
        }
    }
    Cow::Owned(Value::Object(members).to_string())
}

/// A JSON object without its braces.
fn members(object: &str) -> &str {
    object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_amended_goes_before_what_was_placed() {
        let frozen =
            json!({ "customer_email": "old@example.in", "items": [{ "title": "\"shipping_address\"" }] }).to_string();
        let shown = |progress: Value| -> Value {
            let text = whole(&frozen, &progress.to_string(), "PAID", 2);
            assert_eq!(text.matches("customer_email").count(), 1);
            serde_json::from_str(&text).expect("JSON")
        };
        assert_eq!(shown(json!({}))["customer_email"], "old@example.in");
        assert_eq!(shown(json!({ "customer_email": "new@example.in" }))["customer_email"], "new@example.in");
        assert_eq!(shown(json!({ "customer_email": null }))["customer_email"], Value::Null);
    }

    #[test]
    fn the_parts_make_the_whole() {
        let placed =
            json!({ "id": 7, "items": [{ "sku": "A}" }], "state": "OLD", "version": 1, "updated_at": "yesterday" });
        let frozen = frozen(&placed, &[]).expect("an object");
        for (progress, more) in [(json!({}), None), (json!({ "paid_at": "today" }), Some("today"))] {
            let whole: Value = serde_json::from_str(&whole(&frozen, &progress.to_string(), "PAID", 2)).expect("JSON");
            let mut expected = json!({ "id": 7, "items": [{ "sku": "A}" }], "state": "PAID", "version": 2 });
            if let Some(more) = more {
                expected["paid_at"] = json!(more);
            }
            assert_eq!(whole, expected);
        }
    }
}
