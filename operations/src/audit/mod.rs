//! Whether everything still holds that must hold after any fault. One file per group of rules; each check is a query for
//! its violations, in words.
//!
//! The database is looked at in one snapshot, so nothing has to stand still for it. What lies outside is read before
//! and after: what the gateway had paid *before* must be in the snapshot, and what the snapshot says was paid must be
//! at the gateway *after* it.
//!
//! The outbox reaches back to its oldest partition. A day that retention has dropped was settled, and is not missed.

mod report;
mod snapshot;
mod transitions;
mod delivery;
mod effects;
mod refunds;
mod read_models;
mod invoices;
mod leftovers;

use secrecy::SecretString;
use sqlx::PgPool;

use report::Findings;
use snapshot::Snapshot;

pub use report::{Checked, Report, Rule, Status, Verdict};

/// What an audit looks at besides the database itself.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Sources {
    /// The payment gateway, whose ledger an audit compares with ours. Unset: it is not compared.
    #[arg(long = "gateway-url", env = "AUDIT_GATEWAY_URL")]
    pub gateway_url: Option<String>,
    /// The invoice store, as `INVOICE_STORE_URL`, in which an audit looks for every PDF. Unset: it does not.
    #[arg(long = "invoice-store", env = "AUDIT_INVOICE_STORE_URL")]
    pub invoice_store: Option<String>,
    /// Another database for the read models. Unset: they are in `DATABASE_URL`.
    #[arg(long, env = "QUERY_DATABASE_URL", hide_env_values = true, value_parser = runtime::config::secret)]
    pub query_database_url: Option<SecretString>,
}

/// What is to be audited.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub sources: Sources,
    /// Whether there must be no backlog.
    pub drained: bool,
    /// Whether events travel through RabbitMQ: then some that were published may not have arrived yet.
    pub broker: bool,
}

/// Checks every rule.
///
/// Do not drop the future half-way: it holds transactions (see `runtime::database::connect`).
///
/// # Errors
/// Only when the database cannot be read; whatever else cannot be is in the report.
pub async fn audit(pool: &PgPool, scope: &Scope) -> sqlx::Result<Report> {
    let mut findings = Findings::default();
    let paid_before = refunds::ledger(&scope.sources, &mut findings).await;

    let mut snapshot = Snapshot::begin(pool).await?;
    transitions::check(&mut snapshot, &mut findings).await?;
    delivery::check(&mut snapshot, scope, &mut findings).await?;
    effects::check(&mut snapshot, &mut findings).await?;
    refunds::check(&mut snapshot, &mut findings).await?;
    read_models::check(pool, &mut snapshot, scope, &mut findings).await?;
    invoices::check(&mut snapshot, &mut findings).await?;
    leftovers::check(&mut snapshot, &mut findings).await?;
    let ours = if paid_before.is_some() { refunds::ours(&mut snapshot).await? } else { Vec::new() };
    let stored =
        if scope.sources.invoice_store.is_some() { invoices::stored(&mut snapshot).await? } else { Vec::new() };
    let (at, since) = snapshot.end().await?;

    if let Some(before) = paid_before {
        refunds::compare(&scope.sources, &ours, &before, &mut findings).await;
    }
    invoices::look_for_pdfs(&scope.sources, stored, &mut findings).await;
    Ok(findings.into_report(at, since, scope.drained))
}
