//! What keeps events from arriving, schedules from running, documents from being numbered, or money from being paid, and the remedy.
//! The doctor changes and repairs nothing.

mod database;
mod relays;
mod consumers;
mod schedules;
mod series;
mod money;
mod records;
mod webhooks;
mod broker;

use chrono::{DateTime, Utc};
use messaging::{RetentionConfig, TransportConfig};
use runtime::Clock;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

/// What the doctor needs to know besides the database.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub transport: TransportConfig,
    pub retention: RetentionConfig,
    pub clock: Clock,
}

/// The findings.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Diagnosis {
    pub at: DateTime<Utc>,
    /// Whether there is no problem. Warnings do not count.
    pub healthy: bool,
    /// Problems first.
    pub findings: Vec<Finding>,
}

/// Something that is wrong, or may become wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    pub severity: Severity,
    /// For programs.
    #[schema(example = "NO_RELAY")]
    pub code: &'static str,
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Events do not arrive, or soon will not, or a schedule does not run as it should.
    Problem,
    /// Worth knowing.
    Warning,
}

impl Finding {
    fn problem(code: &'static str, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, code, cause: cause.into(), remedy: remedy.into() }
    }

    fn warning(code: &'static str, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::problem(code, cause, remedy) }
    }
}

impl Diagnosis {
    fn of(at: DateTime<Utc>, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.severity);
        let healthy = findings.iter().all(|finding| finding.severity != Severity::Problem);
        Self { at, healthy, findings }
    }
}

/// Examines everything.
///
/// # Errors
/// When the database cannot be read; then [`without_database`] gives what remains.
pub async fn diagnose(pool: &PgPool, surroundings: &Surroundings) -> sqlx::Result<Diagnosis> {
    let mut findings = database::findings(pool, surroundings).await?;
    findings.extend(relays::findings(pool).await?);
    findings.extend(broker::findings(&surroundings.transport).await);
    findings.extend(broker::losses(pool).await?);
    findings.extend(consumers::findings(pool).await?);
    findings.extend(schedules::findings(pool, &surroundings.clock).await?);
    findings.extend(series::findings(pool, &surroundings.clock).await?);
    findings.extend(money::findings(pool, &surroundings.clock).await?);
    findings.extend(records::findings(pool, &surroundings.clock).await?);
    findings.extend(webhooks::findings(pool).await?);
    Ok(Diagnosis::of(surroundings.clock.now(), findings))
}

/// The diagnosis when the database cannot be used. `error` says why.
pub async fn without_database(error: &str, surroundings: &Surroundings) -> Diagnosis {
    let remedy = "start it, or correct DATABASE_URL; events wait in the database, and none is lost";
    let mut findings =
        vec![Finding::problem("DATABASE_UNREACHABLE", format!("the database cannot be used: {error}"), remedy)];
    findings.extend(broker::findings(&surroundings.transport).await);
    Diagnosis::of(surroundings.clock.now(), findings)
}
