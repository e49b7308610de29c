//! Rule 5: the money. Our amounts agree with each other, and our refunds with the gateway's own ledger.

use std::collections::HashMap;
use std::time::Duration;

use contracts::{GatewayRefund, GatewayRefundStatus};
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
    /// Its idempotency key at the gateway.
    key: Uuid,
    status: String,
    amount_minor: i64,
    currency: String,
    transaction_id: Option<String>,
    /// Whether its return is completed, or its order cancelled. Money may also be given back without either.
    founded: bool,
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
    let client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(LEDGER_WITHIN).build()?;
    let answer = client.get(format!("{}/refunds", url.trim_end_matches('/'))).send().await?.error_for_status()?;
    Ok(answer.json::<Ledger>().await?.refunds)
}

pub(super) async fn ours(snapshot: &mut Snapshot) -> sqlx::Result<Vec<Refund>> {
    sqlx::query_as!(
        Refund,
        r#"
        select coalesce(return_id, refunds.id) as "key!", status as "status!", amount_minor as "amount_minor!",
               refunds.currency as "currency!", transaction_id as "transaction_id?",
               case kind when 'RETURN' then returns.state = 'COMPLETED' when 'CANCELLATION' then orders.state = 'CANCELLED'
                         else true end as "founded!"
        from command.refunds join command.orders on orders.id = refunds.order_id
        left join command.returns on returns.id = return_id
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
    let known: HashMap<Uuid, &Refund> = ours.iter().map(|refund| (refund.key, refund)).collect();
    let of = |entry: &GatewayRefund| entry.about().unwrap_or_default();
    let mut paid: HashMap<Uuid, Vec<&GatewayRefund>> = HashMap::new();
    for entry in after.iter().filter(|entry| entry.status == GatewayRefundStatus::Success) {
        paid.entry(of(entry)).or_default().push(entry);
    }
    for entry in before {
        // The row is committed before the gateway is asked, so the snapshot has it.
        let (about, refund) = (of(entry), known.get(&of(entry)));
        if !refund.is_some_and(|refund| refund.founded) {
            found.push(format!(
                "the gateway has paid {} for {about}, which is neither a completed return nor a refund without one",
                entry.transaction_id
            ));
        }
        if entry.status == GatewayRefundStatus::Success && refund.is_some_and(|refund| refund.status == "FAILED") {
            found.push(format!(
                "the refund of {about} is FAILED here, and the gateway has paid {}",
                entry.transaction_id
            ));
        }
    }
    for (about, entries) in &paid {
        if let [_, _, ..] = entries.as_slice() {
            found.push(format!("the gateway has paid {about} {} times", entries.len()));
        }
    }
    for refund in ours {
        let entries = paid.get(&refund.key).map_or(&[][..], Vec::as_slice);
        for entry in entries {
            if let Some(difference) = difference(refund, entry) {
                found.push(format!("the refund of {}: {difference}", refund.key));
            }
        }
        if entries.is_empty() && refund.status == "PROCESSED" {
            found.push(format!("{} is refunded here, and the gateway has no payment for it", refund.key));
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

/// What a completed return refunds is its items together, and its refund is that. What a cancelled order gets back is what was
/// paid. No order gets back more.
async fn wrong_amounts(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        with returned as (
            select returns.id, state, (whole.document ->> 'refund_amount_minor')::bigint as amount,
                   (select coalesce(sum((item ->> 'amount_minor')::bigint), 0) from json_array_elements(whole.document -> 'items') as item) as items
            from command.returns cross join lateral (
                select command.whole(command.with_items(returns.document, items, progress), progress, state, version)::json
            ) as whole (document)
        ), given_back as (
            select order_id, sum(amount_minor) filter (where status <> 'FAILED') as paid, sum(amount_minor) as due
            from command.refunds group by order_id
        )
        select format('return %s is %s; its items are worth %s, it %s, its refund %s', returned.id, state, items, amount,
                      coalesce(refunds.amount_minor::text, 'is missing'))
        from returned left join command.refunds on return_id = returned.id
        where amount is distinct from items
           or coalesce(refunds.amount_minor, 0) <> case when state = 'COMPLETED' then amount else 0 end
        union all
        select format('order %s is %s; %s were paid, %s are given back', orders.id, state,
                      case when progress ? 'paid_at' then total_minor else 0 end, coalesce(paid, 0))
        from command.orders left join given_back on order_id = orders.id
        where coalesce(paid, 0) > case when progress ? 'paid_at' then total_minor else 0 end
           or state = 'CANCELLED' and progress ? 'paid_at' and coalesce(due, 0) < total_minor
        "#
    )
}

/// Of an item no more units were returned than sold, and no more was given back than paid. All of it is back once all units are, but for
/// fees that were kept. What is given back without a return is the sum of its items.
async fn returned_too_much(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        with line as (
            select (item ->> 'order_item_id')::uuid as order_item_id, (item ->> 'quantity')::bigint as quantity,
                   coalesce((item ->> 'accepted_quantity')::bigint, (item ->> 'quantity')::bigint) as accepted,
                   coalesce((item ->> 'missing_quantity')::bigint, 0) as missing,
                   (item ->> 'amount_minor')::bigint as amount, (item ->> 'shipping_minor')::bigint as shipping,
                   coalesce((item #>> '{kept,goods_minor}')::bigint, 0) as kept, state = 'COMPLETED' as completed
            from command.returns
            cross join lateral json_array_elements(coalesce((progress -> 'items')::json, items)) as item
            where state <> 'REJECTED'
        ), returned as (
            select order_item_id, sum(quantity - missing) as units, sum(accepted) filter (where completed) as refunded,
                   sum(amount - shipping) filter (where completed) as goods, sum(kept) filter (where completed) as kept,
                   sum(shipping) filter (where completed) as shipping
            from line group by order_item_id
        ), granted as (
            select refunds.id, amount_minor, (item ->> 'order_item_id')::uuid as order_item_id,
                   (item ->> 'amount_minor')::bigint as amount, (item ->> 'shipping_minor')::bigint as shipping
            from command.refunds cross join lateral jsonb_array_elements(document -> 'items') as item
            where kind = 'GOODWILL'
        ), given_back as (
            select order_item_id, sum(amount - shipping) as goods, sum(shipping) as shipping from granted group by order_item_id
        ), taken as (
            select order_item_id, coalesce(units, 0) as units, coalesce(refunded, 0) as refunded, coalesce(kept, 0) as kept,
                   coalesce(returned.goods, 0) + coalesce(given_back.goods, 0) as goods,
                   coalesce(returned.shipping, 0) + coalesce(given_back.shipping, 0) as shipping
            from returned full join given_back using (order_item_id)
        )
        select format('item %s of order %s: %s of %s units returned, %s of %s paise, %s of %s for shipping', item.id, item.order_id,
                      units, item.quantity, goods, item.paid_minor, taken.shipping, item.shipping_minor)
        from command.order_items as item join taken on order_item_id = item.id
        where units > item.quantity or taken.shipping > item.shipping_minor or goods > item.paid_minor
           or refunded = item.quantity and goods + kept < item.paid_minor
        union all
        select format('refund %s is of %s, its items of %s', refunds.id, refunds.amount_minor, coalesce(sum(amount), 0))
        from command.refunds left join granted using (id)
        where kind = 'GOODWILL'
        group by refunds.id having coalesce(sum(amount), 0) <> refunds.amount_minor
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

    use super::*;

    fn refund(id: u128, status: &str) -> Refund {
        Refund {
            key: Uuid::from_u128(id),
            status: status.to_owned(),
            amount_minor: 500,
            currency: "INR".to_owned(),
            transaction_id: (status == "PROCESSED").then(|| "txn".to_owned()),
            founded: true,
        }
    }

    fn entry(id: u128) -> GatewayRefund {
        GatewayRefund {
            status: GatewayRefundStatus::Success,
            transaction_id: "txn".to_owned(),
            reference: None,
            return_id: Some(Uuid::from_u128(id)),
            refund_id: None,
            payment_transaction_id: None,
            idempotency_key: id.to_string(),
            amount: 500,
            currency: "INR".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_two_ledgers_agree_or_the_difference_is_named() {
        let of_open_return = Refund { founded: false, ..refund(1, "PENDING") };
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
