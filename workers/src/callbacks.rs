//! `POST /gateway/callbacks`: the gateway says that something has come of a refund. It only makes the refund due for a look-up,
//! whose answer alone counts.
//!
//! Calls are signed as the Standard Webhooks specification says: <https://www.standardwebhooks.com>.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use contracts::{GatewayCallback, Queue};
use messaging::inbox;
use runtime::{ApiError, ErrorBody};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use standardwebhooks::Webhook;
use utoipa::OpenApi;

use crate::refunds;

/// Fewest bytes of a secret, as the specification has it.
const SECRET_BYTES: usize = 24;

/// The secret that the gateway signs with.
#[derive(Clone)]
struct Secret(Arc<Webhook>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[derive(Debug, Clone)]
struct Callbacks {
    pool: PgPool,
    secret: Secret,
}

#[derive(OpenApi)]
#[openapi(paths(callback), components(schemas(ErrorBody)))]
struct Document;

/// The workers' part of the API specification.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The route for the gateway's calls; without a secret there is none.
pub(crate) fn routes(pool: PgPool, secret: Option<&SecretString>) -> anyhow::Result<Router> {
    let Some(secret) = secret else { return Ok(Router::new()) };
    let secret = Webhook::new(secret.expose_secret())?;
    let state = Callbacks { pool, secret: Secret(Arc::new(secret)) };
    Ok(Router::new().route("/gateway/callbacks", post(callback)).with_state(state))
}

/// A secret as the specification has it: `whsec_` and at least 24 bytes in base64.
pub(crate) fn parse_secret(text: &str) -> Result<SecretString, String> {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let bytes = text.strip_prefix("whsec_").and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    if bytes.is_none_or(|bytes| bytes.len() < SECRET_BYTES) {
        return Err(format!("must be whsec_ followed by at least {SECRET_BYTES} bytes in base64"));
    }
    Ok(SecretString::from(text))
}

/// Say that something has come of a refund
///
/// For the payment gateway. The workers look the refund up at once, and not only when it is due. A call that is about no refund of
/// ours changes nothing.
#[utoipa::path(
    post,
    path = "/gateway/callbacks",
    tag = "Payment gateway: callbacks",
    params(
        ("webhook-id" = String, Header, description = "Names the message; the same when it is sent again"),
        ("webhook-timestamp" = i64, Header, description = "Seconds since 1970; at most five minutes ago"),
        ("webhook-signature" = String, Header, description = "`v1,` and the HMAC-SHA256 of `<id>.<timestamp>.<body>` in base64; several are separated by blanks"),
    ),
    request_body = GatewayCallback,
    responses(
        (status = 204, description = "Taken"),
        (status = 400, description = "`MALFORMED_JSON`", body = ErrorBody),
        (status = 401, description = "`INVALID_SIGNATURE`", body = ErrorBody),
        (status = 503, description = "`SERVICE_UNAVAILABLE`: send it again", body = ErrorBody),
    ),
)]
async fn callback(State(callbacks): State<Callbacks>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, ApiError> {
    let signed = callbacks.secret.0.verify(&body, &headers);
    signed.map_err(|error| ApiError::new(StatusCode::UNAUTHORIZED, "INVALID_SIGNATURE", error.to_string()))?;
    let said: GatewayCallback = serde_json::from_slice(&body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "MALFORMED_JSON", error.to_string()))?;
    let waiting = refunds::waiting(&callbacks.pool, said.data.idempotency_key).await?;
    let hastened = match waiting {
        Some(event_id) => inbox::hasten(&callbacks.pool, Queue::Refunds, event_id).await?,
        None => false,
    };
    tracing::info!(key = %said.data.idempotency_key, kind = said.kind, hastened, "the gateway called back");
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_enough_to_be_one() {
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(parse_secret(bad).is_err(), "{bad}");
        }
        assert!(parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
    }
}
