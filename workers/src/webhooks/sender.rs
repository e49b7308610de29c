//! Signs an event and sends it.
//!
//! An endpoint is an address that a person has entered, so it must not reach into our own network. The name is looked up by us, only
//! public addresses are left over, and the connection goes to one of these: a name that changes its address between a check and the
//! connection changes nothing. Redirects are not followed, and no proxy is asked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode, Url};
use runtime::addresses::{is_public, literal};
use runtime::telemetry;
use standardwebhooks::Webhook;
use tracing::Span;
use uuid::Uuid;

use super::WebhookSettings;

const CONNECT: Duration = Duration::from_secs(5);

/// What came of an attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) duration: Duration,
    pub(super) status: Option<StatusCode>,
    /// Why it failed, if it did.
    pub(super) error: Option<String>,
    /// How long the endpoint asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Where an event goes, and the secrets that sign it.
#[derive(Debug)]
pub(super) struct Target<'t> {
    pub(super) url: &'t str,
    pub(super) secrets: Vec<&'t str>,
}

/// An HTTP client.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    client: Client,
    allow_private: bool,
}

impl Sender {
    pub(super) fn new(settings: &WebhookSettings) -> anyhow::Result<Self> {
        runtime::tls::install();
        let allow_private = settings.webhook_allow_private;
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(PublicOnly { allow_private }))
            .connect_timeout(CONNECT)
            .timeout(settings.webhook_timeout)
            .user_agent(concat!("ArtiCurated-Webhooks/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("the client for webhooks")?;
        Ok(Self { client, allow_private })
    }

    /// Sends one event. `at` is the time of this attempt.
    pub(super) async fn send(&self, target: &Target<'_>, id: Uuid, body: String, at: DateTime<Utc>) -> Attempt {
        let started = Instant::now();
        let answered = self.answered(target, id, body, at).await;
        let duration = started.elapsed();
        match answered {
            Ok((status, _)) if status.is_success() => {
                Attempt { duration, status: Some(status), error: None, retry_after: None }
            }
            Ok((status, retry_after)) => {
                let error = if status.is_redirection() {
                    format!("{status}: redirects are not followed; enter the address that it leads to")
                } else {
                    status.to_string()
                };
                Attempt { duration, status: Some(status), error: Some(error), retry_after }
            }
            Err(error) => Attempt { duration, status: None, error: Some(error), retry_after: None },
        }
    }

    async fn answered(
        &self,
        target: &Target<'_>,
        id: Uuid,
        body: String,
        at: DateTime<Utc>,
    ) -> Result<(StatusCode, Option<Duration>), String> {
        let url = self.checked(target.url)?;
        let signature = signature(&target.secrets, id, at, body.as_bytes())?;
        let span = Span::current();
        // The rest of the address may contain a secret.
        telemetry::http_call(&span, &Method::POST, &url.origin().ascii_serialization());
        let sent = self.client.post(url).header(CONTENT_TYPE, "application/json");
        let sent = sent.header("webhook-id", id.to_string()).header("webhook-timestamp", at.timestamp().to_string());
        let answer = sent.header("webhook-signature", signature).body(body).send().await.map_err(|error| {
            telemetry::http_failed(&span, if error.is_timeout() { "timeout" } else { "broken" });
            words(&error)
        })?;
        telemetry::http_answered(&span, answer.status().as_u16());
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((answer.status(), retry_after.map(Duration::from_secs)))
    }

    /// The address, if we may send there. A name is checked when it is looked up.
    fn checked(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        if self.allow_private {
            return Ok(url);
        }
        if url.scheme() != "https" {
            return Err("the address must begin with https://".to_owned());
        }
        match url.host_str().and_then(literal).filter(|address| !is_public(*address)) {
            Some(address) => Err(private(address)),
            None => Ok(url),
        }
    }
}

fn private(address: IpAddr) -> String {
    format!("{address} is not a public address; nothing is sent into private networks (WEBHOOK_ALLOW_PRIVATE)")
}

/// `v1,<base64>` for each secret, separated by blanks.
fn signature(secrets: &[&str], id: Uuid, at: DateTime<Utc>, body: &[u8]) -> Result<String, String> {
    let sign = |secret: &&str| Webhook::new(secret)?.sign(&id.to_string(), at.timestamp(), body);
    let signatures: Result<Vec<_>, _> = secrets.iter().map(sign).collect();
    signatures.map(|all| all.join(" ")).map_err(|error| format!("the secret cannot sign: {error}"))
}

/// The innermost reason says what has happened; reqwest's own words only say that something has.
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// Finds the addresses of a name, and keeps the public ones.
#[derive(Debug)]
struct PublicOnly {
    allow_private: bool,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let refused = found.iter().map(SocketAddr::ip).find(|address| !is_public(*address));
            let public: Vec<_> = found.into_iter().filter(|address| allow_private || is_public(address.ip())).collect();
            match refused.filter(|_| public.is_empty()) {
                Some(address) => Err(io::Error::new(io::ErrorKind::PermissionDenied, private(address)).into()),
                None => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn sender(allow_private: bool) -> Sender {
        let settings = WebhookSettings { webhook_allow_private: allow_private, ..WebhookSettings::default() };
        Sender::new(&settings).expect("a client")
    }

    async fn sent(sender: &Sender, url: &str) -> Option<String> {
        let target = Target { url, secrets: vec![SECRET] };
        sender.send(&target, Uuid::nil(), "{}".to_owned(), DateTime::UNIX_EPOCH).await.error
    }

    #[tokio::test]
    async fn nothing_is_sent_into_our_own_network() {
        let sender = sender(false);
        for (url, why) in [
            ("https://127.0.0.1:1/", "127.0.0.1 is not a public address"),
            ("https://[::1]:1/", "::1 is not a public address"),
            ("https://[::ffff:10.0.0.1]/", "::ffff:10.0.0.1 is not a public address"),
            ("https://169.254.169.254/latest/meta-data", "169.254.169.254 is not a public address"),
            ("https://2130706433:1/", "127.0.0.1 is not a public address"),
            ("https://0x7f.1:1/", "127.0.0.1 is not a public address"),
            // A name is checked after it was looked up.
            ("https://localhost:1/", "is not a public address"),
            ("http://1.1.1.1/", "must begin with https://"),
            ("ftp://example.com/", "must begin with https://"),
        ] {
            let error = sent(&sender, url).await.unwrap_or_default();
            assert!(error.contains(why), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_developers_machine_may_be_allowed() {
        let error = sent(&sender(true), "http://127.0.0.1:1/").await.unwrap_or_default();
        assert!(error.contains("refused"), "{error}");
    }

    #[test]
    fn every_secret_signs() {
        let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let both = signature(&[SECRET, other], Uuid::nil(), DateTime::UNIX_EPOCH, b"{}").expect("signatures");
        let each: Vec<_> = both.split(' ').collect();
        assert_eq!(each.len(), 2);
        assert!(each.iter().all(|one| one.starts_with("v1,")) && each[0] != each[1], "{both}");
        assert!(signature(&["whsec_!"], Uuid::nil(), DateTime::UNIX_EPOCH, b"").is_err());
    }
}
