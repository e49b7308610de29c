//! Money of an order that is given back without a return. It is spread over what was paid for goods and shipping, in
//! proportion, each part with the tax at its own rate.

use std::collections::BTreeMap;

use thiserror::Error;
use uuid::Uuid;

use crate::allocation::allocate;
use crate::order_line::{Part, ReturnLine, ReturnableItem};

/// What is to be given back without a return.
#[derive(Clone, Copy, Debug)]
pub enum Goodwill<'a> {
    /// So much, spread over the lines by what is left of each.
    Amount(i64),
    /// So much of each of these items. An item is listed once.
    Items(&'a [(Uuid, i64)]),
}

/// More is to be given back than is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{} to give back, {left_minor} paise left", asked(*item, *asked_minor))]
pub struct ExceedingAmount {
    /// `None`: of the whole order.
    pub item: Option<Uuid>,
    pub asked_minor: i64,
    pub left_minor: i64,
}

/// Why money is not given back.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GoodwillRefusal {
    #[error("no such items of this order: {}", ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", "))]
    UnknownItem { ids: Vec<Uuid> },
    #[error("more than is left of what was paid: {}", amounts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    ExceedsPaid { amounts: Vec<ExceedingAmount> },
}

/// Decides what is given back of each line. Completed returns, fees that they kept back, and money that was given back before must be
/// among the items; open returns refund less afterwards.
///
/// # Errors
/// For items of no line, and for more than is left of a line or of the order.
pub fn decide_goodwill(items: &[ReturnableItem], asked: Goodwill<'_>) -> Result<Vec<ReturnLine>, GoodwillRefusal> {
    let amounts: BTreeMap<Uuid, i64> = match asked {
        Goodwill::Amount(amount) => {
            let left: Vec<i64> = items.iter().map(|item| item.left().paid()).collect();
            let left_minor = left.iter().sum();
            if amount > left_minor {
                let exceeding = ExceedingAmount { item: None, asked_minor: amount, left_minor };
                return Err(GoodwillRefusal::ExceedsPaid { amounts: vec![exceeding] });
            }
            items.iter().map(|item| item.id).zip(allocate(amount, &left)).collect()
        }
        Goodwill::Items(asked) => {
            let is_known = |id: &Uuid| items.iter().any(|item| item.id == *id);
            let unknown: Vec<Uuid> = asked.iter().map(|(id, _)| *id).filter(|id| !is_known(id)).collect();
            if !unknown.is_empty() {
                return Err(GoodwillRefusal::UnknownItem { ids: unknown });
            }
            asked.iter().copied().collect()
        }
    };
    let (mut lines, mut exceeding) = (Vec::new(), Vec::new());
    for item in items {
        let Some(amount) = amounts.get(&item.id).copied().filter(|amount| *amount > 0) else { continue };
        let left = item.left();
        if amount > left.paid() {
            let (item, left_minor) = (Some(item.id), left.paid());
            exceeding.push(ExceedingAmount { item, asked_minor: amount, left_minor });
            continue;
        }
        let Part { goods, shipping } = left.share(amount);
        lines.push(ReturnLine { order_item_id: item.id, quantity: 0, goods, shipping, kept: Part::default() });
    }
    if exceeding.is_empty() { Ok(lines) } else { Err(GoodwillRefusal::ExceedsPaid { amounts: exceeding }) }
}

fn asked(item: Option<Uuid>, amount: i64) -> String {
    item.map_or_else(|| format!("{amount} paise"), |item| format!("{item}: {amount} paise"))
}
