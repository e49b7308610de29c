//! Dead jobs → a POST to `ALERT_WEBHOOK_URL`, for a pager. The log line and the metric do not depend on it.

use std::time::Duration;

use messaging::worker::DeadJob;
use runtime::Tasks;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;

const TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 3;

pub(crate) async fn run(
    mut dead_jobs: UnboundedReceiver<DeadJob>,
    webhook: Option<String>,
    tasks: Tasks,
) -> anyhow::Result<()> {
    runtime::tls::install();
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    loop {
        let job = tokio::select! {
            () = tasks.shutdown.cancelled() => return Ok(()),
            next = dead_jobs.recv() => match next {
                Some(job) => job,
                None => return Ok(()),
            },
        };
        if let Some(url) = &webhook {
            send(&client, url, &job).await;
        }
    }
}

async fn send(client: &reqwest::Client, url: &str, job: &DeadJob) {
    let body = json!({
        "alert": "job is dead",
        "queue": job.queue,
        "event_id": job.event_id,
        "event_type": job.event_type,
        "aggregate_id": job.aggregate_id,
        "attempts": job.attempts,
        "reason": job.reason,
    });
    for attempt in 1..=ATTEMPTS {
        match client.post(url).json(&body).send().await.and_then(reqwest::Response::error_for_status) {
            Ok(_) => return,
            // Without the URL: it may contain a token.
            Err(error) => tracing::warn!(attempt, error = %error.without_url(), "alert webhook not delivered"),
        }
    }
}
