//! The payment gateway's client. Its errors say whether a call may be retried, must be looked up, or failed for good.

use std::time::Duration;

use contracts::{GatewayRefund, GatewayRefundRequest, IDEMPOTENCY_KEY_HEADER};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use runtime::http::REQUEST_ID_HEADER;
use runtime::telemetry;
use tracing::Span;
use uuid::Uuid;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest response read; a refund has a few hundred bytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Of an error's text, so much is kept.
const MAX_REASON_BYTES: usize = 500;

/// How a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// The gateway cannot be reached, or takes no requests. It has not carried out this one.
    #[error("the gateway is not available: {0}")]
    Unavailable(String),
    /// The gateway has not carried out this request, for a reason that may pass: a key that is being changed, a resource that is
    /// not there yet.
    #[error("the gateway has not taken the refund yet: {0}")]
    Later(String),
    /// The gateway understood the request and refused it for good.
    #[error("the gateway refused the refund: {0}")]
    Refused(String),
    /// The gateway may or may not have carried out the refund.
    #[error("the outcome at the gateway is unknown: {0}")]
    Unknown(String),
}

/// A client for one gateway.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    client: reqwest::Client,
    base: String,
}

impl Gateway {
    /// `base` is the gateway's address; `timeout` bounds a whole call.
    pub(crate) fn new(base: &str, timeout: Duration) -> anyhow::Result<Self> {
        runtime::tls::install();
        // A redirect would carry the refund to an address that no setting names.
        let client = reqwest::Client::builder().redirect(Policy::none());
        let client = client.connect_timeout(CONNECT).timeout(timeout).build()?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned() })
    }

    /// A call in the trace of the current span.
    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        telemetry::http_call(&Span::current(), &method, &url);
        let call = self.client.request(method, url);
        match telemetry::traceparent() {
            Some(traceparent) => call.header("traceparent", traceparent),
            None => call,
        }
    }

    /// Asks for a refund under an idempotency key.
    #[tracing::instrument(name = "gateway.refund.call", skip_all, fields(otel.kind = "client", otel.name = "POST /refund", key = %key))]
    pub(crate) async fn refund(
        &self,
        key: Uuid,
        request: &GatewayRefundRequest,
        request_id: Option<&str>,
    ) -> Result<GatewayRefund, GatewayError> {
        let mut call = self.call(Method::POST, "/refund");
        call = call.header(IDEMPOTENCY_KEY_HEADER, key.to_string()).json(request);
        if let Some(request_id) = request_id {
            call = call.header(REQUEST_ID_HEADER, request_id);
        }
        let response = answer(call).await.map_err(|error| {
            if error.is_connect() { GatewayError::Unavailable(error.to_string()) } else { unknown(error) }
        })?;
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::CREATED => return read(response).await,
            // The gateway would answer any other call in the same way.
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => {
                return Err(GatewayError::Unavailable(status.to_string()));
            }
            // Another request under the same key is at work, so the money may be on its way.
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::LOCKED => {
                return Err(GatewayError::Unknown(status.to_string()));
            }
            _ => {}
        }
        let says = format!("{status} {}", start_of(response).await);
        Err(match status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => GatewayError::Refused(says),
            // Only these two are known to be for good.
            status if status.is_client_error() => GatewayError::Later(says),
            _ => GatewayError::Unknown(says),
        })
    }

    /// The refund under an idempotency key, if the gateway made one. A look-up changes nothing, so a gateway that gives no
    /// answer is only not available.
    #[tracing::instrument(name = "gateway.refund.look_up", skip(self), fields(otel.kind = "client", otel.name = "GET /refund/{key}"))]
    pub(crate) async fn look_up(&self, key: Uuid) -> Result<Option<GatewayRefund>, GatewayError> {
        let response = answer(self.call(Method::GET, &format!("/refund/{key}"))).await;
        let response = response.map_err(|error| GatewayError::Unavailable(format!("look-up: {error}")))?;
        match response.status() {
            StatusCode::OK => read(response).await.map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => Err(GatewayError::Unavailable(format!("look-up: {status}"))),
            status => Err(GatewayError::Unknown(format!("look-up: {status}"))),
        }
    }
}

/// Sends a call, and records it in the current span.
async fn answer(call: RequestBuilder) -> reqwest::Result<Response> {
    let answer = call.send().await;
    let span = Span::current();
    match &answer {
        Ok(answer) => telemetry::http_answered(&span, answer.status().as_u16()),
        Err(error) if error.is_connect() => telemetry::http_failed(&span, "connect"),
        Err(error) => telemetry::http_failed(&span, if error.is_timeout() { "timeout" } else { "broken" }),
    }
    answer
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function value for map_err")]
fn unknown(error: reqwest::Error) -> GatewayError {
    GatewayError::Unknown(error.to_string())
}

/// What the gateway says about an error.
async fn start_of(mut response: Response) -> String {
    let mut text = Vec::new();
    while text.len() < MAX_REASON_BYTES {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        text.extend_from_slice(&chunk);
    }
    text.truncate(MAX_REASON_BYTES);
    String::from_utf8_lossy(&text).into_owned()
}

async fn read(mut response: Response) -> Result<GatewayRefund, GatewayError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unknown)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE_BYTES {
            return Err(GatewayError::Unknown(format!("the response exceeds {MAX_RESPONSE_BYTES} bytes")));
        }
    }
    serde_json::from_slice(&body).map_err(|error| GatewayError::Unknown(format!("undecodable response: {error}")))
}
