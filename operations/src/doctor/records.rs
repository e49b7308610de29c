//! Documents of erased customers whose time is over, and an audit that is sealed no more.

use chrono::Duration;
use contracts::day_in_india;
use runtime::Clock;
use sqlx::PgPool;

use super::Finding;

/// Rows of the audit that have waited for a seal for longer are not being sealed.
const SEALED_WITHIN: Duration = Duration::days(8);

pub(super) async fn findings(pool: &PgPool, clock: &Clock) -> sqlx::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let due = sqlx::query_scalar!(
        r#"select count(*) as "count!" from command.erasures where documents_until <= $1 and documents_erased_at is null"#,
        day_in_india(clock.now()),
    );
    let due = due.fetch_one(pool).await?;
    if due > 0 {
        let cause = format!("the law asks no longer for the invoices and credit notes of {due} erased orders");
        findings.push(Finding::warning(
            "DOCUMENTS_TO_ERASE",
            cause,
            "ops customer erase-documents erases them and their PDFs",
        ));
    }
    let unsealed = sqlx::query_scalar!(
        r#"
        select step.created_at as since
        from (select until_position from command.audit_seals order by number desc limit 1) as last
        cross join lateral (
            select created_at from command.state_transitions where position > last.until_position limit 1
        ) as step
        "#
    );
    if let Some(since) = unsealed.fetch_optional(pool).await?.filter(|since| *since < clock.now() - SEALED_WITHIN) {
        let cause = format!("the audit has not been sealed since {}, and was before", day_in_india(since));
        let remedy = "set SEAL_KEY and SEAL_STORE_URL for ops again, or run ops seal, and read what it says";
        findings.push(Finding::warning("AUDIT_NOT_SEALED", cause, remedy));
    }
    Ok(findings)
}
