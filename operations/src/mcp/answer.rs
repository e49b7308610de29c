//! What a tool answers: what it found, or why it refuses.

use rmcp::model::{CallToolResult, ContentBlock};
use runtime::{ApiError, ErrorBody};
use serde::Serialize;
use serde_json::Value;

use crate::read::redacted::{HIDDEN, redacted, without_addresses};

/// Members that hold what was stored of orders and customers.
const STORED: [&str; 3] = ["payload", "headers", "result"];

/// What a tool found or did.
#[derive(Debug)]
pub(super) struct Answer {
    value: Value,
    /// Instead of the value itself.
    sentence: Option<String>,
}

impl Answer {
    /// What was found, without what may name a customer: as in the console.
    pub(super) fn found(found: &impl Serialize) -> Result<Self, ApiError> {
        let value = serde_json::to_value(found).map_err(ApiError::internal)?;
        Ok(Self { value: hidden("", value), sentence: None })
    }

    /// What was done, in a sentence.
    pub(super) fn done(sentence: String, done: &impl Serialize) -> Result<Self, ApiError> {
        Ok(Self { sentence: Some(sentence), ..Self::found(done)? })
    }

    /// Clients of older revisions read the text, others the value.
    pub(super) fn into_result(self) -> CallToolResult {
        let text = self.sentence.unwrap_or_else(|| self.value.to_string());
        let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
        result.structured_content = Some(self.value);
        result
    }
}

/// A refusal in the shape of the REST API, for the assistant to read.
pub(super) fn refused(error: ApiError, request_id: &str) -> CallToolResult {
    let mut body = ErrorBody::from(error);
    request_id.clone_into(&mut body.error.request_id);
    let text = serde_json::to_string(&body).unwrap_or_else(|_| body.error.message.clone());
    CallToolResult::error(vec![ContentBlock::text(text)])
}

fn hidden(member: &str, value: Value) -> Value {
    match value {
        stored if STORED.contains(&member) => redacted(stored),
        Value::String(url) if member == "url" => Value::String(without_path(&url)),
        Value::String(text) if text.contains('@') => Value::String(without_addresses(&text)),
        Value::Array(items) => items.into_iter().map(|item| hidden(member, item)).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name.clone(), hidden(&name, value))).collect()
        }
        other => other,
    }
}

/// An address without its path and query: of a webhook they may be what lets one in.
fn without_path(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return HIDDEN.to_owned() };
    match rest.find(['/', '?', '#']) {
        Some(end) if rest[end..] != *"/" => format!("{scheme}://{}/{HIDDEN}", &rest[..end]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_address_of_a_webhook_lets_no_one_in() {
        for (url, shown) in [
            ("https://hooks.example.in/T0K/EN?x=y", "https://hooks.example.in/(hidden)"),
            ("https://hooks.example.in?token=x", "https://hooks.example.in/(hidden)"),
            ("https://hooks.example.in:8443", "https://hooks.example.in:8443"),
            ("https://hooks.example.in/", "https://hooks.example.in/"),
            ("no address", "(hidden)"),
        ] {
            assert_eq!(hidden("", json!({ "url": url })), json!({ "url": shown }));
        }
    }

    #[test]
    fn an_answer_names_no_customer() {
        let found = json!({ "events": [{
            "event_type": "order.paid", "payload": { "customer_email": "meera@example.in", "state": "PAID" },
            "jobs": [{ "last_error": "550 <meera@example.in>: no such user", "result": { "to": "Meera" } }],
        }] });
        let answer = Answer::found(&found).expect("JSON").into_result();
        let expected = json!({ "events": [{
            "event_type": "order.paid", "payload": { "customer_email": "(hidden)", "state": "PAID" },
            "jobs": [{ "last_error": "550 (hidden) no such user", "result": { "to": "(hidden)" } }],
        }] });
        assert_eq!(answer.structured_content, Some(expected));
        assert!(!serde_json::to_string(&answer).expect("JSON").to_lowercase().contains("meera"));
    }
}
