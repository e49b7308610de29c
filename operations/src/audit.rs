//! Checks everything that must hold after any fault. One file per group of rules; each check is a query that returns its
//! violations, in words.
//!
//! An audit reads the database in one snapshot, so the system keeps running. It reads the gateway's ledger before and
//! after the snapshot: payments in the ledger *before* must be in the snapshot, and payments in the snapshot must be in
//! the ledger *after* it. The same is true of the PDFs. Read models in another database are read after the snapshot; what
//! they show beyond it must be in the database by then.
//!
//! So an audit names what a failover to a replica that lacks the last commits has lost, as far as a trace of it is left
//! outside of the database.
//!
//! The outbox reaches back to its oldest partition. What is older was settled when retention dropped it, so the audit does
//! not expect its events.

mod report;
mod snapshot;
mod transitions;
mod delivery;
mod effects;
mod refunds;
mod read_models;
mod invoices;
mod leftovers;
mod chain;
mod seals;

use secrecy::SecretString;
use sqlx::PgPool;

use report::Findings;
use snapshot::Snapshot;

pub use report::{Checked, Report, Rule, Status, Verdict};

/// What an audit reads besides the database.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Sources {
    /// The payment gateway, whose ledger an audit compares with our refunds. Unset: no comparison.
    #[arg(long = "gateway-url", env = "AUDIT_GATEWAY_URL")]
    pub gateway_url: Option<String>,
    /// The invoice store, as `INVOICE_STORE_URL`, in which an audit checks every PDF, and from which the console opens them. Unset: neither.
    #[arg(long = "invoice-store", env = "AUDIT_INVOICE_STORE_URL")]
    pub invoice_store: Option<String>,
    /// Another database for the read models. Unset: they are in `DATABASE_URL`.
    #[arg(long, env = "QUERY_DATABASE_URL", hide_env_values = true, value_parser = runtime::config::secret)]
    pub query_database_url: Option<SecretString>,
    /// Where the seals of the audit are kept: a folder or a bucket, as `INVOICE_STORE_URL`. Best one in which no file can be replaced. Unset: no seals.
    #[arg(long, env = "SEAL_STORE_URL")]
    pub seal_store_url: Option<String>,
    /// The public keys of the seals, as `ops seal --new-key` prints them, separated by commas: the present one, and earlier ones. Unset:
    /// an audit does not check whose seals they are.
    #[arg(long = "seal-public-key", env = "SEAL_PUBLIC_KEY", value_delimiter = ',')]
    pub seal_public_keys: Vec<String>,
}

/// What to audit.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub sources: Sources,
    /// Whether a backlog is a violation.
    pub drained: bool,
    /// Whether events travel through RabbitMQ: then published events may not have arrived yet.
    pub broker: bool,
}

/// Checks only that nothing has changed the audit: its chain, and its seals.
///
/// # Errors
/// As [`audit`].
pub async fn audit_chain(pool: &PgPool, sources: &Sources) -> sqlx::Result<Report> {
    let mut findings = Findings::default();
    let mut snapshot = Snapshot::begin(pool).await?;
    transitions::check_chain(&mut snapshot, &mut findings).await?;
    chain::check(&mut snapshot, &mut findings).await?;
    seals::check(&mut snapshot, sources, &mut findings).await?;
    let (at, since) = snapshot.end().await?;
    for rule in Rule::ALL.into_iter().filter(|rule| !matches!(rule, Rule::Versions | Rule::Chain)) {
        findings.left_out(rule, "not asked for (--chain)");
    }
    Ok(findings.into_report(at, since, false))
}

/// Checks every rule.
///
/// Do not drop the future before it ends: it holds transactions (see `runtime::database::connect`).
///
/// # Errors
/// Only when the database cannot be read. The report names everything else that cannot be read.
pub async fn audit(pool: &PgPool, scope: &Scope) -> sqlx::Result<Report> {
    audit_and_tell(pool, scope, |_| ()).await
}

/// As [`audit`], and tells what it begins to check.
///
/// # Errors
/// As [`audit`].
pub async fn audit_and_tell(pool: &PgPool, scope: &Scope, begins: impl Fn(&'static str)) -> sqlx::Result<Report> {
    let mut findings = Findings::default();
    begins("the gateway's ledger and the invoice store");
    let paid_before = refunds::ledger(&scope.sources, &mut findings).await;
    let filed_before = invoices::filed(pool, &scope.sources, &mut findings).await?;

    let mut snapshot = Snapshot::begin(pool).await?;
    begins("transitions");
    transitions::check(&mut snapshot, &mut findings).await?;
    begins("delivery");
    delivery::check(&mut snapshot, scope, &mut findings).await?;
    begins("effects");
    effects::check(&mut snapshot, &mut findings).await?;
    begins("refunds");
    refunds::check(&mut snapshot, &mut findings).await?;
    begins("read models");
    read_models::check(pool, &mut snapshot, scope, &mut findings).await?;
    begins("documents");
    invoices::check(&mut snapshot, &mut findings).await?;
    begins("leftovers");
    leftovers::check(&mut snapshot, &mut findings).await?;
    let ours = if paid_before.is_some() { refunds::ours(&mut snapshot).await? } else { Vec::new() };
    let documents = if filed_before.is_some() { invoices::documents(&mut snapshot).await? } else { Vec::new() };
    begins("the chain and its seals");
    chain::check(&mut snapshot, &mut findings).await?;
    seals::check(&mut snapshot, &scope.sources, &mut findings).await?;
    let (at, since) = snapshot.end().await?;

    begins("payments and PDFs outside of the database");
    if let Some(before) = paid_before {
        refunds::compare(&scope.sources, &ours, &before, &mut findings).await;
    }
    if let Some(before) = filed_before {
        invoices::check_pdfs(before, documents, &mut findings).await;
    }
    Ok(findings.into_report(at, since, scope.drained))
}
