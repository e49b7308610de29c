//! `/api/v1/ops/keys`.

use std::sync::Arc;
use std::time::Duration;

use access::{Caller, Role};
use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use contracts::CustomerId;
use ipnet::IpNet;
use runtime::ApiError;
use runtime::http::{ApiJson, ApiQuery, RequestContext};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::answers::{ActorHeader, Justification, ReadErrors, WriteErrors, id_in_path, limit, operator};
use crate::Shared;
use crate::read::keys::{self as read, Keys};
use crate::write::Changed;
use crate::write::keys::{self, MadeKey, NewKey};

/// The longest list.
const MOST: i64 = 1_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list_keys))
        .routes(routes!(create_key))
        .routes(routes!(rotate_key))
        .routes(routes!(revoke_key))
}

/// The id in the path.
#[derive(Debug, Clone, Copy)]
struct KeyId(Uuid);

impl<S: Send + Sync> FromRequestParts<S> for KeyId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        id_in_path(parts, state, "KEY_NOT_FOUND", "key").await.map(Self)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KeyParams {
    /// Only those that are accepted now.
    #[serde(default)]
    #[param(default = false)]
    valid: bool,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// The keys of callers
///
/// With who made them, what they may do, and when they were last used.
#[utoipa::path(get, path = "/keys", tag = "Operations", params(KeyParams), responses((status = 200, body = Keys), ReadErrors))]
async fn list_keys(
    State(api): State<Arc<Shared>>,
    ApiQuery(params): ApiQuery<KeyParams>,
) -> Result<Json<Keys>, ApiError> {
    Ok(Json(read::list(&api.pool, params.valid, limit(params.limit, 100, MOST)?).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKeyBody {
    /// The actor in the audit. One valid key has it.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// `customer`, `staff`, `manager`, `reporting`, `operator` or `admin`.
    #[schema(pattern = "^(customer|staff|manager|reporting|operator|admin)$")]
    role: String,
    /// For the role `customer`, and required there.
    #[schema(min_length = 1, max_length = 64)]
    customer_id: Option<String>,
    /// CIDR blocks that it may be used from, as `203.0.113.0/24`. None: from everywhere.
    #[serde(default)]
    #[schema(max_items = 50)]
    networks: Vec<String>,
    /// Unset: never.
    expires_at: Option<DateTime<Utc>>,
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

impl NewKeyBody {
    fn parse(&self, now: DateTime<Utc>) -> Result<NewKey, ApiError> {
        let role: Role = self.role.parse().map_err(|error| invalid("role", error))?;
        let customer_id = self.customer_id.as_deref().map(CustomerId::parse).transpose();
        let customer_id = customer_id.map_err(|error| invalid("customer_id", error))?;
        let networks = self.networks.iter().enumerate().map(|(index, network)| {
            let parsed: Result<IpNet, _> = network.parse();
            parsed.map_err(|_| {
                ApiError::invalid_field(format!("networks[{index}]"), "must be a CIDR block, as 203.0.113.0/24")
            })
        });
        let networks = networks.collect::<Result<Vec<_>, _>>()?;
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(ApiError::invalid_field("expires_at", "must be in the future"));
        }
        Ok(NewKey::new(&self.name, role, customer_id, networks, self.expires_at)?)
    }
}

fn invalid(field: &str, error: impl std::fmt::Display) -> ApiError {
    ApiError::invalid_field(field, error.to_string())
}

/// Make a key
///
/// The answer is the only place where the key is ever shown.
#[utoipa::path(post, path = "/keys", tag = "Operations", request_body = NewKeyBody,
    params(ActorHeader),
    responses((status = 201, body = MadeKey), WriteErrors))]
async fn create_key(
    State(api): State<Arc<Shared>>,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<NewKeyBody>,
) -> Result<(StatusCode, Json<MadeKey>), ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    let new = body.parse(api.surroundings.clock.now())?;
    Ok((StatusCode::CREATED, Json(keys::create(&api.pool, new, operator).await?)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotationBody {
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Seconds for which the earlier key still works.
    #[schema(minimum = 0, maximum = 2_592_000, default = 86_400)]
    overlap_seconds: Option<u64>,
}

/// Rotate a key
///
/// Makes another key of the same name and role. The earlier one works until the overlap has passed.
#[utoipa::path(post, path = "/keys/{id}/rotate", tag = "Operations", request_body = RotationBody,
    params(("id" = uuid::Uuid, Path), ActorHeader),
    responses((status = 201, body = MadeKey), WriteErrors))]
async fn rotate_key(
    State(api): State<Arc<Shared>>,
    KeyId(id): KeyId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<RotationBody>,
) -> Result<(StatusCode, Json<MadeKey>), ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    let overlap = body.overlap_seconds.map_or(keys::USUAL_OVERLAP, Duration::from_secs);
    Ok((StatusCode::CREATED, Json(keys::rotate(&api.pool, id, overlap, operator).await?)))
}

/// Revoke a key
///
/// No service accepts it after 5 s.
#[utoipa::path(post, path = "/keys/{id}/revoke", tag = "Operations", request_body = Justification,
    params(("id" = uuid::Uuid, Path), ActorHeader),
    responses((status = 200, body = Changed), WriteErrors))]
async fn revoke_key(
    State(api): State<Arc<Shared>>,
    KeyId(id): KeyId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<Justification>,
) -> Result<Json<Changed>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    Ok(Json(keys::revoke(&api.pool, id, operator).await?))
}
