//! What every command carries besides its own data: who sends it, when and why, its idempotency key, and the version
//! that it expects.

use std::convert::Infallible;

use access::{Caller, Role};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use chrono::{DateTime, Utc};
use contracts::audit::{ChainLink, Impersonal, Personal};
use contracts::{ActorType, EntityType, Trigger};
use runtime::ApiError;
use runtime::http::{RequestContext, SentJson};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::idempotency::KeyedRequest;

/// A body that a client sends.
pub(crate) trait Body {
    fn actor(&self) -> Option<&str>;

    fn reason(&self) -> Option<&str>;

    /// The field that has the reason.
    fn reason_field(&self) -> &'static str {
        "reason"
    }
}

/// Who sends a request, and what its headers say.
#[derive(Debug)]
pub(crate) struct Sender {
    caller: Caller,
    request: RequestContext,
    headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await.unwrap_or_else(|never: Infallible| match never {});
        let request = RequestContext::from_request_parts(parts, state).await?;
        Ok(Self { caller, request, headers: parts.headers.clone() })
    }
}

/// Who acts, and for whom.
#[derive(Debug)]
struct Acting {
    actor: String,
    on_behalf_of: Option<String>,
    /// What the keys of this caller, and of no other, are kept under.
    scope: String,
    owner: Option<String>,
    decides: bool,
}

impl Acting {
    /// A caller who was asked for proof is the actor. Only without that the request names it: in its body, else in `X-Actor`.
    fn of(caller: Caller, named: Option<String>, header: Option<String>) -> Result<Self, ApiError> {
        match caller {
            Caller::Unchecked => {
                let scope = header.clone().unwrap_or_default();
                let actor = named.or(header).unwrap_or_else(|| "anonymous".to_owned());
                Ok(Self { actor, on_behalf_of: None, scope, owner: None, decides: true })
            }
            Caller::Known(principal) => {
                let on_behalf_of = named.or(header).filter(|named| *named != principal.name);
                let owner = principal.customer_id.as_ref().map(|id| id.as_str().to_owned());
                if owner.is_some() && on_behalf_of.is_some() {
                    return Err(ApiError::invalid_field("actor", "a customer acts for itself; leave it out"));
                }
                let decides = matches!(principal.role, Role::Manager | Role::Admin);
                let (actor, scope) = (principal.name.clone(), principal.scope().clone());
                Ok(Self { actor, on_behalf_of, scope, owner, decides })
            }
        }
    }
}

/// The context of one command.
#[derive(Debug, Clone)]
pub(crate) struct CommandContext {
    pub(crate) actor: String,
    /// For whom the actor says that it acts.
    pub(crate) on_behalf_of: Option<String>,
    /// The customer whose orders and returns alone the actor reaches. `None`: those of all.
    pub(crate) owner: Option<String>,
    /// Whether the actor may decide where money goes, and how much.
    pub(crate) decides: bool,
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

/// 400 for a command that moves money, has no `Idempotency-Key`, and needs one.
fn key_required() -> ApiError {
    let message =
        "this command moves money: send an Idempotency-Key, so that it can be repeated without moving it twice";
    ApiError::new(StatusCode::BAD_REQUEST, "IDEMPOTENCY_KEY_REQUIRED", message)
}

impl CommandContext {
    /// The same, unless it lacks a key that is required of commands that move money.
    ///
    /// # Errors
    /// 400 `IDEMPOTENCY_KEY_REQUIRED`.
    pub(crate) fn moving_money(self, requires_key: bool) -> Result<Self, ApiError> {
        if requires_key && self.idempotency.is_none() { Err(key_required()) } else { Ok(self) }
    }

