//! A request for a step of one entity: what its path, headers and body say.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::{HeaderMap, StatusCode};
use runtime::ApiError;
use runtime::http::{ApiJson, RequestContext};
use serde::de::DeserializeOwned;

use super::bodies::StepBody;
use crate::App;
use crate::context::CommandContext;
use crate::outcome::{Outcome, entity_id};
use crate::transition::{ChangeState, Machine, change_state};

#[derive(Debug)]
pub(super) struct Incoming<B> {
    id: String,
    request: RequestContext,
    headers: HeaderMap,
    pub(super) body: B,
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
        Ok(Self { id, request: context, headers, body })
    }
}

impl<B: StepBody> Incoming<B> {
    /// Parses the request and takes the entity to a state. The id and `verb` name the route for the idempotency key.
    pub(super) async fn change<S: Machine>(self, app: &App, verb: &str, to: S) -> Result<Outcome, ApiError> {
        self.body.validate()?;
        let route = format!("{}/{verb}", self.id);
        let context = CommandContext::of_request(self.request, &self.headers, &route, &self.body, app.clock.now())?;
        let id = entity_id(S::ENTITY, &self.id)?;
        change_state(app, &context, ChangeState { id, to, details: self.body.into_details() }).await
    }
}
