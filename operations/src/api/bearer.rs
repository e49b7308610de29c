//! The token that guards the operators' API.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use runtime::ApiError;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The hash of the token. All hashes have one length, so the comparison does not reveal the length of the token.
#[derive(Debug, Clone)]
pub(super) struct Bearer([u8; 32]);

impl Bearer {
    pub(super) fn of(token: &SecretString) -> Self {
        Self(Sha256::digest(token.expose_secret()).into())
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let (scheme, given) = given.split_at_checked(b"Bearer ".len()).unwrap_or_default();
        let given: [u8; 32] = Sha256::digest(given).into();
        scheme.eq_ignore_ascii_case(b"Bearer ") & bool::from(given.ct_eq(&self.0))
    }
}

/// Refuses requests without the token.
pub(super) async fn require(State(bearer): State<Bearer>, request: Request, next: Next) -> Response {
    if bearer.is_in(request.headers()) {
        return next.run(request).await;
    }
    let message = "the header Authorization: Bearer with the operators' token is required";
    let mut answer = ApiError::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message).into_response();
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_counts() {
        let bearer = Bearer::of(&SecretString::from("hush"));
        let lets_in = |given: Option<&str>| {
            let headers = given.map(|given| (header::AUTHORIZATION, given.parse().expect("a header value")));
            bearer.is_in(&headers.into_iter().collect())
        };
        for (given, fine) in [
            (Some("Bearer hush"), true),
            (Some("bearer hush"), true),
            (Some("Bearer hus"), false),
            (Some("Bearer hushh"), false),
            (Some("Bearer "), false),
            (Some("Basic hush"), false),
            (Some("hush"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(lets_in(given), fine, "{given:?}");
        }
    }
}
