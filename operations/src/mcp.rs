//! The same for assistants: an endpoint of the Model Context Protocol at `/mcp` (Streamable HTTP, without sessions).
//!
//! - `tools`: what is offered, and the operation of the REST API that does the same;
//! - `reads`, `acts`: what the tools do; `outcome`: what came of an act;
//! - `answer`: answers and refusals; `schema`: the descriptions of arguments and answers;
//! - `server`: the methods of the protocol.
//!
//! Invariant: a tool is for those who may call the operation of the API that does the same, by the table in the crate `access`.

mod settings;
mod shape;
mod server;
mod tools;
mod reads;
mod acts;
mod outcome;
mod answer;
mod schema;

use std::sync::Arc;

use access::{Access, Caller};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use rmcp::ErrorData;
use rmcp::model::{JsonRpcError, ProtocolVersion};
use rmcp::service::{RequestContext as Protocol, RoleServer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use runtime::ApiError;
use runtime::config::HttpLimits;
use runtime::http::RequestContext;
use serde_json::Value;
use server::Server;

use crate::Shared;

pub use settings::McpSettings;

/// The revisions that are spoken: those in which a message is never a list.
const VERSIONS: &[ProtocolVersion] =
    &[ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28];
/// Earlier ones, which `rmcp` knows and this endpoint does not speak.
const EARLIER: [&str; 2] = ["2024-11-05", "2025-03-26"];
const VERSION: &str = "mcp-protocol-version";

/// The endpoint.
struct Endpoint {
    service: StreamableHttpService<Server, NeverSessionManager>,
    /// Whose pages may call it from a browser.
    origins: Vec<HeaderValue>,
}

/// Who calls, of one request.
#[derive(Debug, Clone)]
struct Call {
    caller: Caller,
    context: RequestContext,
    /// The protocol is served by a task of its own, and its log lines belong to the request.
    span: tracing::Span,
}

/// The route.
pub fn routes(shared: Shared, access: &Access, settings: &McpSettings, limits: &HttpLimits) -> Router {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(limits.max_body_bytes)
        // The middleware in front of all routes checks `Host`.
        .disable_allowed_hosts();
    let server = Server { shared, acts: settings.mcp_acts };
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(server.clone()), sessions, config);
    let endpoint = Endpoint { service, origins: limits.cors_origins.clone() };
    access.guard_operations(Router::new().route("/mcp", any(serve)).with_state(Arc::new(endpoint)))
}

async fn serve(
    State(endpoint): State<Arc<Endpoint>>,
    caller: Caller,
    context: RequestContext,
    mut request: Request,
) -> Result<Response, ApiError> {
    check_origin(&request, &endpoint.origins)?;
    if let Some(refused) = refuse_version(&request) {
        return Ok(refused);
    }
    request.extensions_mut().insert(Call { caller, context, span: tracing::Span::current() });
    if request.method() != Method::POST {
        return Ok(endpoint.service.handle(request).await.map(Body::new));
    }
    let (parts, body) = request.into_parts();
    let message = match Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await {
        Ok(message) => message,
        Err(refused) => return Ok(refused.into_response()),
    };
    if let Some(refused) = refuse_message(&message) {
        return Ok(refused);
    }
    Ok(endpoint.service.handle(Request::from_parts(parts, Body::from(message))).await.map(Body::new))
}

/// The protocol demands it of every request, also of one with a key: pages of other sites may not ask.
fn check_origin(request: &Request, allowed: &[HeaderValue]) -> Result<(), ApiError> {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let of_uri = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let own = of_uri.or_else(|| request.headers().get(header::HOST)?.to_str().ok());
    let asks = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    if allowed.contains(origin) || (asks.is_some() && asks == own) {
        return Ok(());
    }
    let message = "a page of another site may not ask for this; HTTP_CORS_ORIGINS has the sites that may";
    Err(ApiError::new(StatusCode::FORBIDDEN, "CROSS_SITE_REQUEST", message))
}

/// What is wrong with a message as a whole. `rmcp` would call it an unsupported media type or an unknown method, and take the last of
/// two members of one name.
fn refuse_message(text: &[u8]) -> Option<Response> {
    let (id, error) = match runtime::http::parse_json::<Value>(text) {
        Ok(message) => match shape::fault(&message) {
            None => return None,
            Some(error) => (shape::id_of(&message), error),
        },
        Err(error) if error.code == "MALFORMED_JSON" => (None, ErrorData::parse_error(error.message, None)),
        Err(error) => (None, ErrorData::invalid_request(error.message, None)),
    };
    Some((StatusCode::BAD_REQUEST, axum::Json(JsonRpcError::new(id, error))).into_response())
}

/// As the protocol has it: 400, with the revisions that are spoken.
fn refuse_version(request: &Request) -> Option<Response> {
    let asked = request.headers().get(VERSION)?.to_str().ok()?;
    let asked = EARLIER.iter().find(|earlier| **earlier == asked)?;
    let asked = serde_json::from_value(serde_json::json!(asked)).ok()?;
    let error = JsonRpcError::new(None, ErrorData::unsupported_protocol_version(asked, VERSIONS));
    Some((StatusCode::BAD_REQUEST, axum::Json(error)).into_response())
}

impl Call {
    /// # Errors
    /// Never: each request comes through [`serve`].
    fn of(protocol: &Protocol<RoleServer>) -> Result<Self, ErrorData> {
        let parts = protocol.extensions.get::<axum::http::request::Parts>();
        let call = parts.and_then(|parts| parts.extensions.get::<Self>()).cloned();
        call.ok_or_else(|| ErrorData::internal_error("a request without its caller", None))
    }
}
