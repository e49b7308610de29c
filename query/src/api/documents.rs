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
    pub(super) document: String,
    /// The version of what is shown inside.
    pub(super) inner_version: Option<i32>,
    /// Members of a JSON object, as text.
    pub(super) inner: Option<String>,
}

/// The document with its `ETag`, or 304 when the client has it already.
pub(super) fn respond(found: Found, headers: &HeaderMap) -> Response {
    // A new invoice does not change the version of its order, so the tag contains the invoice's version too.
    let etag = match found.inner_version {
        None => format!("\"{}\"", found.version),
        Some(inner) => format!("\"{}.{inner}\"", found.version),
    };
    if client_has(headers, &etag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    ([(header::ETAG, etag)], json(with_members(found.document, found.inner.as_deref()))).into_response()
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

    fn found(inner: Option<&str>) -> Found {
        let inner = inner.map(str::to_owned);
        Found {
            place: 1,
            version: 4,
            document: r#"{"id": 1}"#.to_owned(),
            inner_version: inner.as_ref().map(|_| 1),
            inner,
        }
    }

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
        for (given, inner, status) in [
            ("\"4\"", None, 304),
            ("W/\"4\"", None, 304),
            ("\"3\", \"4\"", None, 304),
            ("*", None, 304),
            ("\"3\"", None, 200),
            ("4", None, 200),
            ("\"4\"", Some("\"invoice\":{}"), 200),
            ("\"4.1\"", Some("\"invoice\":{}"), 304),
        ] {
            let response = respond(found(inner), &headers(given));
            assert_eq!(response.status().as_u16(), status, "{given} {inner:?}");
            assert!(response.headers().contains_key(header::ETAG));
        }
    }
}
