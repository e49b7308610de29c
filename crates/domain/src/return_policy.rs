//! Whether a return may be requested, and what it refunds.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use thiserror::Error;
use uuid::Uuid;

use crate::names::names;
use crate::order_line::{Part, ReturnLine, ReturnableItem, keep_back};
use crate::order_state::OrderState;
use crate::tax::Charge;

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
    /// The last local day on which a return may be requested after a delivery, or again after a receipt; the whole day counts.
    pub fn last_day(self, delivered_at: DateTime<Utc>) -> NaiveDate {
        let delivered_on = self.local_day(delivered_at);
        delivered_on.checked_add_days(Days::new(self.window_days.into())).unwrap_or(NaiveDate::MAX)
    }

    /// The day of the shop in which this moment falls.
    pub fn local_day(self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.timezone).date_naive()
    }
}

/// What the decision needs to know about the order. Read under the order's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderForReturn {
    pub state: OrderState,
    pub delivered_at: Option<DateTime<Utc>>,
    /// Returns that were not rejected, and of which some unit arrived or is still to arrive.
    pub existing_returns: usize,
    /// When the warehouse last found that units of a return were missing.
    pub missed_at: Option<DateTime<Utc>>,
    pub items: Vec<ReturnableItem>,
}

/// One entry of the request. An item may be listed several times; its quantities then count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestedItem {
    pub order_item_id: Uuid,
    pub quantity: i64,
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
    let left: BTreeMap<Uuid, u32> = returnable_units(order, *policy, now)?.into_iter().collect();
    // Each entry by itself: in a sum, another entry of the same item would hide a negative quantity.
    if requested.is_empty() || requested.iter().any(|item| item.quantity < 1) {
        return Err(ReturnRefusal::NoItems);
    }
    let requested = counted_together(requested);
    let items: BTreeMap<Uuid, &ReturnableItem> = order.items.iter().map(|item| (item.id, item)).collect();
    check_membership(&requested, &items, known_elsewhere)?;

    let (mut wanted, mut exceeding) = (Vec::with_capacity(requested.len()), Vec::new());
    for RequestedItem { order_item_id: id, quantity: requested } in requested {
        let returnable = left[&id];
        match u32::try_from(requested) {
            Ok(quantity) if quantity <= returnable => wanted.push((id, quantity)),
            _ => exceeding.push(ExceedingItem { id, requested, returnable }),
        }
    }
    if !exceeding.is_empty() {
        return Err(ReturnRefusal::QuantityExceedsReturnable { items: exceeding });
    }
    Ok(decide_refund(&order.items, &wanted, policy.shipping, 0))
}

/// How many units of each item may be requested now, in the order of the items; or the rule because of which none may.
///
/// # Errors
/// The order was not delivered, its window is over, or it takes no other return.
pub fn returnable_units(
    order: &OrderForReturn,
    policy: ReturnPolicy,
    now: DateTime<Utc>,
) -> Result<Vec<(Uuid, u32)>, ReturnRefusal> {
    let only_missing = check_order(order, policy, now)?;
    let units = |item: &ReturnableItem| {
        if only_missing { item.returnable().min(item.missing_quantity) } else { item.returnable() }
    };
    Ok(order.items.iter().map(|item| (item.id, units(item))).collect())
}

/// What the return of these units refunds, line by line, after fees that are kept back, at most all of it. Units of which fewer are
/// left are not refunded.
///
/// A preview, the estimate of an open return and the amount that is fixed at its completion differ only in what counts as
/// returned before: for an estimate also the returns that are still open, for the final amount the completed ones.
pub fn decide_refund(
    items: &[ReturnableItem],
    units: &[(Uuid, u32)],
    shipping: RefundShipping,
    fees: i64,
) -> Vec<ReturnLine> {
    let refund = |(id, quantity): &(Uuid, u32)| items.iter().find(|item| item.id == *id)?.refund(*quantity);
    let mut lines: Vec<ReturnLine> = units.iter().filter_map(refund).collect();
    add_shipping(&mut lines, items, shipping);
    keep_back(&mut lines, fees);
    lines
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
                let (goods, kept) = (Charge::default(), Part::default());
                lines.push(ReturnLine { order_item_id: item.id, quantity: 0, goods, shipping, kept });
            }
            None => {}
        }
    }
}

/// Whether only units may be requested that were missing in an earlier return: the window of the delivery is over, and that of
/// the receipt is not.
fn check_order(order: &OrderForReturn, policy: ReturnPolicy, now: DateTime<Utc>) -> Result<bool, ReturnRefusal> {
    let (OrderState::Delivered, Some(delivered_at)) = (order.state, order.delivered_at) else {
        return Err(ReturnRefusal::OrderNotDelivered { state: order.state });
    };
    let (last_day, today) = (policy.last_day(delivered_at), policy.local_day(now));
    let is_over = today > last_day;
    let may_repeat = order.missed_at.is_some_and(|missed_at| today <= policy.last_day(missed_at))
        && order.items.iter().any(|item| item.missing_quantity > 0);
    if is_over && !may_repeat {
        return Err(ReturnRefusal::OutsideReturnWindow { delivered_on: policy.local_day(delivered_at), last_day });
    }
    if policy.one_return_per_order && order.existing_returns > 0 {
        return Err(ReturnRefusal::ReturnAlreadyExists);
    }
    Ok(is_over)
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
