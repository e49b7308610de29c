//! Who sends a request, and under which id.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

use super::body::Buffers;
use crate::error::ApiError;
use crate::request_id::RequestId;

/// Who acts, where the body of a request does not say: a user name or an id of at most 64 characters.
pub const ACTOR_HEADER: &str = "x-actor";
const MAX_ACTOR: usize = 64;

/// What the middleware knows of the request and the extractors need.
#[derive(Clone, Debug)]
pub(super) struct RequestInfo {
    pub(super) request_id: RequestId,
    /// The client's, as far as it can be known.
    pub(super) address: Option<IpAddr>,
    pub(super) max_body_bytes: usize,
    pub(super) buffers: Buffers,
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
            ip_address: client_address(&parts.extensions),
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

/// The address of the client of a request, as far as it can be known.
pub fn client_address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<RequestInfo>().and_then(|info| info.address)
}

/// Who is at the other end of the connection.
pub(super) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_canonical())
}

/// Each proxy adds to `X-Forwarded-For` whom it heard, on the right. So the client is the rightmost address that is no proxy of ours;
/// what stands left of it the client may have written itself. Without a proxy of ours at the other end the header says nothing.
pub(super) fn address_of_client(peer: Option<IpAddr>, headers: &HeaderMap, proxies: &[IpNet]) -> Option<IpAddr> {
    let is_ours = |address: &IpAddr| proxies.iter().any(|network| network.contains(address));
    let mut client = peer?;
    let values = headers.get_all("x-forwarded-for").iter().rev();
    for entry in values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')) {
        if !is_ours(&client) {
            break;
        }
        // A proxy of ours writes addresses. What cannot be read is not passed over: what stands left of it is the client's.
        let Some(address) = std::str::from_utf8(entry).ok().and_then(address) else { break };
        client = address.to_canonical();
    }
    Some(client)
}

/// An address, which some proxies write with its port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_proxy_of_ours() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "192.0.2.1/32"].iter().map(|net| net.parse().expect("CIDR")).collect();
        for (peer, forwarded, client) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.1, 192.0.2.1"], "198.51.100.1"),
            ("10.0.0.1", &["rubbish"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, rubbish, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711, 10.0.0.2"], "2001:db8::1"),
            ("10.0.0.1", &["\u{ff}, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6", "\u{ff}"], "10.0.0.1"),
        ] {
            let headers = forwarded.iter().map(|value| {
                (
                    "x-forwarded-for".parse().expect("a name"),
                    HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
                )
            });
            let found = address_of_client(peer.parse().ok(), &headers.collect(), &proxies);
            assert_eq!(found, client.parse().ok(), "{peer} {forwarded:?}");
        }
        assert_eq!(address_of_client("10.0.0.1".parse().ok(), &HeaderMap::new(), &[]), "10.0.0.1".parse().ok());
    }
}
