//! Who asks, under which id.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue};
use contracts::{ACTOR_HEADER, REQUEST_ID_HEADER};

use crate::clock::Ids;
use crate::error::ApiError;

const MAX_REQUEST_ID: usize = 128;
const MAX_ACTOR: usize = 64;

tokio::task_local! {
    pub(super) static REQUEST_ID: RequestId;
}

/// The id of the request that this task is answering. Tasks spawned by a handler do not inherit it.
pub fn current_request_id() -> Option<RequestId> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// The id under which a request is answered, logged and carried on: visible ASCII, at most 128 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    text: Arc<str>,
}

impl RequestId {
    /// The client's, if it can be echoed and logged as it is; otherwise a new one.
    pub(super) fn of(headers: &HeaderMap, ids: &Ids) -> Self {
        let given = headers.get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
        match given {
            Some(text) if is_acceptable(text) => Self { text: text.into() },
            _ => Self { text: Arc::from(&*ids.next().as_hyphenated().encode_lower(&mut [0; 36])) },
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.text).expect("visible ASCII")
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_acceptable(text: &str) -> bool {
    (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What the edge knows of the request and the extractors need.
#[derive(Clone, Debug)]
pub(super) struct EdgeInfo {
    pub(super) request_id: RequestId,
    pub(super) max_body_bytes: usize,
    pub(super) trust_proxy_headers: bool,
}

/// Whom to name in the audit.
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
        let edge = parts.extensions.get::<EdgeInfo>();
        Ok(Self {
            request_id: edge.map(|edge| edge.request_id.to_string()).unwrap_or_default(),
            actor: actor(&parts.headers)?,
            ip_address: client_address(parts, edge.is_some_and(|edge| edge.trust_proxy_headers)),
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

/// The leftmost address of `X-Forwarded-For` names the client, but only a proxy can be believed to have put it
/// there: without `TRUST_PROXY_HEADERS` the peer counts.
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
