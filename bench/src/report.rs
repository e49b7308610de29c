//! The output on the terminal, and `results.json`.

use std::fmt;
use std::path::Path;

use anyhow::{Error, Result};
use runtime::Clock;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::system::System;
use crate::{Subject, cdp};

/// One line of the table in DESIGN, section 9.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    #[serde(flatten)]
    result: Outcome,
    details: Value,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Ratio { ours_per_second: f64, limit: Limit, ratio: f64 },
    Figures { unit: &'static str, figures: Vec<Figure> },
}

/// The limit that our figure is compared with.
#[derive(Debug, Serialize)]
pub(crate) struct Limit {
    what: String,
    /// Runs before and after ours, and between ours when there are several.
    runs_per_second: Vec<f64>,
    mean_per_second: f64,
    aim_at_least: f64,
}

impl Limit {
    pub(crate) fn new(what: impl Into<String>, runs_per_second: Vec<f64>, aim_at_least: f64) -> Self {
        let mean_per_second = mean(&runs_per_second);
        Self { what: what.into(), runs_per_second, mean_per_second, aim_at_least }
    }
}

/// A number that is compared only with its aim.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: &'static str,
    value: f64,
    aim_at_most: Option<f64>,
    aim_at_least: Option<f64>,
}

impl Figure {
    pub(crate) fn new(name: &'static str, value: f64) -> Self {
        Self { name, value, aim_at_most: None, aim_at_least: None }
    }

    pub(crate) fn at_most(self, aim: f64) -> Self {
        Self { aim_at_most: Some(aim), ..self }
    }

    pub(crate) fn at_least(self, aim: f64) -> Self {
        Self { aim_at_least: Some(aim), ..self }
    }
}

impl Row {
    pub(crate) fn ratio(what: String, ours_per_second: f64, limit: Limit, details: Value) -> Self {
        let ratio = ours_per_second / limit.mean_per_second;
        Self { what, result: Outcome::Ratio { ours_per_second, limit, ratio }, details }
    }

    /// Two that were measured in turns: the ratio is the median of those of neighbouring turns.
    pub(crate) fn in_turns(what: String, ours: &[f64], limit: Limit) -> Self {
        let mut ratios: Vec<f64> = ours.iter().zip(&limit.runs_per_second).map(|(ours, other)| ours / other).collect();
        let details = json!({ "runs": ours, "ratios": ratios });
        ratios.sort_by(f64::total_cmp);
        let middle = &ratios[(ratios.len() - 1) / 2..=ratios.len() / 2];
        Self { what, result: Outcome::Ratio { ours_per_second: mean(ours), limit, ratio: mean(middle) }, details }
    }

    pub(crate) fn figures(what: String, unit: &'static str, figures: Vec<Figure>, details: Value) -> Self {
        Self { what, result: Outcome::Figures { unit, figures }, details }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        match &self.result {
            Outcome::Ratio { ours_per_second, limit, ratio } => {
                let runs: Vec<_> = match limit.runs_per_second.len() {
                    many @ 9.. => vec![format!("{many} turns")],
                    _ => limit.runs_per_second.iter().map(|run| format!("{run:.1}")).collect(),
                };
                let aim = limit.aim_at_least;
                writeln!(f, "    ours   {ours_per_second:>10.1}/s")?;
                writeln!(f, "    limit  {:>10.1}/s  {} ({})", limit.mean_per_second, limit.what, runs.join(", "))?;
                write!(f, "    ratio  {ratio:>10.2}    aim ≥ {aim}{}", missed(*ratio >= aim))
            }
            Outcome::Figures { unit, figures } => {
                let lines = figures.iter().map(|figure| {
                    let most = figure.aim_at_most.map(|aim| format!("  aim ≤ {aim}{}", missed(figure.value <= aim)));
                    let least = figure.aim_at_least.map(|aim| format!("  aim ≥ {aim}{}", missed(figure.value >= aim)));
                    let aim = most.or(least).unwrap_or_default();
                    format!("    {:<18}{:>10.2} {unit}{aim}", figure.name, figure.value)
                });
                f.write_str(&lines.collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of runs")]
pub(crate) fn mean(runs: &[f64]) -> f64 {
    runs.iter().sum::<f64>() / runs.len() as f64
}

fn missed(reached: bool) -> &'static str {
    if reached { "" } else { "  MISSED" }
}

/// The results of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    circumstances: Value,
    rows: Vec<Row>,
    /// Measurements that failed: subject and reason.
    failures: Vec<(&'static str, String)>,
}

impl Report {
    pub(crate) async fn begin(system: &System, quick: bool) -> Result<Self> {
        Ok(Self { circumstances: circumstances(system, quick).await?, rows: Vec::new(), failures: Vec::new() })
    }

    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        for row in &rows {
            println!("\n{row}");
        }
        self.rows.extend(rows);
    }

    pub(crate) fn fail(&mut self, subject: Subject, error: &Error) {
        println!("\n{} FAILED: {error:#}", subject.name());
        self.failures.push((subject.name(), format!("{error:#}")));
    }

    /// Whether every measurement has completed.
    pub(crate) fn is_sound(&self) -> bool {
        self.failures.is_empty()
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let file = folder.join("results.json");
        std::fs::write(&file, serde_json::to_string_pretty(self)? + "\n")?;
        println!("\n{}", file.display());
        Ok(())
    }
}

/// What the figures of this run depend on; prints it.
pub(crate) async fn circumstances(system: &System, quick: bool) -> Result<Value> {
    let cores = std::thread::available_parallelism()?.get();
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let postgres = system.postgres_version().await?;
    let chromium = match cdp::executable() {
        Ok(program) => first_line_of(&program.to_string_lossy(), &["--version"]).await,
        Err(_) => None,
    };
    let commit = first_line_of("git", &["describe", "--always", "--dirty"]).await;
    let rustc = first_line_of("rustc", &["--version"]).await;
    println!("{cores} cores, PostgreSQL {postgres}, profile {profile}{}", if quick { ", quick" } else { "" });
    if quick || profile == "dev" {
        println!("This run tests the benchmark; its figures mean nothing.");
    }
    Ok(json!({
        "date": Clock::system().now(),
        "commit": commit,
        "cores": cores,
        "profile": profile,
        "quick": quick,
        "versions": {
            "bench": env!("CARGO_PKG_VERSION"), "postgres": postgres, "chromium": chromium, "rustc": rustc,
        },
    }))
}

/// The first line that a program prints, if it can be run.
async fn first_line_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().filter(|_| output.status.success())?;
    Some(line.trim().to_owned())
}
