//! What returns have taken of an order, as its documents say. The command that decides about a return and the reader who is shown
//! what may be requested count alike.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::{OrderForReturn, ReturnPolicy, ReturnState, ReturnableItem};
use uuid::Uuid;

use crate::{OrderDocument, ReturnDocument, ReturnItemDocument};

/// Units of an item that returns have taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnitsTaken {
    /// Refunded, or to be refunded.
    pub returned: u32,
    /// Received and not accepted.
    pub rejected: u32,
    /// Never arrived, and not requested again.
    pub missing: u32,
}

impl ReturnItemDocument {
    /// Units that were not in the parcel.
    pub fn missing(&self) -> i32 {
        self.missing_quantity.unwrap_or(0)
    }

    /// Units that reached the warehouse, or are on their way.
    fn arrived(&self) -> i32 {
        self.quantity - self.missing()
    }
}

/// What these returns have taken, by the order's items. Rejected returns take nothing.
pub fn units_taken<'r>(
    order: &OrderDocument,
    returns: impl IntoIterator<Item = &'r ReturnDocument>,
    policy: ReturnPolicy,
) -> HashMap<Uuid, UnitsTaken> {
    let last_day = order.delivered_at.map(|at| policy.last_day(at));
    let mut taken: HashMap<Uuid, UnitsTaken> = HashMap::new();
    for returned in returns.into_iter().filter(|returned| returned.state != ReturnState::Rejected) {
        // After the window of the delivery only missing units can be requested, so such a return takes of them.
        let is_late = last_day.is_some_and(|last_day| policy.local_day(returned.created_at) > last_day);
        for line in &returned.items {
            let of = taken.entry(line.order_item_id).or_default();
            of.returned += unsigned(line.refunded_quantity());
            of.rejected += unsigned(line.rejected_quantity.unwrap_or(0));
            of.missing += unsigned(line.missing());
            if is_late {
                of.missing = of.missing.saturating_sub(unsigned(line.quantity));
            }
        }
    }
    taken
}

/// What the rules about a return's request need to know, without any amounts.
pub fn order_for_return(order: &OrderDocument, returns: &[ReturnDocument], policy: ReturnPolicy) -> OrderForReturn {
    let returns = || returns.iter().filter(|returned| returned.state != ReturnState::Rejected);
    let is_lost = |returned: &&ReturnDocument| {
        returned.received_at.is_some() && returned.items.iter().all(|item| item.arrived() == 0)
    };
    let with_missing = returns().filter(|returned| returned.items.iter().any(|item| item.missing() > 0));
    let taken = units_taken(order, returns(), policy);
    let item = |id: Uuid, quantity: i32| {
        let UnitsTaken { returned, rejected, missing } = taken.get(&id).copied().unwrap_or_default();
        ReturnableItem {
            id,
            quantity: unsigned(quantity),
            returned_quantity: returned,
            rejected_quantity: rejected,
            missing_quantity: missing,
            ..ReturnableItem::default()
        }
    };
    OrderForReturn {
        state: order.state,
        delivered_at: order.delivered_at,
        existing_returns: returns().filter(|returned| !is_lost(returned)).count(),
        missed_at: with_missing.filter_map(|returned| returned.received_at).max(),
        items: order.items.iter().map(|ordered| item(ordered.id, ordered.quantity)).collect(),
    }
}

/// The units of each item that may be requested now, in the order of the items; empty when no return may be requested.
pub fn returnable_units(
    order: &OrderDocument,
    returns: &[ReturnDocument],
    policy: ReturnPolicy,
    now: DateTime<Utc>,
) -> Vec<(Uuid, u32)> {
    if order.erased_at.is_some() {
        return Vec::new();
    }
    domain::returnable_units(&order_for_return(order, returns, policy), policy, now).unwrap_or_default()
}

fn unsigned(quantity: i32) -> u32 {
    u32::try_from(quantity).unwrap_or_default()
}
