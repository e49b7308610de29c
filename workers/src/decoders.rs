//! Reads the gateway's calls without a request, for the targets in `fuzz/`.

use axum::http::HeaderMap;
use contracts::GatewayCallback;
use standardwebhooks::Webhook;

use crate::callbacks;

/// What a call says, if this secret has signed it.
pub fn callback(secret: &Webhook, headers: &HeaderMap, body: &[u8]) -> Option<GatewayCallback> {
    callbacks::read(secret, headers, body).ok()
}
