//! Query strings.

use std::error::Error;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::explain::explain;
use crate::error::ApiError;

/// A query string as a `T`. Otherwise 422 `VALIDATION_FAILED`, which names the parameter.
#[derive(Debug, Clone, Copy)]
pub struct ApiQuery<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let text = parts.uri.query().unwrap_or_default();
        // Postgres cannot store U+0000, so no parameter may contain it.
        if let Some(parameter) = text.split('&').find(|parameter| parameter.contains("%00")) {
            let name = parameter.split('=').next().unwrap_or_default();
            return Err(ApiError::invalid_field(name, "must not contain the character U+0000"));
        }
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                // axum keeps the error of serde_path_to_error as the source: "<parameter>: <message>".
                let text = rejection.source().map_or_else(|| rejection.body_text(), ToString::to_string);
                let (parameter, message) = text.split_once(": ").unwrap_or(("", &text));
                Err(explain(parameter, message).into())
            }
        }
    }
}
