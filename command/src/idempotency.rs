//! `Idempotency-Key`: a repeated request gets the first answer instead of a second effect.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use runtime::ApiError;
use runtime::http::SentJson;
use sha2::{Digest, Sha256};

/// Request header of an idempotent command (draft-ietf-httpapi-idempotency-key-header).
const HEADER: &str = "idempotency-key";
const MAX_LENGTH: usize = 255;

/// What a client sends as `Idempotency-Key`: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct IdempotencyKey(String);

impl IdempotencyKey {
    fn parse(value: &HeaderValue) -> Result<Self, ApiError> {
        let text = value.to_str().unwrap_or_default().trim();
        if (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(ApiError::invalid_field("Idempotency-Key", format!("must be 1 to {MAX_LENGTH} visible ASCII characters")))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request under its key: what the answer is stored under, and what a repeated request must equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct KeyedRequest {
    /// The principal; with `AUTH=none` the actor in `X-Actor`. Keys of different callers never meet.
    pub(crate) caller: String,
    pub(crate) route: String,
    pub(crate) key: IdempotencyKey,
    /// SHA-256 of the body's [canonical](SentJson::canonical) text, as the client sent it. What this version makes of the
    /// body is not in it: after an upgrade, the repeat of an earlier request is still the same request.
    pub(crate) request_hash: Vec<u8>,
}

impl KeyedRequest {
    /// `None` when the request has no key.
    pub(crate) fn read(
        headers: &HeaderMap,
        caller: String,
        route: &str,
        sent: &SentJson,
    ) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get(HEADER) else { return Ok(None) };
        Ok(Some(Self {
            caller,
            route: route.to_owned(),
            key: IdempotencyKey::parse(value)?,
            request_hash: Sha256::digest(sent.canonical().map_err(ApiError::internal)?).to_vec(),
        }))
    }
}

/// The keyed requests that this process is executing.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashSet<KeyedRequest>>>);

impl InFlight {
    /// Adds a request until the guard is dropped.
    ///
    /// # Errors
    /// 409 when the same request is in flight already. Between two processes the primary key of
    /// `idempotency_keys` decides instead.
    pub(crate) fn enter(&self, request: Option<&KeyedRequest>) -> Result<InFlightGuard, ApiError> {
        if let Some(request) = request
            && !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(request.clone())
        {
            return Err(key_in_progress());
        }
        Ok(InFlightGuard { requests: self.clone(), entered: request.cloned() })
    }
}

/// Removes its request when dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    requests: InFlight,
    entered: Option<KeyedRequest>,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if let Some(request) = &self.entered {
            self.requests.0.lock().unwrap_or_else(PoisonError::into_inner).remove(request);
        }
    }
}

/// 409 for a key whose first request has not ended.
pub(crate) fn key_in_progress() -> ApiError {
    ApiError::conflict(
        "IDEMPOTENCY_KEY_IN_PROGRESS",
        "a command with this Idempotency-Key is being executed; repeat the request in a moment",
    )
}

/// 422 for a key that was used with another body.
pub(crate) fn key_reused() -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "IDEMPOTENCY_KEY_REUSED",
        "this Idempotency-Key was used with another body; use a new key for a new command",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_255_visible_characters() {
        let parsed = |text: &str| {
            let value = HeaderValue::from_bytes(text.as_bytes()).expect("a header value");
            IdempotencyKey::parse(&value).ok().map(|key| key.as_str().to_owned())
        };
        let longest = "k".repeat(MAX_LENGTH);
        for (text, expected) in [
            ("order-1", Some("order-1")),
            (" order-1 ", Some("order-1")),
            (longest.as_str(), Some(longest.as_str())),
            (&format!("{longest}k"), None),
            ("", None),
            (" ", None),
            ("order 1", None),
            ("order\t1", None),
            ("क", None),
        ] {
            assert_eq!(parsed(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_is_dropped() {
        let request = KeyedRequest {
            caller: "anna".to_owned(),
            route: "orders".to_owned(),
            key: IdempotencyKey("k".to_owned()),
            request_hash: vec![1],
        };
        let in_flight = InFlight::default();
        let guard = in_flight.enter(Some(&request)).expect("the first");
        let error = in_flight.enter(Some(&request)).expect_err("the second meanwhile");
        assert_eq!((error.status.as_u16(), error.code), (409, "IDEMPOTENCY_KEY_IN_PROGRESS"));
        drop(guard);
        in_flight.enter(Some(&request)).expect("once the first has ended");
        in_flight.enter(None).expect("a request without a key");
    }
}
