//! What needs a person → a POST to `ALERT_WEBHOOK_URL`, for a pager.
//!
//! An alert is a row, written in the commit of what it is about: so a webhook that is down, or a restart, delays an alert and
//! loses none. The log line and the metric do not depend on it. Without a webhook no row is written.

mod store;

use std::time::Duration;

use messaging::inbox::Job;
use messaging::worker::{Completed, Failure, Handler};
use reqwest::redirect::Policy;
use runtime::backoff::Backoff;
use runtime::database::limited;
use runtime::{Clock, Ids, Tasks};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use store::Due;

const TIMEOUT: Duration = Duration::from_secs(5);
/// How often due alerts are looked for. The look costs one index probe.
const LOOK: Duration = Duration::from_secs(1);
/// Waits between the attempts at one alert.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
/// Alerts sent one after the other before the next look.
const MOST: i64 = 20;

/// Writes alerts.
#[derive(Debug, Clone)]
pub(crate) struct Alerts {
    ids: Ids,
    clock: Clock,
    /// Whether there is a webhook.
    wanted: bool,
}

impl Alerts {
    pub(crate) fn new(webhook: Option<&String>, clock: Clock, ids: Ids) -> Self {
        Self { ids, clock, wanted: webhook.is_some() }
    }

    /// Writes an alert about a job, in the caller's transaction.
    pub(crate) async fn raise(
        &self,
        conn: &mut PgConnection,
        alert: &str,
        about: &About,
        reason: &str,
    ) -> sqlx::Result<()> {
        self.raise_about(conn, alert, about.0.clone(), reason).await
    }

    /// Writes an alert about anything, in the caller's transaction. `body` is an object.
    pub(crate) async fn raise_about(
        &self,
        conn: &mut PgConnection,
        alert: &str,
        mut body: Value,
        reason: &str,
    ) -> sqlx::Result<()> {
        if !self.wanted {
            return Ok(());
        }
        body["alert"] = json!(alert);
        body["reason"] = json!(reason);
        store::insert(conn, self.ids.next(), self.clock.now(), &body).await
    }
}

/// The job that an alert is about.
#[derive(Debug, Clone)]
pub(crate) struct About(Value);

impl About {
    pub(crate) fn job(job: &Job) -> Self {
        Self(json!({
            "queue": job.queue,
            "event_id": job.event_id,
            "event_type": job.event_type,
            "aggregate_id": job.aggregate_id,
            "attempts": job.attempts,
        }))
    }
}

/// A handler whose dead jobs raise alerts.
#[derive(Debug)]
pub(crate) struct Alerting<H> {
    pub(crate) handler: H,
    pub(crate) alerts: Alerts,
}

impl<H: Handler> Handler for Alerting<H> {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        self.handler.handle(job).await
    }

    async fn in_doubt(&self, conn: &mut PgConnection, job: &Job, reason: &str) -> sqlx::Result<()> {
        self.handler.in_doubt(conn, job, reason).await
    }

    async fn dead_lettered(&self, conn: &mut PgConnection, job: &Job, reason: &str) -> sqlx::Result<()> {
        self.alerts.raise(&mut *conn, "job is dead", &About::job(job), reason).await?;
        self.handler.dead_lettered(conn, job, reason).await
    }
}

/// Sends the alerts that are due, until shutdown.
pub(crate) async fn run(pool: PgPool, webhook: Option<String>, tasks: Tasks) -> anyhow::Result<()> {
    let Some(url) = webhook else {
        tasks.shutdown.cancelled().await;
        return Ok(());
    };
    runtime::tls::install();
    let client = reqwest::Client::builder().redirect(Policy::none()).timeout(TIMEOUT).build()?;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = tasks.shutdown.cancelled() => return Ok(()),
            _ = look.tick() => {}
        }
        match limited(store::take(&pool, MOST, TIMEOUT * 4)).await {
            Ok(due) => {
                for alert in due {
                    send(&pool, &client, &url, alert).await;
                }
            }
            Err(error) => tracing::warn!(%error, "could not look for alerts"),
        }
    }
}

async fn send(pool: &PgPool, client: &reqwest::Client, url: &str, alert: Due) {
    let failure = match client.post(url).json(&alert.body).send().await {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => Some(answer.status().to_string()),
        // Without the URL: it may contain a token.
        Err(error) => Some(error.without_url().to_string()),
    };
    let recorded = match failure {
        None => limited(store::delete(pool, alert.id)).await,
        Some(error) => {
            let attempts = u32::try_from(alert.attempts).unwrap_or(u32::MAX);
            let wait = RETRY.delay(attempts);
            tracing::warn!(attempts, error, retry_in = ?wait, "alert not delivered");
            limited(store::put_back(pool, alert.id, wait)).await
        }
    };
    if let Err(error) = recorded {
        tracing::warn!(%error, "could not record what came of an alert; it is sent again");
    }
}
