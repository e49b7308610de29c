//! Whether a return may be requested, and what it refunds.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use thiserror::Error;
use uuid::Uuid;

use crate::allocation::{Returned, UnitShares};
use crate::names::names;
use crate::order_state::OrderState;
use crate::tax::{Charge, Taxes};

/// What the shop allows its customers to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnPolicy {
    /// Days after the day of delivery; 0 means that day alone.
    pub window_days: u32,
    /// Where a day begins and ends.
    pub timezone: Tz,
    /// Whether an order takes only one return. A rejected return does not count: it returned nothing, and the customer
    /// may ask again while the window is open.
    pub one_return_per_order: bool,
    pub shipping: RefundShipping,
}

/// When a return refunds shipping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundShipping {
    Never,
    /// With the return after which nothing of the order is left.
    FullReturn,
    /// Each unit's share, with the unit.
    EachUnit,
}

names!(RefundShipping { Never "never", FullReturn "full-return", EachUnit "each-unit" });

impl ReturnPolicy {
    /// The last local day on which a return may be requested; the whole day counts.
    pub fn last_day(self, delivered_at: DateTime<Utc>) -> NaiveDate {
        let delivered_on = self.local_day(delivered_at);
        delivered_on.checked_add_days(Days::new(self.window_days.into())).unwrap_or(NaiveDate::MAX)
    }

    fn local_day(self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.timezone).date_naive()
    }
}

/// What the decision needs to know about the order. Read under the order's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderForReturn {
    pub state: OrderState,
    pub delivered_at: Option<DateTime<Utc>>,
    /// Without rejected returns.
    pub existing_returns: usize,
    pub items: Vec<ReturnableItem>,
}

/// A line of the order, and what was returned of it so far. Rejected returns do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnableItem {
    pub id: Uuid,
    pub quantity: u32,
    pub goods: Charge,
    pub shipping: Charge,
    pub returned_quantity: u32,
    pub returned_goods: Charge,
    pub returned_shipping: Charge,
}

impl ReturnableItem {
    /// The refund without shipping; `None` when fewer units are left.
    fn refund(&self, quantity: i64) -> Option<ReturnLine> {
        let quantity = u32::try_from(quantity).ok()?;
        let part = |of: fn(&Charge) -> i64| {
            let returned = Returned { quantity: self.returned_quantity, amount: of(&self.returned_goods) };
            UnitShares::of(of(&self.goods), self.quantity).refund(returned, quantity)
        };
        let goods = each_part(part)?;
        Some(ReturnLine { order_item_id: self.id, quantity, goods, shipping: Charge::default() })
    }

    /// The shipping of `quantity` further units: what is due for all units returned so far, less what was refunded. Earlier
    /// returns may have refunded more or less than their share, under another policy.
    fn shipping_of(&self, quantity: u32) -> Charge {
        let gone = i128::from(self.returned_quantity) + i128::from(quantity);
        let due = |of: fn(&Charge) -> i64| {
            let due = (i128::from(of(&self.shipping)) * gone).div_euclid(i128::from(self.quantity));
            i64::try_from(due).ok().map(|due| due - of(&self.returned_shipping))
        };
        each_part(due).filter(|due| due.paid > 0).unwrap_or_default()
    }
}

/// Computes each part of a charge by itself. The taxable amount follows from the parts.
fn each_part(part: impl Fn(fn(&Charge) -> i64) -> Option<i64>) -> Option<Charge> {
    Some(Charge {
        paid: part(|charge| charge.paid)?,
        taxes: Taxes {
            cgst: part(|charge| charge.taxes.cgst)?,
            sgst: part(|charge| charge.taxes.sgst)?,
            igst: part(|charge| charge.taxes.igst)?,
        },
        round_off: part(|charge| charge.round_off)?,
    })
}

/// One entry of the request. An item may be listed several times; its quantities then count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestedItem {
    pub order_item_id: Uuid,
    pub quantity: i64,
}

/// One item of an accepted return, with its exact refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnLine {
    pub order_item_id: Uuid,
    /// 0 when only shipping is refunded, for units that were returned before.
    pub quantity: u32,
    pub goods: Charge,
    pub shipping: Charge,
}

impl ReturnLine {
    /// What the customer is paid.
    pub const fn refund(&self) -> i64 {
        self.goods.paid + self.shipping.paid
    }
}

/// An item with more units requested than can still be returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{id} ({requested} requested, {returnable} left)")]
pub struct ExceedingItem {
    pub id: Uuid,
    pub requested: i64,
    pub returnable: u32,
}

/// Why a return is not accepted. The text says what the customer can do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReturnRefusal {
    #[error("{}", not_delivered(*state))]
    OrderNotDelivered { state: OrderState },
    #[error("the order was delivered on {delivered_on}; the last day to request its return was {last_day}")]
    OutsideReturnWindow { delivered_on: NaiveDate, last_day: NaiveDate },
    /// The list is empty, or an entry asks for less than one unit.
    #[error("list at least one item, each with a quantity of 1 or more")]
    NoItems,
    #[error("no such items: {}; take the ids from the items of the order", listed(ids))]
    UnknownItem { ids: Vec<Uuid> },
    #[error("items of another order: {}; request their return for the order they belong to", listed(ids))]
    ItemNotInOrder { ids: Vec<Uuid> },
    #[error("more than can still be returned: {}; lower the quantities", listed(items))]
    QuantityExceedsReturnable { items: Vec<ExceedingItem> },
    #[error("only one return per order is accepted and there is one; unless it is rejected, no other can follow")]
    ReturnAlreadyExists,
}

