//! An ordinary HTTP client of the API and of the payment gateway: the demo sees what any client sees.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use contracts::{CONSISTENCY_TOKEN_HEADER, GatewayRefund, OrderDocument, ReturnDocument};
use payment_gateway::LedgerReport;
use runtime::ErrorBody;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    api: String,
    gateway: String,
}

/// What orders and returns have in common.
pub(super) trait Document: DeserializeOwned + PartialEq + Clone {
    /// The first part of its path.
    const PLURAL: &'static str;
    fn id(&self) -> Uuid;
    fn version(&self) -> i32;
    fn state(&self) -> &'static str;
    /// Without what the query side adds, so that it can be compared with a command's response.
    fn without_effects(self) -> Self;
}

impl Document for OrderDocument {
    const PLURAL: &'static str = "orders";
    fn id(&self) -> Uuid {
        self.id
    }
    fn version(&self) -> i32 {
        self.version
    }
    fn state(&self) -> &'static str {
        self.state.as_str()
    }
    fn without_effects(self) -> Self {
        self.as_answered()
    }
}

impl Document for ReturnDocument {
    const PLURAL: &'static str = "returns";
    fn id(&self) -> Uuid {
        self.id
    }
    fn version(&self) -> i32 {
        self.version
    }
    fn state(&self) -> &'static str {
        self.state.as_str()
    }
    fn without_effects(self) -> Self {
        self.as_answered()
    }
}

/// The response to a command.
#[derive(Debug)]
pub(super) enum Answer<D> {
    Done { document: D, token: String },
    Refused(Box<ErrorBody>),
}

/// A response with its status and its duration.
#[derive(Debug)]
pub(super) struct Timed<D> {
    pub(super) answer: Answer<D>,
    pub(super) status: u16,
    pub(super) took: Duration,
}

impl Client {
    pub(super) fn new(base_url: &str, gateway_url: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { http, api: format!("{base_url}/api/v1"), gateway: gateway_url.to_owned() })
    }

    pub(super) async fn command<D: Document>(&self, path: &str, body: &impl serde::Serialize) -> Result<Timed<D>> {
        let url = format!("{}/{path}", self.api);
        let started = Instant::now();
        let response = self.http.post(&url).json(body).send().await?;
        let (status, token) = (response.status(), response.headers().get(CONSISTENCY_TOKEN_HEADER).cloned());
        let text = response.text().await?;
        let took = started.elapsed();
        let unreadable = || format!("POST {url} returned {status}: {text}");
        let answer = if status.is_success() {
            let token = token.context("a command's response has no consistency token")?.to_str()?.to_owned();
            Answer::Done { document: serde_json::from_str(&text).with_context(unreadable)?, token }
        } else {
            Answer::Refused(serde_json::from_str(&text).with_context(unreadable)?)
        };
        Ok(Timed { answer, status: status.as_u16(), took })
    }

    /// Reads what the command that returned this token has written, or a newer version.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str, token: &str) -> Result<T> {
        let url = format!("{}/{path}", self.api);
        let response = self.http.get(&url).header(CONSISTENCY_TOKEN_HEADER, token).send().await?;
        decode(&url, response).await
    }

    pub(super) async fn invoice(&self, order: Uuid) -> Result<Vec<u8>> {
        let url = format!("{}/orders/{order}/invoice", self.api);
        let response = self.http.get(&url).send().await?;
        if !response.status().is_success() {
            bail!("GET {url} returned {}", response.status());
        }
        Ok(response.bytes().await?.to_vec())
    }

    /// Every refund in the gateway's own ledger.
    pub(super) async fn ledger(&self) -> Result<Vec<GatewayRefund>> {
        let url = format!("{}/refunds", self.gateway);
        let report: LedgerReport = decode(&url, self.http.get(&url).send().await?).await?;
        Ok(report.refunds)
    }
}

async fn decode<T: DeserializeOwned>(url: &str, response: reqwest::Response) -> Result<T> {
    let status = response.status();
    let text = response.text().await?;
    if !status.is_success() {
        bail!("GET {url} returned {status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("GET {url} returned {text}"))
}

/// A member of an error's details, as text.
pub(super) fn detail<'a>(error: &'a ErrorBody, name: &str) -> &'a str {
    error.error.details.get(name).and_then(Value::as_str).unwrap_or_default()
}
