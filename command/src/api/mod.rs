//! Routes, and how an outcome becomes an answer.

pub(crate) mod body;
mod orders;
mod returns;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::{CONSISTENCY_TOKEN_HEADER, EntityType};
use runtime::http::{ApiJson, RequestContext};
use runtime::{ApiError, ErrorBody};
use serde::de::DeserializeOwned;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use crate::App;
use crate::intent::{IdempotencyKey, key_reused};
use crate::store::KnownAnswer;

#[derive(utoipa::OpenApi)]
#[openapi(tags(
    (name = "Orders: commands", description = "Place an order and take it through its states."),
    (name = "Returns: commands", description = "Request the return of items and take it to its refund."),
))]
struct Documented;

fn router() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Documented::openapi()).nest("/api/v1", orders::routes().merge(returns::routes()))
}

pub(crate) fn routes(app: App) -> axum::Router {
    router().with_state(app).split_for_parts().0
}

/// The description of the command endpoints.
pub fn openapi() -> utoipa::openapi::OpenApi {
    router().into_openapi()
}

/// The answers of every command that is not carried out.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
enum CommandErrors {
    /// Malformed JSON (`MALFORMED_JSON`), or a return that is not allowed (`RETURN_NOT_ALLOWED`).
    #[response(status = 400)]
    BadRequest(ErrorBody),
    /// `ORDER_NOT_FOUND` or `RETURN_NOT_FOUND`.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// `INVALID_STATE_TRANSITION`, `ORDER_NUMBER_EXISTS` or `IDEMPOTENCY_KEY_IN_PROGRESS`; nothing was written.
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// `VERSION_MISMATCH`: the version in `If-Match` is not the current one.
    #[response(status = 412)]
    PreconditionFailed(ErrorBody),
    /// `BODY_TOO_LARGE`.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// `UNSUPPORTED_MEDIA_TYPE`.
    #[response(status = 415)]
    MediaType(ErrorBody),
    /// `VALIDATION_FAILED` with the offending fields, or `IDEMPOTENCY_KEY_REUSED`.
    #[response(status = 422)]
    Invalid(ErrorBody),
    /// `SERVICE_UNAVAILABLE`: try again; with an `Idempotency-Key` that is safe.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// A command on its way to one entity: what the path, the headers and the body say.
#[derive(Debug)]
pub(crate) struct Incoming<B> {
    pub(crate) id: String,
    pub(crate) context: RequestContext,
    pub(crate) headers: HeaderMap,
    pub(crate) body: B,
}

impl<S: Send + Sync, B: DeserializeOwned> FromRequest<S> for Incoming<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Path(id) = Path::from_request_parts(&mut parts, state)
            .await
            .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", error.body_text()))?;
        let context = RequestContext::from_request_parts(&mut parts, state).await?;
        let headers = parts.headers.clone();
        let ApiJson(body) = ApiJson::from_request(Request::from_parts(parts, body), state).await?;
        Ok(Self { id, context, headers, body })
    }
}

/// A carried-out command.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) entity: EntityType,
    pub(crate) id: Uuid,
    pub(crate) version: i32,
    /// The entity's document, as the database wrote it.
    pub(crate) body: String,
    pub(crate) replayed: bool,
}

impl Answer {
    /// The answer given before, if the request is the same; the caller sees that it is a replay by a header.
    pub(crate) fn known(
        known: KnownAnswer,
        key: Option<&IdempotencyKey>,
        entity: EntityType,
    ) -> Result<Self, ApiError> {
        #[derive(serde::Deserialize)]
        struct Versioned {
            version: i32,
        }
        if key.is_none_or(|key| key.request_hash != known.request_hash) {
            return Err(key_reused());
        }
        let status = u16::try_from(known.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let Versioned { version } = serde_json::from_str(&known.body).map_err(ApiError::internal)?;
        Ok(Self {
            status: status.unwrap_or(StatusCode::OK),
            entity,
            id: known.entity_id,
            version,
            body: known.body,
            replayed: true,
        })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        set(header::ETAG, format!("\"{}\"", self.version));
        set(HeaderName::from_static(CONSISTENCY_TOKEN_HEADER), format!("{}:{}@{}", self.entity, self.id, self.version));
        if self.status == StatusCode::CREATED {
            set(header::LOCATION, format!("/api/v1/{}s/{}", self.entity, self.id));
        }
        if self.replayed {
            set(HeaderName::from_static("idempotency-replayed"), "true".to_owned());
        }
        response
    }
}

/// 404 for an id that is unknown, or that cannot be one.
pub(crate) fn not_found(entity: EntityType, id: &str) -> ApiError {
    let code = if entity == EntityType::Return { "RETURN_NOT_FOUND" } else { "ORDER_NOT_FOUND" };
    let hint = if Uuid::try_parse(id).is_err() { " (an id is a UUID)" } else { "" };
    let shown: String = id.chars().take(64).collect();
    ApiError::not_found(code, format!("there is no {entity} {shown:?}{hint}"))
        .with_details(serde_json::json!({ "id": shown }))
}

/// Parses the id in a path.
pub(crate) fn entity_id(entity: EntityType, id: &str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(id).map_err(|_| not_found(entity, id))
}
