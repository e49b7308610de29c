//! What happens to every request: id, span, metrics, limits, time-out, panic, error shape.
//!
//! One function instead of a stack of layers: each layer boxes a future and clones a service, and this runs for ten
//! thousand requests a second.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tower_http::CompressionLevel;
use tower_http::compression::predicate::{NotForContentType, SizeAbove};
use tower_http::compression::{CompressionLayer, Predicate};
use tower_http::cors::CorsLayer;
use tracing::Instrument;

use super::accept;
use super::body::{self, Buffers, content_length, overloaded};
use super::protect;
use super::request::{RequestInfo, address_of_client, peer};
use crate::clock::Ids;
use crate::config::HttpLimits;
use crate::error::{ApiError, ErrorDetail, PROBLEM};
use crate::metrics::Routes;
use crate::request_id::{REQUEST_ID, REQUEST_ID_HEADER, RequestId};
use crate::telemetry::{self, Cause, HttpRequest};

const REQUEST_ID_NAME: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);

/// Bytes from which an answer is compressed, if the client can read that.
const COMPRESSED_FROM: u64 = 1_024;

/// How long a browser remembers what pages of an origin may do.
const CORS_MAX_AGE: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
struct Middleware {
    limits: HttpLimits,
    ids: Ids,
    routes: Routes,
    in_flight: Semaphore,
    buffers: Buffers,
}

/// Wraps a finished router in the middleware. Routes that are added afterwards do not get it.
pub fn layered(router: Router, service: &'static str, limits: &HttpLimits) -> Router {
    let middleware = Middleware {
        in_flight: Semaphore::new(limits.max_in_flight.min(Semaphore::MAX_PERMITS)),
        buffers: Buffers::new(limits.max_buffered_bytes, limits.max_body_bytes),
        limits: limits.clone(),
        ids: Ids::system(),
        routes: Routes::new(service),
    };
    let origins = &limits.cors_origins;
    let router = router.layer(from_fn_with_state(Arc::new(middleware), handle));
    let worth_it = SizeAbove::new(COMPRESSED_FROM)
        .and(NotForContentType::SSE)
        .and(NotForContentType::const_new("application/pdf"))
        // A workbook is compressed.
        .and(NotForContentType::const_new("application/vnd.openxmlformats"));
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_it);
    let router = router.layer(compression).layer(map_response(weaken));
    if origins.is_empty() { router } else { router.layer(cors(origins)) }
}

/// What is compressed is another representation, byte by byte, than what its strong tag names.
async fn weaken(mut response: Response) -> Response {
    if response.headers().contains_key(header::CONTENT_ENCODING)
        && let Some(tag) = response.headers_mut().get_mut(header::ETAG)
        && tag.as_bytes().starts_with(b"\"")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        *tag = weak;
    }
    response
}

/// Pages of these origins may call us, with a key. They see the headers that an answer says something with.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let name = HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PATCH])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            name("idempotency-key"),
            name("last-event-id"),
            name("x-actor"),
            name("x-consistency-token"),
            REQUEST_ID_NAME,
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            name("idempotency-replayed"),
            name("ratelimit"),
            name("x-consistency-token"),
            REQUEST_ID_NAME,
        ])
        .max_age(CORS_MAX_AGE)
}

