//! What every command carries besides its own data: who sends it, when and why, its idempotency key, and the version
//! that it expects.

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::{DateTime, Utc};
use contracts::{ActorType, Trigger};
use runtime::ApiError;
use runtime::http::{RequestContext, SentJson};
use serde_json::Value;

use crate::idempotency::KeyedRequest;

/// A body that a client sends.
pub(crate) trait Body {
    fn actor(&self) -> Option<&str>;

    fn reason(&self) -> Option<&str>;
}

/// The context of one command.
#[derive(Debug, Clone)]
pub(crate) struct CommandContext {
    pub(crate) actor: String,
    pub(crate) actor_type: ActorType,
    pub(crate) trigger: Trigger,
    pub(crate) reason: Option<String>,
    pub(crate) ip_address: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) at: DateTime<Utc>,
    pub(crate) idempotency: Option<KeyedRequest>,
    /// From `If-Match`: the command is refused at any other version.
    pub(crate) expected_version: Option<i32>,
}

impl CommandContext {
    /// The context of a client's request. The actor is the one that the body names, else the one in `X-Actor`.
    ///
    /// # Errors
    /// 422 when `Idempotency-Key` or `If-Match` is malformed.
    pub(crate) fn of_request(
        request: RequestContext,
        headers: &HeaderMap,
        route: &str,
        body: &impl Body,
        sent: &SentJson,
        at: DateTime<Utc>,
    ) -> Result<Self, ApiError> {
        let idempotency = KeyedRequest::read(headers, request.actor.as_deref(), route, sent)?;
        let expected_version = headers.get(header::IF_MATCH).map(version).transpose()?.flatten();
        let actor = body.actor().map(str::to_owned).or(request.actor);
        Ok(Self {
            actor: actor.unwrap_or_else(|| "anonymous".to_owned()),
            actor_type: ActorType::User,
            trigger: Trigger::ApiCall,
            reason: body.reason().map(str::to_owned),
            ip_address: request.ip_address.map(|address| address.to_string()),
            request_id: Some(request.request_id),
            trace_id: runtime::telemetry::trace_id(),
            traceparent: runtime::telemetry::traceparent(),
            at,
            idempotency,
            expected_version,
        })
    }

    /// The context of a command that a schedule sends.
    pub(crate) fn of_schedule(reason: String, at: DateTime<Utc>) -> Self {
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
            idempotency: None,
            expected_version: None,
        }
    }

    /// What the audit says about the command; the statement adds what only the database knows.
    pub(crate) fn audit_row(&self, metadata: Value) -> AuditRow {
        AuditRow {
            actor: self.actor.clone(),
            actor_type: self.actor_type,
            trigger: self.trigger,
            reason: self.reason.clone(),
            metadata,
            ip_address: self.ip_address.clone(),
            request_id: self.request_id.clone(),
            trace_id: self.trace_id.clone(),
        }
    }
}

/// A row of the audit, without the entity, its version and its states.
#[derive(Debug, Clone)]
pub(crate) struct AuditRow {
    pub(crate) actor: String,
    pub(crate) actor_type: ActorType,
    pub(crate) trigger: Trigger,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: Value,
    pub(crate) ip_address: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) trace_id: Option<String>,
}

/// `"3"` as in the `ETag`, or without quotes. `*` accepts any version.
fn version(value: &HeaderValue) -> Result<Option<i32>, ApiError> {
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    // The query side appends a dot and a suffix to the version once an invoice or a refund is there.
    let number = text.trim_matches('"').split('.').next().unwrap_or_default();
    number
        .parse()
        .map(Some)
        .map_err(|_| ApiError::invalid_field("If-Match", "must be the version from an ETag, for example \"3\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_takes_what_an_etag_gives() {
        let parsed = |text| version(&HeaderValue::from_static(text)).ok();
        for (text, expected) in [
            ("\"3\"", Some(Some(3))),
            ("3", Some(Some(3))),
            ("\"3.1\"", Some(Some(3))),
            ("*", Some(None)),
            ("", None),
            ("\"three\"", None),
            ("W/\"3\"", None),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }
}
