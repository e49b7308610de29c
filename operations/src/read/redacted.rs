//! A payload without what may name a customer.

use serde_json::Value;

/// What takes the place of a text.
pub(crate) const HIDDEN: &str = "(hidden)";
/// Fields whose texts say what happened, and never to whom. All other texts are hidden, also of fields that a later release adds.
const SHOWN: [&str; 24] = [
    "currency",
    "document_number",
    "event_type",
    "from_state",
    "hsn",
    "invoice_number",
    "kind",
    "method",
    "order_number",
    "outcome",
    "result",
    "return_number",
    "series",
    "sku",
    "state",
    "status",
    "supply_type",
    "to_state",
    "traceparent",
    "tracestate",
    "trigger",
    "type",
    "unit",
    "version",
];

/// Numbers, times, ids and known words stay; every other text is hidden.
pub(crate) fn redacted(value: Value) -> Value {
    redact("", value)
}

/// An error without addresses: a mail server may name the recipient.
pub(crate) fn without_addresses(error: &str) -> String {
    let words = error.split_inclusive(char::is_whitespace);
    words
        .map(|word| {
            let blank = &word[word.trim_end().len()..];
            if word.contains('@') { format!("{HIDDEN}{blank}") } else { word.to_owned() }
        })
        .collect()
}

fn redact(field: &str, value: Value) -> Value {
    match value {
        Value::String(text) if !is_shown(field, &text) => Value::String(HIDDEN.to_owned()),
        Value::String(text) => Value::String(without_addresses(&text)),
        // The shop chooses the names in it, too.
        Value::Object(fields) if field == "metadata" && !fields.is_empty() => Value::String(HIDDEN.to_owned()),
        Value::Array(items) => items.into_iter().map(|item| redact(field, item)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name.clone(), redact(&name, value))).collect(),
        other => other,
    }
}

fn is_shown(field: &str, text: &str) -> bool {
    // Customers' ids are chosen by the shop's front end: they may be anything.
    let is_time = field.ends_with("_at") && chrono::DateTime::parse_from_rfc3339(text).is_ok();
    let is_id = (field == "id" || field.ends_with("_id")) && uuid::Uuid::try_parse(text).is_ok();
    is_time || is_id || SHOWN.contains(&field)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_names_no_recipient() {
        let said = without_addresses("550 5.1.1 <meera@example.in>: no such user\nat meera@example.in");
        assert_eq!(said, "550 5.1.1 (hidden) no such user\nat (hidden)");
    }

    #[test]
    fn only_what_names_no_one_stays() {
        let id = "01a22211-7394-7703-9164-d7cb142a319a";
        let payload = json!({
            "order": { "id": id, "customer_id": "meera@example.in", "state": "PAID", "created_at": "2026-11-28T12:00:00Z",
                       "created_at_shop": "Meera", "items": [{ "sku": "SHAWL-1", "name": "Shawl of Meera", "quantity": 2 }],
                       "tags": ["Meera"], "metadata": { "for Meera": "x" }, "sku": "meera@example.in", "billing_address": { "city": "Jaipur", "postcode": "302001" } },
            "note_at": "Meera", "total_minor": 1500, "paid": true,
        });
        let shown = redacted(payload);
        assert_eq!(shown["order"]["id"], id);
        assert_eq!(shown["order"]["state"], "PAID");
        assert_eq!(shown["order"]["items"][0]["sku"], "SHAWL-1");
        assert_eq!(shown["total_minor"], 1500);
        let text = shown.to_string();
        for name in ["Meera", "meera", "Jaipur", "302001"] {
            assert!(!text.contains(name), "{text}");
        }
    }
}
