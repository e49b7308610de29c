//! Rule 5: the money. Our amounts agree with each other, and our refunds with the gateway's own ledger.

use std::collections::HashMap;
use std::time::Duration;

use contracts::GatewayRefund;
use serde::Deserialize;
use uuid::Uuid;

use super::Sources;
use super::report::{Findings, Found, Rule};
use super::snapshot::{Snapshot, violations};

/// Longest wait for the whole ledger.
const LEDGER_WITHIN: Duration = Duration::from_secs(60);

/// A refund of ours.
#[derive(Debug)]
pub(super) struct Refund {
    return_id: Uuid,
    status: String,
    amount_minor: i64,
    currency: String,
    transaction_id: Option<String>,
    /// The state of its return, if there is one.
    return_state: Option<String>,
}

/// The part of the gateway's `GET /refunds` that matters here.
#[derive(Debug, Deserialize)]
struct Ledger {
    refunds: Vec<GatewayRefund>,
}

pub(super) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> sqlx::Result<()> {
    findings.add(Rule::Refunds, wrong_amounts(snapshot).await?);
    findings.add(Rule::Refunds, returned_too_much(snapshot).await?);
    findings.add(Rule::Refunds, wrong_totals(snapshot).await?);
    Ok(())
}

/// What the gateway has paid so far; `None` when no gateway is given, or it does not answer.
pub(super) async fn ledger(sources: &Sources, findings: &mut Findings) -> Option<Vec<GatewayRefund>> {
    let Some(url) = &sources.gateway_url else {
        findings.left_out(Rule::Refunds, "the gateway's ledger: no gateway was given (--gateway-url)");
        return None;
    };
    match fetch(url).await {
        Ok(refunds) => Some(refunds),
        Err(error) => {
            findings.could_not(Rule::Refunds, format!("the ledger of {url}: {error:#}"));
            None
        }
    }
}

async fn fetch(url: &str) -> anyhow::Result<Vec<GatewayRefund>> {
    runtime::tls::install();
    let client = reqwest::Client::builder().timeout(LEDGER_WITHIN).build()?;
    let answer = client.get(format!("{}/refunds", url.trim_end_matches('/'))).send().await?.error_for_status()?;
    Ok(answer.json::<Ledger>().await?.refunds)
}

pub(super) async fn ours(snapshot: &mut Snapshot) -> sqlx::Result<Vec<Refund>> {
    sqlx::query_as!(
        Refund,
        r#"
        select return_id as "return_id!", status as "status!", amount_minor as "amount_minor!",
               refunds.currency as "currency!", transaction_id as "transaction_id?", returns.state as "return_state?"
        from work.refunds left join command.returns on returns.id = return_id
        "#
    )
    .fetch_all(snapshot.connection())
    .await
}

/// Compares `ours` with the ledger `before` the snapshot and with the current one.
pub(super) async fn compare(sources: &Sources, ours: &[Refund], before: &[GatewayRefund], findings: &mut Findings) {
    if let Some(after) = ledger(sources, findings).await {
        findings.add(Rule::Refunds, disagreements(ours, before, &after));
    }
}

fn disagreements(ours: &[Refund], before: &[GatewayRefund], after: &[GatewayRefund]) -> Found {
    let mut found = Found::default();
    let known: HashMap<Uuid, &Refund> = ours.iter().map(|refund| (refund.return_id, refund)).collect();
    let mut paid: HashMap<Uuid, Vec<&GatewayRefund>> = HashMap::new();
    for entry in after {
        paid.entry(entry.return_id).or_default().push(entry);
    }
    for entry in before {
        // The row is committed before the gateway is asked, so the snapshot has it.
        let completed =
            known.get(&entry.return_id).is_some_and(|refund| refund.return_state.as_deref() == Some("COMPLETED"));
        if !completed {
            found.push(format!(
                "the gateway has paid {} for {}, which is not a completed return",
                entry.transaction_id, entry.return_id
            ));
        }
    }
    for entry in
        before.iter().filter(|entry| known.get(&entry.return_id).is_some_and(|refund| refund.status == "FAILED"))
    {
        found.push(format!(
            "return {} is FAILED here, and the gateway has paid {}",
            entry.return_id, entry.transaction_id
        ));
    }
    for (return_id, entries) in &paid {
        if let [_, _, ..] = entries.as_slice() {
            found.push(format!("the gateway has paid the return {return_id} {} times", entries.len()));
        }
    }
    for refund in ours {
        let entries = paid.get(&refund.return_id).map_or(&[][..], Vec::as_slice);
        for entry in entries {
            if let Some(difference) = difference(refund, entry) {
                found.push(format!("return {}: {difference}", refund.return_id));
            }
        }
        if entries.is_empty() && refund.status == "PROCESSED" && refund.amount_minor > 0 {
            found.push(format!("return {} is refunded here, and the gateway has no payment for it", refund.return_id));
        }
    }
    found
}

