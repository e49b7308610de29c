//! Who sends a request, and under which id.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};

use crate::error::ApiError;
use crate::request_id::RequestId;

/// Who acts, where the body of a request does not say: a user name or an id of at most 64 characters.
pub const ACTOR_HEADER: &str = "x-actor";
const MAX_ACTOR: usize = 64;

/// What the middleware knows of the request and the extractors need.
#[derive(Clone, Debug)]
pub(super) struct RequestInfo {
    pub(super) request_id: RequestId,
    pub(super) max_body_bytes: usize,
    pub(super) trust_proxy_headers: bool,
}

/// Who sends a request, as far as its headers and its connection tell.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub request_id: String,
    /// `X-Actor`: 1 to 64 characters.
    pub actor: Option<String>,
    pub ip_address: Option<IpAddr>,
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let info = parts.extensions.get::<RequestInfo>();
        Ok(Self {
            request_id: info.map(|info| info.request_id.to_string()).unwrap_or_default(),
            actor: actor(&parts.headers)?,
            ip_address: client_address(parts, info.is_some_and(|info| info.trust_proxy_headers)),
        })
    }
}

fn actor(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(ACTOR_HEADER) else { return Ok(None) };
    // Header values are bytes; names outside ASCII are sent as UTF-8.
    let name = std::str::from_utf8(value.as_bytes()).map(str::trim);
    match name {
        Ok("") => Ok(None),
        Ok(name) if name.chars().count() <= MAX_ACTOR => Ok(Some(name.to_owned())),
        _ => {
            let message = format!("must be UTF-8 text of at most {MAX_ACTOR} characters");
            Err(ApiError::invalid_field("X-Actor", message))
        }
    }
}

/// The leftmost address of `X-Forwarded-For` is the client's, but any client can send that header. Without
/// `TRUST_PROXY_HEADERS`, which says that a proxy sets it, the peer's address is used.
fn client_address(parts: &Parts, trust_proxy_headers: bool) -> Option<IpAddr> {
    let forwarded = || {
        let chain = parts.headers.get("x-forwarded-for")?.to_str().ok()?;
        chain.split(',').next()?.trim().parse().ok()
    };
    if trust_proxy_headers { forwarded().or_else(|| peer(&parts.extensions)) } else { peer(&parts.extensions) }
}

fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_canonical())
}
