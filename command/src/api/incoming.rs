//! A request for a step of one entity: what its path, headers and body say.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use contracts::EntityType;
use runtime::ApiError;
use runtime::http::{ApiJsonSent, SentJson};
use serde::de::DeserializeOwned;
use utoipa::IntoParams;
use uuid::Uuid;

use super::bodies::StepBody;
use crate::App;
use crate::context::{CommandContext, Sender};
use crate::dispatch::Dispatch;
use crate::outcome::{Outcome, entity_id};
use crate::transition::ChangeState;

/// The steps after which money moves. `PATCH …/state` may be any of them.
const MOVE_MONEY: [&str; 6] = ["pay", "cancel", "complete", "refunds", "retry", "state"];

/// The headers that [`KeyedRequest`](crate::idempotency::KeyedRequest) reads.
#[expect(dead_code, reason = "read by utoipa only")]
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct KeyHeader {
    /// 1 to 255 visible ASCII characters; kept for `IDEMPOTENCY_RETENTION_HOURS`.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
}

/// The headers of a step.
#[expect(dead_code, reason = "read by utoipa only")]
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct StepHeaders {
    /// 1 to 255 visible ASCII characters; kept for `IDEMPOTENCY_RETENTION_HOURS`.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
    /// The version that the step expects, as in the `ETag`; `*` for any. Of several the highest counts. A weak tag matches nothing.
    #[param(
        rename = "If-Match",
        pattern = r#"^(\*|(W/)?"?[0-9]{1,9}(\.[0-9]+){0,2}"?(, *(W/)?"?[0-9]{1,9}(\.[0-9]+){0,2}"?)*)$"#,
        example = "\"3\""
    )]
    if_match: Option<String>,
}

#[derive(Debug)]
pub(super) struct Incoming<B> {
    id: String,
    sender: Sender,
    pub(super) body: B,
    sent: SentJson,
}

impl<S: Send + Sync, B: DeserializeOwned> FromRequest<S> for Incoming<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Path(id) = Path::from_request_parts(&mut parts, state)
            .await
            .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", error.body_text()))?;
        let sender = Sender::from_request_parts(&mut parts, state).await?;
        let ApiJsonSent { body, sent } = ApiJsonSent::from_request(Request::from_parts(parts, body), state).await?;
        Ok(Self { id, sender, body, sent })
    }
}

impl<B: StepBody> Incoming<B> {
    /// Parses the request. The id and `verb` name the route for the idempotency key.
    pub(super) fn parse(
        self,
        app: &App,
        verb: &str,
        entity: EntityType,
    ) -> Result<(CommandContext, Uuid, B), ApiError> {
        self.body.validate()?;
        let Self { id, sender, body, sent } = self;
        // In one spelling: the same id in capital letters is the same route.
        let id = entity_id(entity, &id)?;
        let mut context = CommandContext::of_request(sender, &format!("{id}/{verb}"), &body, &sent, app.clock.now())?;
        if MOVE_MONEY.contains(&verb) {
            context = context.moving_money(app.requires_key)?;
        }
        Ok((context, id, body))
    }

    /// Parses the request and takes the entity to a state.
    pub(super) async fn change<S: Dispatch>(self, app: &App, verb: &str, to: S) -> Result<Outcome, ApiError> {
        let (context, id, body) = self.parse(app, verb, S::ENTITY)?;
        let outcome = S::change(app, &context, ChangeState { id, to, details: body.into_details() }).await?;
        Ok(if context.owner.is_some() { outcome.for_customer() } else { outcome })
    }
}
