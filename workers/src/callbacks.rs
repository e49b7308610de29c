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
use chrono::DateTime;
use contracts::{GatewayCallback, Queue};
use messaging::inbox;
use runtime::{ApiError, ErrorBody};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use standardwebhooks::{HEADER_WEBHOOK_TIMESTAMP, Webhook};
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
    let said = read(&callbacks.secret.0, &headers, &body)?;
    let waiting = refunds::waiting(&callbacks.pool, said.data.idempotency_key).await?;
    let hastened = match waiting {
        Some(event_id) => inbox::hasten(&callbacks.pool, Queue::Refunds, event_id).await?,
        None => false,
    };
    tracing::info!(key = %said.data.idempotency_key, kind = said.kind, hastened, "the gateway called back");
    Ok(StatusCode::NO_CONTENT)
}

/// What a call says, if the gateway has signed it.
pub(crate) fn read(secret: &Webhook, headers: &HeaderMap, body: &[u8]) -> Result<GatewayCallback, ApiError> {
    let unsigned = |reason: String| ApiError::new(StatusCode::UNAUTHORIZED, "INVALID_SIGNATURE", reason);
    if !is_a_time(headers) {
        return Err(unsigned(format!("{HEADER_WEBHOOK_TIMESTAMP} is not in seconds since 1970")));
    }
    secret.verify(body, headers).map_err(|error| unsigned(error.to_string()))?;
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "MALFORMED_JSON", error.to_string()))
}

/// The library subtracts the seconds of a call from those of the clock. With debug assertions it panics where the result does not fit
/// into 64 bits.
fn is_a_time(headers: &HeaderMap) -> bool {
    let seconds = headers.get(HEADER_WEBHOOK_TIMESTAMP).and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
    seconds.is_some_and(|seconds| DateTime::from_timestamp_secs(seconds).is_some())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &str = r#"{"type":"refund.updated","timestamp":"2026-11-27T10:00:00Z","data":{"idempotency_key":"01890a5d-ac96-774b-bcce-b302099a8057"}}"#;

    fn call(secret: &Webhook, seconds: i64, body: &str) -> HeaderMap {
        let signature = secret.sign("msg_1", seconds, body.as_bytes()).expect("UTF-8");
        let value = |text: &str| HeaderValue::from_str(text).expect("a header value");
        HeaderMap::from_iter([
            (HeaderName::from_static("webhook-id"), value("msg_1")),
            (HeaderName::from_static(HEADER_WEBHOOK_TIMESTAMP), value(&seconds.to_string())),
            (HeaderName::from_static("webhook-signature"), value(&signature)),
        ])
    }

    #[test]
    fn a_call_is_read_only_with_a_signature_of_now() {
        let secret = Webhook::new(SECRET).expect("a secret");
        let now = runtime::Clock::system().now().timestamp();
        let said = |seconds, body| read(&secret, &call(&secret, seconds, body), body.as_bytes());
        assert_eq!(said(now, BODY).map(|said| said.kind).ok().as_deref(), Some("refund.updated"));
        assert_eq!(said(now, "{}").map_err(|error| error.code), Err("MALFORMED_JSON"));
        for seconds in [0, now - 301, now + 302, i64::MIN, i64::MIN + 1, i64::MAX] {
            assert_eq!(said(seconds, BODY).map_err(|error| error.code), Err("INVALID_SIGNATURE"), "{seconds}");
        }
        let signed = call(&secret, now, BODY);
        for name in ["webhook-id", HEADER_WEBHOOK_TIMESTAMP, "webhook-signature"] {
            let mut headers = signed.clone();
            headers.remove(name);
            let refused = read(&secret, &headers, BODY.as_bytes()).map_err(|error| error.code);
            assert_eq!(refused, Err("INVALID_SIGNATURE"), "without {name}");
        }
    }

    #[test]
    fn a_secret_is_long_enough_to_be_one() {
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(parse_secret(bad).is_err(), "{bad}");
        }
        assert!(parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
    }
}