    /// The context of a client's request.
    ///
    /// # Errors
    /// 422 when `Idempotency-Key` or `If-Match` is malformed, or a customer names another actor.
    pub(crate) fn of_request(
        sender: Sender,
        route: &str,
        body: &impl Body,
        sent: &SentJson,
        at: DateTime<Utc>,
    ) -> Result<Self, ApiError> {
        let Sender { caller, request, headers } = sender;
        let Acting { actor, on_behalf_of, scope, owner, decides } =
            Acting::of(caller, body.actor().map(str::to_owned), request.actor)?;
        let idempotency = KeyedRequest::read(&headers, scope, route, sent)?;
        // Versions only grow, so of several the highest counts. Weak tags match no version, and there is none below 1.
        let expected_version = versions(&headers)?.map(|versions| versions.into_iter().max().unwrap_or(0));
        Ok(Self {
            actor,
            on_behalf_of,
            owner,
            decides,
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
            on_behalf_of: None,
            owner: None,
            decides: true,
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
    pub(crate) fn audit_row(&self, mut metadata: Value) -> AuditRow {
        if let (Some(on_behalf_of), Some(metadata)) = (&self.on_behalf_of, metadata.as_object_mut()) {
            metadata.insert("on_behalf_of".to_owned(), json!(on_behalf_of));
        }
        if let (Some(_), Some(metadata)) = (&self.owner, metadata.as_object_mut()) {
            metadata.insert("by_customer".to_owned(), json!(true));
        }
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

impl AuditRow {
    /// What the row needs for its place in the chain of the audit.
    pub(crate) fn link(
        &self,
        entity_type: EntityType,
        entity_id: Uuid,
        to_state: &str,
        created_at: DateTime<Utc>,
    ) -> ChainLink {
        let Self { actor, actor_type, trigger, reason, metadata, ip_address, request_id, trace_id } = self;
        let (actor_type, trigger) = (*actor_type, *trigger);
        let personal = Personal { actor, reason: reason.as_deref(), metadata, ip_address: ip_address.as_deref() };
        let (request_id, trace_id) = (request_id.as_deref(), trace_id.as_deref());
        let impersonal =
            Impersonal { entity_type, entity_id, to_state, actor_type, trigger, request_id, trace_id, created_at };
        ChainLink::new(&personal, &impersonal)
    }
}

/// The versions of `If-Match`: one or several tags as in the `ETag`, or without quotes. `None` accepts any version (`*`). The comparison
/// is strong (RFC 9110, section 13.1.1), so a weak tag never matches.
fn versions(headers: &HeaderMap) -> Result<Option<Vec<i32>>, ApiError> {
    let expected = || ApiError::invalid_field("If-Match", "must be versions as in an ETag, for example \"3\", or *");
    let mut versions = None;
    for value in headers.get_all(header::IF_MATCH) {
        let text = value.to_str().map_err(|_| expected())?.trim();
        if text == "*" {
            return Ok(None);
        }
        for tag in text.split(',').map(str::trim) {
            let versions = versions.get_or_insert_with(Vec::new);
            if let Some(weak) = tag.strip_prefix("W/") {
                version(weak).ok_or_else(expected)?;
            } else {
                versions.push(version(tag).ok_or_else(expected)?);
            }
        }
    }
    Ok(versions)
}

/// The query side appends a dot and a suffix to the version once an invoice or a refund is there.
fn version(tag: &str) -> Option<i32> {
    tag.trim_matches('"').split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_takes_what_an_etag_gives() {
        let parsed = |text: &'static str| {
            versions(&HeaderMap::from_iter([(header::IF_MATCH, axum::http::HeaderValue::from_static(text))])).ok()
        };
        for (text, expected) in [
            ("\"3\"", Some(Some(vec![3]))),
            ("3", Some(Some(vec![3]))),
            ("\"3.1\"", Some(Some(vec![3]))),
            ("\"3.1.1\"", Some(Some(vec![3]))),
            ("\"2\", \"3\"", Some(Some(vec![2, 3]))),
            ("W/\"3\"", Some(Some(vec![]))),
            ("W/\"3\", \"4\"", Some(Some(vec![4]))),
            ("*", Some(None)),
            ("", None),
            ("\"three\"", None),
            ("W/x", None),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        assert_eq!(versions(&HeaderMap::new()).ok(), Some(None));
    }
}
