//! `ops doctor`.

use std::process::ExitCode;

use clap::Args;
use messaging::{RetentionConfig, TransportConfig};
use runtime::Clock;

use super::Common;
use crate::doctor::{self, Diagnosis, Severity, Surroundings};

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    transport: TransportConfig,
    #[command(flatten)]
    retention: RetentionConfig,
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { common, transport, retention } = self;
        let surroundings = Surroundings { transport, retention, clock: Clock::system() };
        let diagnosis = match common.connect().await {
            Ok(pool) => doctor::diagnose(&pool, &surroundings).await?,
            Err(error) => doctor::without_database(&format!("{error:#}"), &surroundings).await,
        };
        common.print(&diagnosis, show)?;
        Ok(if diagnosis.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn show(diagnosis: &Diagnosis) -> String {
    let lines = diagnosis.findings.iter().map(|finding| {
        let word = match finding.severity {
            Severity::Problem => "PROBLEM",
            Severity::Warning => "warning",
        };
        format!("{word}  {}\n         → {}", finding.cause, finding.remedy)
    });
    let mut lines: Vec<_> = lines.collect();
    if diagnosis.healthy {
        lines.push("nothing is wrong".to_owned());
    }
    lines.join("\n")
}
