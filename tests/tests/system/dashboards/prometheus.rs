//! A Prometheus that scrapes a system every second.

use std::process::Stdio;

use anyhow::{Result, ensure};
use embedded::child::{Child, Signal, bound_to_parent};
use embedded::free_port;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::waiting::SOON;
use tests::{Api, eventually};

/// What has exemplars: requests, and each hop of a job.
const WITH_EXEMPLARS: [&str; 3] =
    ["http_server_request_duration_seconds", "inbox_start_seconds", "inbox_job_duration_seconds"];

#[derive(Debug)]
pub(super) struct Prometheus {
    child: Child,
    api: Api,
    _folder: TempDir,
}

impl Prometheus {
    pub(super) fn start(address: &str) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let target = address.trim_start_matches("http://");
        let config = json!({ "scrape_configs": [{ "job_name": "articurated", "scrape_interval": "1s", "scrape_timeout": "1s",
                                                  "static_configs": [{ "targets": [target] }] }] });
        // JSON is YAML.
        std::fs::write(folder.path().join("prometheus.yml"), config.to_string())?;
        let mut command = bound_to_parent(Signal::SIGKILL, "prometheus");
        command.current_dir(folder.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.args(["--enable-feature=exemplar-storage", &format!("--web.listen-address=127.0.0.1:{port}")]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = Child::spawn("prometheus", command)?;
        Ok(Self { child, api: Api::new(&format!("http://127.0.0.1:{port}/api/v1"))?, _folder: folder })
    }

    /// Waits until it has read the metrics, and an exemplar of each histogram that has some.
    pub(super) async fn scrapes_with_exemplars(&self) -> Result<()> {
        eventually("Prometheus reads the metrics", SOON, async || {
            // While it starts, it answers 503.
            let answer = self.api.get("/query?query=up").await.ok().filter(|answer| answer.status == 200);
            let Some(answer) = answer else { return Ok(None) };
            Ok((answer.json()["data"]["result"][0]["value"][1] == "1").then_some(()))
        })
        .await?;
        for metric in WITH_EXEMPLARS {
            let path = format!("/query_exemplars?query={metric}_bucket&start=0&end=9999999999");
            eventually(metric, SOON, async || {
                let found = self.api.get(&path).await?.expect(200).json();
                let trace = &found["data"][0]["exemplars"][0]["labels"]["trace_id"];
                Ok(trace.as_str().is_some_and(|id| id.len() == 32).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Asks an expression.
    ///
    /// # Errors
    /// Prometheus cannot answer it.
    pub(super) async fn ask(&self, expression: &str) -> Result<Value> {
        let answer =
            self.api.get(&format!("/query?query={}", utf8_percent_encode(expression, NON_ALPHANUMERIC))).await?;
        ensure!(answer.status == 200 && answer.json()["status"] == "success", "{expression}: {}", answer.text());
        Ok(answer.json())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.signal(Signal::SIGKILL);
    }
}
