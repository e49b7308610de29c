//! What a browser can be made to do against its user, and what stands against it.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use crate::config::is_this_machine;
use crate::error::ApiError;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Nothing of ours runs anything, except for the pages.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// A browser shows PDFs with a program of its own.
const POLICY_OF_PDFS: HeaderValue = HeaderValue::from_static("frame-ancestors 'none'");
const POLICY_OF_PAGES: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
);

/// Refuses requests under a foreign name (DNS rebinding), and changes that a page of another site asks for (CSRF).
///
/// # Errors
/// 421 `HOST_NOT_ALLOWED`, 403 `CROSS_SITE_REQUEST`.
pub(super) fn check(
    request: &Request,
    peer: Option<IpAddr>,
    allowed_hosts: &[String],
    cors_origins: &[HeaderValue],
) -> Result<(), ApiError> {
    let host = host(request);
    // Probes come under any name, and the gateway signs its calls.
    let is_for_machines =
        ["/health", "/health/ready", "/metrics", "/gateway/callbacks"].contains(&request.uri().path());
    if !is_for_machines && !is_allowed(host, peer, allowed_hosts) {
        let message = "this name is not served here; set HTTP_ALLOWED_HOSTS to the names that are";
        return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "HOST_NOT_ALLOWED", message)
            .with_details(json!({ "host": host.unwrap_or_default().chars().take(255).collect::<String>() })));
    }
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    // A page cannot know a key, and a browser adds none by itself.
    let has_credentials = request.headers().contains_key(header::AUTHORIZATION);
    let is_known = request.headers().get(header::ORIGIN).is_some_and(|origin| cors_origins.contains(origin));
    if !is_safe && !has_credentials && !is_known && is_cross_site(request.headers(), request) {
        let message = "a page of another site may not ask for this";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "CROSS_SITE_REQUEST", message));
    }
    Ok(())
}

/// The authority that the client asked, with its port.
fn authority(request: &Request) -> Option<&str> {
    let of_uri = request.uri().authority().map(axum::http::uri::Authority::as_str);
    of_uri.or_else(|| request.headers().get(header::HOST)?.to_str().ok())
}

/// The same without the port.
fn host(request: &Request) -> Option<&str> {
    authority(request).map(without_port)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// A page of an attacker can make its own name point to this machine, and its browser then takes us for that page's own server. So
/// callers on this machine must use names that are this machine's.
fn is_allowed(host: Option<&str>, peer: Option<IpAddr>, allowed: &[String]) -> bool {
    // HTTP/1.0 has no `Host`, and browsers do not speak it.
    let Some(host) = host else { return true };
    // An empty variable is an empty name.
    if allowed.iter().any(|name| !name.trim().is_empty()) {
        return allowed.iter().any(|name| name.trim().eq_ignore_ascii_case(host)) || is_this_machine(host);
    }
    peer.is_none_or(|peer| !peer.is_loopback()) || is_this_machine(host)
}

/// Whether a page of another site sends this. Browsers say so by themselves, and no page can make them lie.
fn is_cross_site(headers: &HeaderMap, request: &Request) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().unwrap_or_default();
    let origin = origin.split_once("://").map(|(_, authority)| authority);
    origin.is_none() || origin != authority(request)
}

/// What keeps browsers from guessing types, storing what is private, and running what is not ours; and after a 503, when to come again.
pub(super) fn add_headers(response: &mut Response) {
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_page = kind.starts_with(b"text/html");
    let policy = if is_page {
        POLICY_OF_PAGES
    } else if kind.starts_with(b"application/pdf") {
        POLICY_OF_PDFS
    } else {
        POLICY
    };
    let is_private = [&b"application/"[..], b"text/csv"].iter().any(|private| kind.starts_with(private));
    let is_unavailable = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    if is_unavailable {
        // The causes pass: a full queue, a lock, a database that restarts.
        headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    }
    if is_private {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-store"));
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn checked(method: &str, peer: &str, allowed: &[&str], headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut request = Request::builder().method(method).uri("/api/v1/orders");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let request = request.body(Body::empty()).expect("a request");
        check(&request, peer.parse().ok(), &allowed, &[HeaderValue::from_static("https://shop.example")])
            .err()
            .map(|error| error.code)
    }

    #[test]
    fn callers_on_this_machine_use_its_names_and_others_those_that_are_set() {
        let here = "127.0.0.1";
        for (peer, allowed, host, expected) in [
            (here, &[][..], "localhost:8000", None),
            (here, &[], "127.0.0.1:8000", None),
            (here, &[], "[::1]:8000", None),
            (here, &[], "evil.example.com:8000", Some("HOST_NOT_ALLOWED")),
            (here, &[], "localhost.evil.example.com", Some("HOST_NOT_ALLOWED")),
            (here, &[""], "localhost", None),
            ("192.0.2.7", &[""], "shop.example.com", None),
            (here, &["shop.example.com"], "Shop.example.com", None),
            (here, &["shop.example.com"], "localhost", None),
            (here, &["shop.example.com"], "evil.example.com", Some("HOST_NOT_ALLOWED")),
            ("192.0.2.7", &[], "shop.example.com", None),
            ("192.0.2.7", &["shop.example.com"], "evil.example.com", Some("HOST_NOT_ALLOWED")),
        ] {
            assert_eq!(checked("GET", peer, allowed, &[("host", host)]), expected, "{peer} {allowed:?} {host}");
        }
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let refused = Some("CROSS_SITE_REQUEST");
        for (method, headers, expected) in [
            ("POST", &[][..], None),
            ("POST", &[("origin", "http://localhost:8000")], None),
            ("POST", &[("origin", "http://evil.example.com")], refused),
            ("POST", &[("origin", "null")], refused),
            ("POST", &[("origin", "http://localhost:9999")], refused),
            ("POST", &[("sec-fetch-site", "same-origin")], None),
            ("POST", &[("sec-fetch-site", "none")], None),
            ("POST", &[("sec-fetch-site", "cross-site")], refused),
            ("POST", &[("sec-fetch-site", "same-site")], refused),
            ("PATCH", &[("origin", "http://evil.example.com")], refused),
            ("POST", &[("origin", "http://shop.example.com"), ("authorization", "Bearer ak_live_x")], None),
            ("GET", &[("origin", "http://evil.example.com"), ("sec-fetch-site", "cross-site")], None),
        ] {
            let mut all = vec![("host", "localhost:8000")];
            all.extend_from_slice(headers);
            assert_eq!(checked(method, "127.0.0.1", &[], &all), expected, "{method} {headers:?}");
        }
    }
}
