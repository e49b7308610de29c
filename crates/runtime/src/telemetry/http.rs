//! What OpenTelemetry's conventions for HTTP say about a request. No query, body, address of a client or other header is recorded: they
//! may be about a person.

use axum::http::uri::Scheme;
use axum::http::{Method, StatusCode, Uri, Version};
use opentelemetry::trace::TraceId;
use tracing::Span;
use uuid::Uuid;

use super::trace::{fail, sampled, set_attribute};
use crate::metrics::known_method;

/// What the conventions call a method that they do not know.
const OTHER: &str = "_OTHER";

/// A request that was served.
#[derive(Debug)]
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    /// The template of its path, if a route took it.
    pub(crate) route: Option<axum::extract::MatchedPath>,
}

/// Records what was asked and answered, if the trace is recorded; returns its id then.
pub(crate) fn http_served(span: &Span, request: &HttpRequest, status: StatusCode) -> Option<TraceId> {
    let trace_id = sampled(span)?;
    set_attribute(span, "http.request.method", known_method(&request.method).unwrap_or(OTHER));
    set_attribute(span, "url.scheme", "http");
    set_attribute(span, "network.protocol.version", if request.version == Version::HTTP_2 { "2" } else { "1.1" });
    set_attribute(span, "http.response.status_code", i64::from(status.as_u16()));
    if let Some(route) = &request.route {
        set_attribute(span, "http.route", route.as_str().to_owned());
        set_attribute(span, "url.path", shown_path(route.as_str(), request.uri.path()));
    }
    if status.is_server_error() {
        fail(span, status.as_str().to_owned());
    }
    Some(trace_id)
}

/// The path, with its parameters only where they are ids of ours: a shop may call a customer by an e-mail address.
fn shown_path(route: &str, path: &str) -> String {
    let mut given = path.split('/');
    let shown = route.split('/').map(|segment| {
        let given = given.next().unwrap_or_default();
        if segment.starts_with('{') && Uuid::try_parse(given).is_ok() { given } else { segment }
    });
    shown.collect::<Vec<_>>().join("/")
}

/// Records in `span`, whose kind is `client`, which address is called. Of the address, only what is not a secret: neither user nor query.
pub fn http_call(span: &Span, method: &Method, url: &str) {
    if sampled(span).is_none() {
        return;
    }
    set_attribute(span, "http.request.method", known_method(method).unwrap_or(OTHER));
    let Ok(uri) = url.parse::<Uri>() else { return };
    let (Some(host), Some(scheme)) = (uri.host(), uri.scheme()) else { return };
    let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(usual);
    set_attribute(span, "server.address", host.to_owned());
    set_attribute(span, "server.port", i64::from(port));
    set_attribute(span, "url.full", format!("{scheme}://{host}:{port}{}", uri.path()));
}

/// Records the answer to a call.
pub fn http_answered(span: &Span, status: u16) {
    set_attribute(span, "http.response.status_code", i64::from(status));
    if status >= 400 {
        fail(span, status.to_string());
    }
}

/// Records that a call got no answer. `kind` is one of few words, as `timeout`.
pub fn http_failed(span: &Span, kind: &'static str) {
    fail(span, kind);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_shows_our_ids_and_nothing_that_a_client_chose() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        for (route, path, shown) in [
            ("/api/v1/orders/{id}/pay", format!("/api/v1/orders/{id}/pay"), format!("/api/v1/orders/{id}/pay")),
            ("/customers/{id}", "/customers/meera@example.com".to_owned(), "/customers/{id}".to_owned()),
            ("/docs/{*rest}", "/docs/a/b/c".to_owned(), "/docs/{*rest}".to_owned()),
            ("/", "/".to_owned(), "/".to_owned()),
        ] {
            assert_eq!(shown_path(route, &path), shown);
        }
    }
}
