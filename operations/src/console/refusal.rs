//! What a person is told when a page cannot be shown.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use runtime::ApiError;

use super::document::{Document, document};
use crate::OperationError;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The visitor has not signed in, or not lately.
    SignIn {
        back: String,
    },
    Told(Box<ApiError>),
    /// A sign-in at the identity provider has failed.
    NotSignedIn(Box<ApiError>),
}

pub(super) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self::Told(Box::new(ApiError::new(status, code, message)))
    }
}

impl Refusal {
    /// Of a limit of the API.
    pub(super) fn too_many(_: Box<Response>) -> Self {
        let message =
            "too many requests from your address or with your key; wait a few seconds, then load the page again";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message)
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Told(Box::new(error))
    }
}

impl From<OperationError> for Refusal {
    fn from(error: OperationError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (error, is_sign_in) = match self {
            Self::SignIn { back } => return Redirect::to(&format!("/console/sign-in?back={back}")).into_response(),
            Self::Told(error) => (error, false),
            Self::NotSignedIn(error) => (error, true),
        };
        let title = match error.status {
            _ if is_sign_in => "Not signed in",
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::FORBIDDEN => "Not allowed",
            status if status.is_server_error() => "Not available",
            _ => "Refused",
        };
        let content = html! {
            p role="alert" .alert { (error.message) }
            p { code { (error.code) } "." @if error.status.is_client_error() && !is_sign_in { " Nothing was changed." } }
            p {
                @if is_sign_in { a href="/console/sign-in" { "Back to the sign-in" } }
                @else { a href="/console" { "Back to the overview" } }
            }
        };
        (error.status, document(&Document { title, ..Document::default() }, Default::default(), &content))
            .into_response()
    }
}
