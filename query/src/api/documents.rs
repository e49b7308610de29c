//! Responses made of stored JSON text, which is neither parsed nor serialised again.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::Transition;
use serde::Deserialize;
use utoipa::ToSchema;

/// The history of an order or a return, oldest first.
#[derive(Debug, Deserialize, ToSchema)]
pub struct History {
    pub data: Vec<Transition>,
}

/// A stored document, and the members that are shown inside it: the invoice of an order, the refund and the credit note of a
/// return.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its place among those that were asked for, from 1.
    pub(super) place: i64,
    pub(super) version: i32,
    /// Its state or status.
    pub(super) state: String,
    pub(super) document: String,
    /// The version of what is shown inside.
    pub(super) inner_version: Option<i32>,
    /// Members of a JSON object, as text.
    pub(super) inner: Option<String>,
    /// Of an order: the list of its returns, as text.
    pub(super) returns: Option<String>,
}

/// Tells versions of what is shown apart. A new invoice does not change the version of its order, so the tag has the versions of what
/// is shown inside, too; and the end of a return window changes no version at all.
pub(super) fn etag(version: i32, inner_version: Option<i32>, may_return: bool) -> String {
    match (inner_version, may_return) {
        (None, false) => format!("\"{version}\""),
        (Some(inner), false) => format!("\"{version}.{inner}\""),
        (inner, true) => format!("\"{version}.{}.1\"", inner.unwrap_or(0)),
    }
}

/// The document with its `ETag`, or 304 when the client has it already.
pub(super) fn respond(document: String, etag: String, headers: &HeaderMap) -> Response {
    if client_has(headers, &etag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    ([(header::ETAG, etag)], json(document)).into_response()
}

/// The entries of a history as a member of the document that they are of.
pub(super) fn with_history(document: String, entries: &[String]) -> String {
    with_members(document, Some(&format!("\"history\":[{}]", entries.join(","))))
}

/// The history as stored; `None` without entries, which means that there is no such order or return.
pub(super) fn history(entries: &[String]) -> Option<Response> {
    if entries.is_empty() {
        return None;
    }
    Some(json(format!("{{\"data\":[{}]}}", entries.join(","))).into_response())
}

pub(super) fn json(body: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body)
}

/// Whether `If-None-Match` names this tag (RFC 9110, section 13.1.2: weak comparison). Our tags contain no comma.
pub(super) fn client_has(headers: &HeaderMap, etag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|tags| tags.split(',')).map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// `document` with more members before its closing brace. The projector stores only objects that have members.
pub(super) fn with_members(mut document: String, inner: Option<&str>) -> String {
    if let Some(inner) = inner {
        let closing = document.pop();
        debug_assert_eq!(closing, Some('}'));
        document.reserve(inner.len() + 2);
        for part in [",", inner, "}"] {
            document.push_str(part);
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn headers(if_none_match: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_NONE_MATCH, if_none_match.parse().expect("a header value"))])
    }

    #[test]
    fn added_members_come_last() {
        let text = with_members(r#"{"id": 1}"#.to_owned(), Some(r#""invoice":{"path": "a}"}"#));
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value, json!({"id": 1, "invoice": {"path": "a}"}}));
        assert_eq!(with_members(r#"{"id": 1}"#.to_owned(), None), r#"{"id": 1}"#);
    }

    #[test]
    fn a_document_that_the_client_has_is_not_sent_again() {
        for (given, inner, may_return, status) in [
            ("\"4\"", None, false, 304),
            ("W/\"4\"", None, false, 304),
            ("\"3\", \"4\"", None, false, 304),
            ("*", None, false, 304),
            ("\"3\"", None, false, 200),
            ("4", None, false, 200),
            ("\"4\"", Some(1), false, 200),
            ("\"4.1\"", Some(1), false, 304),
            ("\"4.1\"", Some(1), true, 200),
            ("\"4.1.1\"", Some(1), true, 304),
            ("\"4.0.1\"", None, true, 304),
        ] {
            let response = respond("{}".to_owned(), etag(4, inner, may_return), &headers(given));
            assert_eq!(response.status().as_u16(), status, "{given} {inner:?}");
            assert!(response.headers().contains_key(header::ETAG));
        }
    }
}
