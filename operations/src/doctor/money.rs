//! Refunds that the gateway has refused, and invoices that are still to be registered: both wait for a person.

use chrono::{DateTime, Days, Utc};
use contracts::day_in_india;
use runtime::Clock;
use sqlx::PgPool;

use super::Finding;

/// The portal takes no document that is older.
const REGISTERED_WITHIN_DAYS: u64 = 30;
/// From here on it is urgent.
const URGENT_FROM_DAYS: u64 = 20;

pub(super) async fn findings(pool: &PgPool, clock: &Clock) -> sqlx::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let failed = sqlx::query!(
        r#"
        select count(*) as "count!", min(updated_at) as since, min(id::text) as example
        from command.refunds where status = 'FAILED'
        "#
    )
    .fetch_one(pool)
    .await?;
    if let (Some(since), Some(example)) = (failed.since, failed.example) {
        let cause =
            format!("{} refunds are FAILED, the oldest since {}, as {example}", failed.count, day_in_india(since));
        let remedy =
            "once the cause is gone, POST /refunds/{id}/retry has a refund paid; GET /refunds?status=FAILED lists them";
        findings.push(Finding::warning("REFUNDS_FAILED", cause, remedy));
    }
    let waiting = sqlx::query!(
        r#"
        select count(*) as "count!", min(issued_at) as since, min(invoice_number) as example
        from work.invoices where awaits_registration
        "#
    )
    .fetch_one(pool)
    .await?;
    if let (Some(since), Some(example)) = (waiting.since, waiting.example) {
        findings.push(unregistered(waiting.count, since, &example, clock.now()));
    }
    Ok(findings)
}

fn unregistered(count: i64, since: DateTime<Utc>, example: &str, now: DateTime<Utc>) -> Finding {
    let last = day_in_india(since) + Days::new(REGISTERED_WITHIN_DAYS);
    let cause = format!(
        "{count} invoices are not registered at the portal, as {example}; the oldest is of {}, and the portal takes it until {last}",
        day_in_india(since)
    );
    let remedy = "take GET /orders/{id}/e-invoice.json to the portal, and enter its answer with POST /orders/{id}/e-invoice; until then \
                  the customers get no invoice";
    if day_in_india(now) >= day_in_india(since) + Days::new(URGENT_FROM_DAYS) {
        Finding::problem("INVOICES_UNREGISTERED", cause, remedy)
    } else {
        Finding::warning("INVOICES_UNREGISTERED", cause, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn an_unregistered_invoice_becomes_urgent_before_the_portal_refuses_it() {
        let at = |day: &str| format!("{day}T06:00:00Z").parse().expect("a time");
        let severity = |now| unregistered(3, at("2026-11-01"), "AC/26-27/0000007", at(now));
        let early = severity("2026-11-20");
        assert_eq!((early.severity, early.code), (Severity::Warning, "INVOICES_UNREGISTERED"));
        assert!(early.cause.contains("until 2026-12-01"), "{}", early.cause);
        assert_eq!(severity("2026-11-21").severity, Severity::Problem);
    }
}