fn difference(refund: &Refund, entry: &GatewayRefund) -> Option<String> {
    let (ours, theirs) = ((refund.amount_minor, &refund.currency), (entry.amount, &entry.currency));
    if ours != theirs {
        return Some(format!("{} {} here, {} {} at the gateway", ours.0, ours.1, theirs.0, theirs.1));
    }
    let transaction = refund.transaction_id.as_ref()?;
    (*transaction != entry.transaction_id)
        .then(|| format!("{transaction} here, {} at the gateway", entry.transaction_id))
}

async fn wrong_amounts(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('return %s is %s; its items are worth %s, it %s, its refund %s', returns.id, state,
                      coalesce(items.amount, 0), refund_amount_minor, coalesce(refunds.amount_minor::text, 'is missing'))
        from command.returns
        left join (select return_id, sum(amount_minor) as amount from command.return_items group by return_id) as items
            on items.return_id = returns.id
        left join work.refunds on refunds.return_id = returns.id
        where refund_amount_minor is distinct from items.amount
           or refunds.amount_minor <> refund_amount_minor
           or refunds.id is not null and state <> 'COMPLETED'
        union all
        select format('the refund %s is for %s, which is not a return', id, return_id)
        from work.refunds where not exists (select from command.returns where returns.id = return_id)
        "#
    )
}

async fn returned_too_much(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('item %s of order %s: %s of %s units returned, %s of %s paise, %s of %s for shipping', item.id, item.order_id,
                      sum(returned.quantity), item.quantity, sum(returned.amount_minor - returned.shipping_minor),
                      item.paid_minor, sum(returned.shipping_minor), item.shipping_minor)
        from command.order_items as item join command.return_items as returned on returned.order_item_id = item.id
        join command.returns on returns.id = returned.return_id and returns.state <> 'REJECTED'
        group by item.id
        having sum(returned.quantity) > item.quantity or sum(returned.shipping_minor) > item.shipping_minor
            or sum(returned.amount_minor - returned.shipping_minor) > item.paid_minor
            or sum(returned.quantity) = item.quantity and sum(returned.amount_minor - returned.shipping_minor) < item.paid_minor
        "#
    )
}

async fn wrong_totals(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('order %s has %s items worth %s with shipping, and a total of %s', orders.id, count(item.id),
                      coalesce(sum(item.paid_minor + item.shipping_minor), 0), total_minor)
        from command.orders left join command.order_items as item on item.order_id = orders.id
        group by orders.id
        having count(item.id) = 0 or coalesce(sum(item.paid_minor + item.shipping_minor), 0) <> total_minor
        "#
    )
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use contracts::GatewayRefundStatus;

    use super::*;

    fn refund(id: u128, status: &str) -> Refund {
        Refund {
            return_id: Uuid::from_u128(id),
            status: status.to_owned(),
            amount_minor: 500,
            currency: "INR".to_owned(),
            transaction_id: (status == "PROCESSED").then(|| "txn".to_owned()),
            return_state: Some("COMPLETED".to_owned()),
        }
    }

    fn entry(id: u128) -> GatewayRefund {
        GatewayRefund {
            status: GatewayRefundStatus::Success,
            transaction_id: "txn".to_owned(),
            return_id: Uuid::from_u128(id),
            idempotency_key: id.to_string(),
            amount: 500,
            currency: "INR".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_two_ledgers_agree_or_the_difference_is_named() {
        let of_open_return = Refund { return_state: Some("RECEIVED".to_owned()), ..refund(1, "PENDING") };
        let elsewhere = GatewayRefund { transaction_id: "other".to_owned(), ..entry(1) };
        let too_much = GatewayRefund { amount: 501, ..entry(1) };
        for (what, ours, before, after, violations) in [
            ("nothing", vec![], vec![], vec![], 0),
            ("paid", vec![refund(1, "PROCESSED")], vec![entry(1)], vec![entry(1)], 0),
            ("paid meanwhile", vec![refund(1, "PENDING")], vec![], vec![entry(1)], 0),
            ("asked for meanwhile", vec![], vec![], vec![entry(1)], 0),
            ("failed, and paid after a retry", vec![refund(1, "FAILED")], vec![], vec![entry(1)], 0),
            ("paid, and failed here", vec![refund(1, "FAILED")], vec![entry(1)], vec![entry(1)], 1),
            ("paid twice", vec![refund(1, "PROCESSED")], vec![], vec![entry(1), entry(1)], 1),
            ("never paid", vec![refund(1, "PROCESSED")], vec![], vec![], 1),
            ("paid for nothing", vec![], vec![entry(1)], vec![entry(1)], 1),
            ("paid too early", vec![of_open_return], vec![entry(1)], vec![entry(1)], 1),
            ("paid too much", vec![refund(1, "PENDING")], vec![], vec![too_much], 1),
            ("another payment", vec![refund(1, "PROCESSED")], vec![], vec![elsewhere], 1),
        ] {
            let found = disagreements(&ours, &before, &after);
            assert_eq!(found.total, violations, "{what}: {:?}", found.examples);
        }
    }
}
