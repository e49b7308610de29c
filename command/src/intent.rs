//! What every command carries besides its own data: who wants it and why, its idempotency key, its condition.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, StatusCode, header};
use chrono::{DateTime, Utc};
use contracts::{ActorType, Headers, Trigger};
use runtime::http::RequestContext;
use runtime::{ApiError, FieldError};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Request header of an idempotent command (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const MAX_KEY: usize = 255;

/// Who does it, when and why: the audit's columns.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) actor: String,
    pub(crate) actor_type: ActorType,
    pub(crate) trigger: Trigger,
    pub(crate) reason: Option<String>,
    pub(crate) ip_address: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) at: DateTime<Utc>,
}

impl Origin {
    pub(crate) fn new(
        context: RequestContext,
        actor: Option<String>,
        reason: Option<String>,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            actor: actor.or(context.actor).unwrap_or_else(|| "anonymous".to_owned()),
            actor_type: ActorType::User,
            trigger: Trigger::ApiCall,
            reason,
            ip_address: context.ip_address.map(|address| address.to_string()),
            request_id: Some(context.request_id),
            trace_id: runtime::telemetry::trace_id(),
            traceparent: runtime::telemetry::traceparent(),
            at,
        }
    }

    /// What is done by the clock, and by nobody's request.
    pub(crate) fn scheduled(reason: String, at: DateTime<Utc>) -> Self {
        Self {
            actor: "system".to_owned(),
            actor_type: ActorType::System,
            trigger: Trigger::Scheduler,
            reason: Some(reason),
            ip_address: None,
            request_id: None,
            trace_id: runtime::telemetry::trace_id(),
            traceparent: runtime::telemetry::traceparent(),
            at,
        }
    }

    /// The audit row as JSON, without what only the database knows (version and state before).
    pub(crate) fn transition(
        &self,
        entity_type: &str,
        entity_id: uuid::Uuid,
        to_state: &str,
        metadata: &Value,
    ) -> Value {
        json!({
            "entity_type": entity_type,
            "entity_id": entity_id,
            "to_state": to_state,
            "actor": self.actor,
            "actor_type": self.actor_type,
            "trigger": self.trigger,
            "reason": self.reason,
            "metadata": metadata,
            "ip_address": self.ip_address,
            "request_id": self.request_id,
            "trace_id": self.trace_id,
            "created_at": self.at,
        })
    }

    /// What consumers get to go on with the same request and trace.
    pub(crate) fn headers(&self) -> Headers {
        Headers {
            traceparent: self.traceparent.clone(),
            request_id: self.request_id.clone(),
            actor: Some(self.actor.clone()),
            schema_version: None,
        }
    }
}

/// A key under which the answer to a command is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct IdempotencyKey {
    /// The actor named by the header; keys of different callers never meet.
    pub(crate) caller: String,
    pub(crate) route: String,
    pub(crate) key: String,
    pub(crate) request_hash: Vec<u8>,
}

/// The headers that govern a command.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) idempotency: Option<IdempotencyKey>,
    /// `If-Match`: the version the client believes in.
    pub(crate) expected_version: Option<i32>,
}

impl Conditions {
    /// Reads `Idempotency-Key` and `If-Match`. `body` is what the key must not be reused with another of.
    pub(crate) fn read(
        headers: &HeaderMap,
        route: &str,
        context: &RequestContext,
        body: &impl Serialize,
    ) -> Result<Self, ApiError> {
        let idempotency = match headers.get(IDEMPOTENCY_KEY) {
            None => None,
            Some(value) => Some(IdempotencyKey {
                caller: context.actor.clone().unwrap_or_default(),
                route: route.to_owned(),
                key: key_text(value)?,
                request_hash: Sha256::digest(serde_json::to_vec(body).map_err(ApiError::internal)?).to_vec(),
            }),
        };
        let expected_version = headers.get(header::IF_MATCH).map(version).transpose()?.flatten();
        Ok(Self { idempotency, expected_version })
    }
}

fn key_text(value: &axum::http::HeaderValue) -> Result<String, ApiError> {
    let text = value.to_str().unwrap_or_default().trim();
    if (1..=MAX_KEY).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    let message = format!("must be 1 to {MAX_KEY} visible ASCII characters");
    Err(ApiError::validation(vec![FieldError::new("Idempotency-Key", message)]))
}

/// `"3"` as in the `ETag`, or bare; `*` asks for any version.
fn version(value: &axum::http::HeaderValue) -> Result<Option<i32>, ApiError> {
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    // An ETag of the query side goes on behind a dot where an invoice or refund was added; the version is before it.
    let number = text.trim_matches('"').split('.').next().unwrap_or_default();
    number.parse().map(Some).map_err(|_| {
        ApiError::validation(vec![FieldError::new("If-Match", "must be the version from an ETag, for example \"3\"")])
    })
}

/// Keys whose commands this process is carrying out at this moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashSet<IdempotencyKey>>>);

impl InFlight {
    /// Enters a key until the guard is dropped.
    ///
    /// # Errors
    /// 409 when it is in there: the client repeats a command that has not ended yet. Between two processes the
    /// primary key of `idempotency_keys` decides instead.
    pub(crate) fn enter(&self, key: Option<&IdempotencyKey>) -> Result<InFlightGuard, ApiError> {
        if let Some(key) = key
            && !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone())
        {
            return Err(key_in_progress());
        }
        Ok(InFlightGuard { keys: self.clone(), key: key.cloned() })
    }
}

/// Takes its key out again when dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    keys: InFlight,
    key: Option<IdempotencyKey>,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        }
    }
}

/// 409 for a key whose command is under way.
pub(crate) fn key_in_progress() -> ApiError {
    ApiError::conflict(
        "IDEMPOTENCY_KEY_IN_PROGRESS",
        "a command with this Idempotency-Key is being carried out; repeat the request in a moment",
    )
}

/// 422 for a key that was used with another body.
pub(crate) fn key_reused() -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "IDEMPOTENCY_KEY_REUSED",
        "this Idempotency-Key was used with another body; take a new key for a new command",
    )
}
