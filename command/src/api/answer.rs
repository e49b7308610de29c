//! How an outcome is answered: the entity's document, with its version and its consistency token in headers.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::CONSISTENCY_TOKEN_HEADER;

use crate::outcome::Outcome;

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.document).into_response();
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