impl ReturnRefusal {
    /// `details.reason` of the answer.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::OrderNotDelivered { .. } => "ORDER_NOT_DELIVERED",
            Self::OutsideReturnWindow { .. } => "OUTSIDE_RETURN_WINDOW",
            Self::NoItems => "NO_ITEMS",
            Self::UnknownItem { .. } => "UNKNOWN_ITEM",
            Self::ItemNotInOrder { .. } => "ITEM_NOT_IN_ORDER",
            Self::QuantityExceedsReturnable { .. } => "QUANTITY_EXCEEDS_RETURNABLE",
            Self::ReturnAlreadyExists => "RETURN_ALREADY_EXISTS",
        }
    }
}

/// Decides a request: its lines with their refunds, in the order in which the items were first listed, or the first
/// rule that refuses it. Rules about the order come before rules about the items, because no other choice of items
/// would help.
///
/// `known_elsewhere` are the requested ids that exist but belong to another order.
pub fn decide_return(
    order: &OrderForReturn,
    requested: &[RequestedItem],
    known_elsewhere: &[Uuid],
    policy: &ReturnPolicy,
    now: DateTime<Utc>,
) -> Result<Vec<ReturnLine>, ReturnRefusal> {
    check_order(order, *policy, now)?;
    // Each entry by itself: in a sum, another entry of the same item would hide a negative quantity.
    if requested.is_empty() || requested.iter().any(|item| item.quantity < 1) {
        return Err(ReturnRefusal::NoItems);
    }
    let requested = counted_together(requested);
    let items: BTreeMap<Uuid, &ReturnableItem> = order.items.iter().map(|item| (item.id, item)).collect();
    check_membership(&requested, &items, known_elsewhere)?;

    let mut lines = Vec::with_capacity(requested.len());
    let mut exceeding = Vec::new();
    for RequestedItem { order_item_id, quantity } in requested {
        let item = items[&order_item_id];
        match item.refund(quantity) {
            Some(line) => lines.push(line),
            None => exceeding.push(ExceedingItem {
                id: item.id,
                requested: quantity,
                returnable: item.quantity.saturating_sub(item.returned_quantity),
            }),
        }
    }
    if !exceeding.is_empty() {
        return Err(ReturnRefusal::QuantityExceedsReturnable { items: exceeding });
    }
    add_shipping(&mut lines, &order.items, policy.shipping);
    Ok(lines)
}

fn add_shipping(lines: &mut Vec<ReturnLine>, items: &[ReturnableItem], policy: RefundShipping) {
    let wanted: BTreeMap<Uuid, u32> = lines.iter().map(|line| (line.order_item_id, line.quantity)).collect();
    let wanted = |item: &ReturnableItem| wanted.get(&item.id).copied().unwrap_or_default();
    let all_back = || items.iter().all(|item| item.returned_quantity + wanted(item) == item.quantity);
    let due = match policy {
        RefundShipping::Never => false,
        RefundShipping::FullReturn => all_back(),
        RefundShipping::EachUnit => true,
    };
    if !due {
        return;
    }
    for item in items {
        let shipping = item.shipping_of(wanted(item));
        match lines.iter_mut().find(|line| line.order_item_id == item.id) {
            Some(line) => line.shipping = shipping,
            None if policy == RefundShipping::FullReturn && shipping.paid > 0 => {
                lines.push(ReturnLine { order_item_id: item.id, quantity: 0, goods: Charge::default(), shipping });
            }
            None => {}
        }
    }
}

fn check_order(order: &OrderForReturn, policy: ReturnPolicy, now: DateTime<Utc>) -> Result<(), ReturnRefusal> {
    let (OrderState::Delivered, Some(delivered_at)) = (order.state, order.delivered_at) else {
        return Err(ReturnRefusal::OrderNotDelivered { state: order.state });
    };
    let last_day = policy.last_day(delivered_at);
    if policy.local_day(now) > last_day {
        return Err(ReturnRefusal::OutsideReturnWindow { delivered_on: policy.local_day(delivered_at), last_day });
    }
    if policy.one_return_per_order && order.existing_returns > 0 {
        return Err(ReturnRefusal::ReturnAlreadyExists);
    }
    Ok(())
}

fn check_membership(
    requested: &[RequestedItem],
    items: &BTreeMap<Uuid, &ReturnableItem>,
    known_elsewhere: &[Uuid],
) -> Result<(), ReturnRefusal> {
    let known_elsewhere: BTreeSet<_> = known_elsewhere.iter().collect();
    let (foreign, unknown): (Vec<_>, Vec<_>) = requested
        .iter()
        .map(|item| item.order_item_id)
        .filter(|id| !items.contains_key(id))
        .partition(|id| known_elsewhere.contains(id));
    if !unknown.is_empty() {
        Err(ReturnRefusal::UnknownItem { ids: unknown })
    } else if !foreign.is_empty() {
        Err(ReturnRefusal::ItemNotInOrder { ids: foreign })
    } else {
        Ok(())
    }
}

/// One entry per item, in the order in which the items are first listed.
fn counted_together(requested: &[RequestedItem]) -> Vec<RequestedItem> {
    let mut together: Vec<RequestedItem> = Vec::new();
    let mut places = BTreeMap::new();
    for item in requested {
        let place = *places.entry(item.order_item_id).or_insert_with(|| {
            together.push(RequestedItem { quantity: 0, ..*item });
            together.len() - 1
        });
        // `i64::MAX` exceeds every line, so a saturated sum is refused as the exact one would be.
        together[place].quantity = together[place].quantity.saturating_add(item.quantity);
    }
    together
}

fn not_delivered(state: OrderState) -> String {
    if state.is_terminal() {
        format!("the order is {state}; only a delivered order can be returned")
    } else {
        format!("the order is {state}; request the return once it is {}", OrderState::Delivered)
    }
}

fn listed<T: ToString>(things: &[T]) -> String {
    things.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
