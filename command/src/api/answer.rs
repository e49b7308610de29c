//! How an outcome is answered: the entity's document, with its version and its consistency token in headers.

use access::ConsistencyKey;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::CONSISTENCY_TOKEN_HEADER;

use runtime::ApiError;

use crate::App;
use crate::outcome::Outcome;

/// An outcome with its token.
#[derive(Debug)]
pub(super) struct Answer {
    outcome: Outcome,
    token: String,
}

impl App {
    /// The answer to a command.
    pub(super) fn answer(&self, outcome: Result<Outcome, ApiError>) -> Result<Answer, ApiError> {
        let outcome = outcome?;
        let key: &ConsistencyKey = &self.consistency_key;
        let token = key.token(outcome.entity.as_str(), outcome.id, outcome.version);
        Ok(Answer { outcome, token })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { outcome, token } = self;
        let mut response = (outcome.status, outcome.document).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        set(header::ETAG, format!("\"{}\"", outcome.version));
        set(HeaderName::from_static(CONSISTENCY_TOKEN_HEADER), token);
        if outcome.status == StatusCode::CREATED {
            set(header::LOCATION, format!("/api/v1/{}s/{}", outcome.entity, outcome.id));
        }
        if outcome.replayed {
            set(HeaderName::from_static("idempotency-replayed"), "true".to_owned());
        }
        response
    }
}
