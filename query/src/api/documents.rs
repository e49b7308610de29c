//! Answers made of stored text: nothing is parsed, nothing is serialised again.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::Transition;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// The history of an order or a return, oldest first.
#[derive(Debug, Deserialize, ToSchema)]
pub struct History {
    pub data: Vec<Transition>,
}

/// A stored document and what is shown inside it: the invoice of an order, the refund of a return.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: Uuid,
    pub(super) version: i32,
    pub(super) document: String,
    pub(super) child_version: Option<i32>,
    pub(super) child: Option<String>,
}

/// The document with its `ETag`, or 304 when the client has it already.
pub(super) fn respond(found: Found, child_name: &str, headers: &HeaderMap) -> Response {
    // The invoice arrives without a new version of its order, so its own version is part of the tag.
    let etag = match found.child_version {
        None => format!("\"{}\"", found.version),
        Some(child) => format!("\"{}.{child}\"", found.version),
    };
    if is_known(headers, &etag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    ([(header::ETAG, etag)], json(spliced(found.document, child_name, found.child.as_deref()))).into_response()
}

/// The history as stored; `None` when there is none, and so no such order or return.
pub(super) fn history(entries: &[String]) -> Option<Response> {
    if entries.is_empty() {
        return None;
    }
    Some(json(format!("{{\"data\":[{}]}}", entries.join(","))).into_response())
}

pub(super) fn json(body: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body)
}

/// Whether `If-None-Match` names this tag (RFC 9110, section 13.1.2: compared weakly). Our tags hold no comma.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|tags| tags.split(',')).map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// `document` with `,"<name>":<child>` before its closing brace. The projector stores objects with members only.
pub(super) fn spliced(mut document: String, name: &str, child: Option<&str>) -> String {
    if let Some(child) = child {
        let closing = document.pop();
        debug_assert_eq!(closing, Some('}'));
        document.reserve(child.len() + name.len() + 5);
        for part in [",\"", name, "\":", child, "}"] {
            document.push_str(part);
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(child: Option<&str>) -> Found {
        let child = child.map(str::to_owned);
        Found {
            id: Uuid::nil(),
            version: 4,
            document: r#"{"id": 1}"#.to_owned(),
            child_version: child.as_ref().map(|_| 1),
            child,
        }
    }

    fn headers(if_none_match: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_NONE_MATCH, if_none_match.parse().expect("a header value"))])
    }

    #[test]
    fn the_child_is_the_last_member() {
        let text = spliced(r#"{"id": 1}"#.to_owned(), "invoice", Some(r#"{"path": "a}"}"#));
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value, json!({"id": 1, "invoice": {"path": "a}"}}));
        assert_eq!(spliced(r#"{"id": 1}"#.to_owned(), "invoice", None), r#"{"id": 1}"#);
    }

    #[test]
    fn a_tag_that_the_client_has_is_not_sent_again() {
        for (given, child, status) in [
            ("\"4\"", None, 304),
            ("W/\"4\"", None, 304),
            ("\"3\", \"4\"", None, 304),
            ("*", None, 304),
            ("\"3\"", None, 200),
            ("4", None, 200),
            ("\"4\"", Some("{}"), 200),
            ("\"4.1\"", Some("{}"), 304),
        ] {
            let response = respond(found(child), "invoice", &headers(given));
            assert_eq!(response.status().as_u16(), status, "{given} {child:?}");
            assert!(response.headers().contains_key(header::ETAG));
        }
    }
}
