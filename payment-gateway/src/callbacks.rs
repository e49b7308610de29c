//! Tells the client that something has come of a refund, by a call that is signed as the Standard Webhooks specification says.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{GatewayCallback, GatewayCallbackData, GatewayRefund};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Waits between the attempts. A client that never takes the call polls.
const WAITS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];

pub(crate) struct Callbacks {
    url: String,
    secret: Webhook,
    client: reqwest::Client,
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Callbacks {
    pub(crate) fn new(url: &str, secret: &str) -> anyhow::Result<Self> {
        runtime::tls::install();
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { url: url.to_owned(), secret: Webhook::new(secret)?, client })
    }

    pub(crate) async fn tell(&self, refund: &GatewayRefund, id: Uuid, at: DateTime<Utc>) {
        // Our clients choose UUIDs as keys. A client with other keys polls.
        let Ok(idempotency_key) = Uuid::try_parse(&refund.idempotency_key) else { return };
        let callback = GatewayCallback {
            kind: "refund.updated".to_owned(),
            timestamp: at,
            data: GatewayCallbackData { idempotency_key },
        };
        for (attempt, wait) in (1..).zip(WAITS) {
            tokio::time::sleep(wait).await;
            match self.send(&callback, &format!("msg_{}", id.simple()), at).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(attempt, %error, key = refund.idempotency_key, "callback not taken"),
            }
        }
    }

    async fn send(&self, callback: &GatewayCallback, id: &str, at: DateTime<Utc>) -> anyhow::Result<()> {
        let body = serde_json::to_vec(callback)?;
        let signature = self.secret.sign(id, at.timestamp(), &body)?;
        let call = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, at.timestamp())
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .body(body);
        call.send().await?.error_for_status()?;
        Ok(())
    }
}
