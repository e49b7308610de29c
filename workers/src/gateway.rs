//! The payment gateway's client. It tells apart what may be tried again, what must be looked up, and what is final.

use std::time::Duration;

use contracts::{GatewayRefund, GatewayRefundRequest, IDEMPOTENCY_KEY_HEADER};
use reqwest::{Response, StatusCode};
use runtime::http::REQUEST_ID_HEADER;
use uuid::Uuid;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest answer read; a refund is a few hundred bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// The request never reached the gateway.
    #[error("the gateway cannot be reached: {0}")]
    NotSent(String),
    /// The gateway understood the request and refuses it for good.
    #[error("the gateway refuses: {0}")]
    Refused(String),
    /// It may or may not have been carried out.
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
    /// `base` is the gateway's address without a trailing slash; `timeout` bounds a whole call.
    pub(crate) fn new(base: &str, timeout: Duration) -> anyhow::Result<Self> {
        runtime::tls::install();
        let client = reqwest::Client::builder().connect_timeout(CONNECT).timeout(timeout).build()?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned() })
    }

    /// Asks for a refund under the return's id as its key.
    #[tracing::instrument(name = "gateway.refund.call", skip_all, fields(return.id = %request.return_id))]
    pub(crate) async fn refund(
        &self,
        request: &GatewayRefundRequest,
        request_id: Option<&str>,
    ) -> Result<GatewayRefund, GatewayError> {
        let mut call = self
            .client
            .post(format!("{}/refund", self.base))
            .header(IDEMPOTENCY_KEY_HEADER, request.return_id.to_string())
            .json(request);
        for (name, value) in
            [("traceparent", runtime::telemetry::traceparent()), (REQUEST_ID_HEADER, request_id.map(ToOwned::to_owned))]
        {
            if let Some(value) = value {
                call = call.header(name, value);
            }
        }
        let response = call.send().await.map_err(|error| {
            if error.is_connect() { GatewayError::NotSent(error.to_string()) } else { unknown(error) }
        })?;
        match response.status() {
            StatusCode::OK | StatusCode::CREATED => read(response).await,
            // Not carried out, says the gateway; and busy does not mean never.
            StatusCode::TOO_MANY_REQUESTS => Err(GatewayError::NotSent("429 Too Many Requests".to_owned())),
            status if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => {
                let answer = response.text().await.unwrap_or_default();
                Err(GatewayError::Refused(format!("{status} {}", answer.chars().take(500).collect::<String>())))
            }
            status => Err(GatewayError::Unknown(status.to_string())),
        }
    }

    /// The refund made under a key, if there is one.
    #[tracing::instrument(name = "gateway.refund.look_up", skip(self))]
    pub(crate) async fn look_up(&self, key: Uuid) -> Result<Option<GatewayRefund>, GatewayError> {
        let response = self.client.get(format!("{}/refund/{key}", self.base)).send().await.map_err(unknown)?;
        match response.status() {
            StatusCode::OK => read(response).await.map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(GatewayError::Unknown(format!("look-up: {status}"))),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function value for map_err")]
fn unknown(error: reqwest::Error) -> GatewayError {
    GatewayError::Unknown(error.to_string())
}

async fn read(mut response: Response) -> Result<GatewayRefund, GatewayError> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unknown)? {
        answer.extend_from_slice(&chunk);
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(GatewayError::Unknown(format!("more than {MAX_ANSWER_BYTES} bytes of answer")));
        }
    }
    serde_json::from_slice(&answer).map_err(|error| GatewayError::Unknown(format!("unreadable answer: {error}")))
}