async fn handle(State(middleware): State<Arc<Middleware>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = RequestId::of(request.headers(), &middleware.ids);
    let asked = HttpRequest {
        method: request.method().clone(),
        uri: request.uri().clone(),
        version: request.version(),
        route: request.extensions().get::<MatchedPath>().cloned(),
    };
    let route = middleware.routes.get(asked.route.as_ref().map(MatchedPath::as_str), &asked.method);
    let span = tracing::info_span!(
        parent: None,
        "http.server.request",
        otel.kind = "server",
        otel.name = route.name(),
        request_id = request_id.as_str(),
    );
    let peer = peer(request.extensions());
    if middleware.may_continue_traces(peer) {
        let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        telemetry::follow(&span, Cause::Parent(traceparent));
    }
    let wants_problem = accept::prefers(request.headers(), PROBLEM, "application/json");
    let address = address_of_client(peer, request.headers(), &middleware.limits.trusted_proxies);
    request.extensions_mut().insert(RequestInfo {
        request_id: request_id.clone(),
        address,
        max_body_bytes: middleware.limits.max_body_bytes,
        buffers: middleware.buffers.clone(),
    });
    let answer = middleware.answer(request, next, asked.route.as_ref(), peer);
    let mut response = REQUEST_ID.scope(request_id.clone(), answer).instrument(span.clone()).await;
    if let (Some(error), true) = (response.extensions_mut().remove::<ErrorDetail>(), wants_problem) {
        response = as_problem(response, error);
    }
    response.headers_mut().insert(REQUEST_ID_NAME, request_id.to_header());
    protect::add_headers(&mut response);
    let elapsed = started.elapsed();
    let recorded = telemetry::http_served(&span, &asked, response.status());
    route.record(response.status(), elapsed, recorded);
    tracing::debug!(
        parent: &span,
        route = route.name(),
        status = response.status().as_u16(),
        elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
    response
}

impl Middleware {
    /// Anyone may send a `traceparent` that asks for the trace to be recorded. Only those of our own side are heard.
    fn may_continue_traces(&self, peer: Option<IpAddr>) -> bool {
        let proxies = &self.limits.trusted_proxies;
        peer.is_none_or(|peer| peer.is_loopback() || proxies.iter().any(|network| network.contains(&peer)))
    }

    async fn answer(
        &self,
        mut request: Request,
        next: Next,
        matched: Option<&MatchedPath>,
        peer: Option<IpAddr>,
    ) -> Response {
        if let Err(error) = protect::check(&request, peer, &self.limits.allowed_hosts, &self.limits.cors_origins) {
            return error.into_response();
        }
        let limit = self.limits.max_body_bytes;
        if content_length(request.headers()).is_some_and(|length| length > limit as u64) {
            let (parts, body) = request.into_parts();
            return body::refuse(body, &parts.headers, limit).await.into_response();
        }
        // An overloaded service is alive, and shows that it is overloaded.
        let is_watching =
            matched.is_some_and(|path| path.as_str().starts_with("/health") || path.as_str() == "/metrics");
        let Some(_in_flight) = self.in_flight.try_acquire().ok().map(Some).or(is_watching.then_some(None)) else {
            return overloaded("requests").into_response();
        };
        let routed = matched.is_some();
        DefaultBodyLimit::max(limit).apply(&mut request);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
        match tokio::time::timeout(self.limits.request_timeout, handled).await {
            Ok(Ok(response)) => in_shape(response, routed, &method, &path),
            // The panic hook has logged it, with the request id.
            Ok(Err(_)) => ApiError::opaque_internal().into_response(),
            Err(_) => self.timed_out().into_response(),
        }
    }

    fn timed_out(&self) -> ApiError {
        let seconds = self.limits.request_timeout.as_secs_f64();
        tracing::warn!(seconds, "request timed out");
        let message = format!("no answer within {seconds} s; the request may still have taken effect");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "REQUEST_TIMEOUT", message)
    }
}

/// The same refusal as problem details (RFC 9457).
fn as_problem(response: Response, error: ErrorDetail) -> Response {
    let status = response.status();
    let (mut parts, _) = response.into_parts();
    let problem = axum::Json(error.problem(status)).into_response();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    Response::from_parts(parts, problem.into_body())
}

/// Gives axum's own errors (no route, wrong method, a path or body that it cannot extract) the shape of all others.
/// Their headers stay: a 405 carries `Allow`.
fn in_shape(mut response: Response, routed: bool, method: &Method, path: &str) -> Response {
    let status = response.status();
    if status == StatusCode::METHOD_NOT_ALLOWED && method == Method::OPTIONS {
        // The question was which methods are allowed, and `Allow` answers it.
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.extensions_mut().remove::<ErrorDetail>();
        return response;
    }
    let is_ours = |value: &HeaderValue| {
        [&b"application/json"[..], b"text/html"].iter().any(|kind| value.as_bytes().starts_with(kind))
    };
    let refused = status.is_client_error() || status.is_server_error();
    if !refused || response.headers().get(header::CONTENT_TYPE).is_some_and(is_ours) {
        return response;
    }
    let error = match status {
        StatusCode::NOT_FOUND if !routed => {
            ApiError::not_found("ROUTE_NOT_FOUND", format!("there is nothing at {path}"))
        }
        StatusCode::NOT_FOUND => ApiError::not_found("NOT_FOUND", "not found"),
        StatusCode::METHOD_NOT_ALLOWED => {
            ApiError::new(status, "METHOD_NOT_ALLOWED", format!("{method} is not allowed on {path}"))
        }
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(status, "BODY_TOO_LARGE", "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ApiError::new(status, "UNSUPPORTED_MEDIA_TYPE", "this content type is not supported")
        }
        status if status.is_client_error() => ApiError::new(status, "BAD_REQUEST", "the request is not valid"),
        status => ApiError { status, ..ApiError::opaque_internal() },
    };
    let mut shaped = error.into_response();
    for (name, value) in response.headers() {
        if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH) {
            shaped.headers_mut().insert(name, value.clone());
        }
    }
    shaped
}

#[cfg(test)]
mod tests;
