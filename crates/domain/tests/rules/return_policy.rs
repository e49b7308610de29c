//! When a return may be requested, what of, and what it refunds.

use chrono::{DateTime, Duration, NaiveDate, Utc};
use chrono_tz::{Asia::Kolkata, Tz};
use domain::{
    Charge, ExceedingItem, OrderForReturn, OrderState, Part, RefundShipping, RequestedItem, ReturnLine, ReturnPolicy,
    ReturnRefusal, ReturnableItem, Taxes, decide_return,
};
use proptest::prelude::*;
use uuid::Uuid;

const RUG: Uuid = Uuid::from_u128(1);
const VASE: Uuid = Uuid::from_u128(2);
const ELSEWHERE: Uuid = Uuid::from_u128(8);
const NOWHERE: Uuid = Uuid::from_u128(9);

const POLICY: ReturnPolicy = ReturnPolicy {
    window_days: 30,
    timezone: Kolkata,
    one_return_per_order: false,
    shipping: RefundShipping::FullReturn,
};

fn at(instant: &str) -> DateTime<Utc> {
    instant.parse().expect("an RFC 3339 instant")
}

fn day(date: &str) -> NaiveDate {
    date.parse().expect("a date")
}

fn line(id: Uuid, quantity: u32, paid_minor: i64) -> ReturnableItem {
    let (goods, none) = (paid(paid_minor), Charge::default());
    ReturnableItem {
        id,
        quantity,
        goods,
        shipping: none,
        given_back: Part::default(),
        returned_quantity: 0,
        returned_goods: none,
        returned_shipping: none,
        kept: Part::default(),
        rejected_quantity: 0,
        missing_quantity: 0,
    }
}

/// Without tax.
fn paid(paid: i64) -> Charge {
    Charge { paid, ..Charge::default() }
}

fn accepted(order_item_id: Uuid, quantity: u32, goods: i64) -> ReturnLine {
    ReturnLine { order_item_id, quantity, goods: paid(goods), shipping: Charge::default(), kept: Part::default() }
}

/// Delivered on 1 March 2026 at half past two in the afternoon in India: three rugs and one vase.
fn delivered() -> OrderForReturn {
    OrderForReturn {
        state: OrderState::Delivered,
        delivered_at: Some(at("2026-03-01T09:00:00Z")),
        existing_returns: 0,
        missed_at: None,
        items: vec![line(RUG, 3, 10_000_000), line(VASE, 1, 250_000)],
    }
}

fn ask(order: &OrderForReturn, items: &[(Uuid, i64)]) -> Result<Vec<ReturnLine>, ReturnRefusal> {
    ask_at(order, items, POLICY, at("2026-03-10T12:00:00Z"))
}

fn ask_at(
    order: &OrderForReturn,
    items: &[(Uuid, i64)],
    policy: ReturnPolicy,
    now: DateTime<Utc>,
) -> Result<Vec<ReturnLine>, ReturnRefusal> {
    let requested: Vec<_> = items.iter().map(|(id, q)| RequestedItem { order_item_id: *id, quantity: *q }).collect();
    decide_return(order, &requested, &[ELSEWHERE], &policy, now)
}

#[test]
fn an_accepted_return_has_a_line_per_item_with_its_exact_refund() {
    let lines = ask(&delivered(), &[(VASE, 1), (RUG, 2)]).expect("the return is allowed");
    assert_eq!(lines, [accepted(VASE, 1, 250_000), accepted(RUG, 2, 6_666_666),],);
}

#[test]
fn an_item_listed_twice_counts_together() {
    let lines = ask(&delivered(), &[(RUG, 1), (VASE, 1), (RUG, 2)]).expect("three rugs were ordered");
    assert_eq!(lines[0], accepted(RUG, 3, 10_000_000));
    assert_eq!(lines.len(), 2);

    let exceeding = ExceedingItem { id: RUG, requested: 4, returnable: 3 };
    let refusal = ReturnRefusal::QuantityExceedsReturnable { items: vec![exceeding] };
    assert_eq!(ask(&delivered(), &[(RUG, 2), (RUG, 2)]), Err(refusal));
}

#[test]
fn what_was_returned_before_is_not_returned_again() {
    let mut order = delivered();
    order.items[0].returned_quantity = 2;
    order.items[0].returned_goods = paid(6_666_666);
    assert_eq!(ask(&order, &[(RUG, 1)]).expect("one rug is left")[0].goods, paid(3_333_334));
    let items = vec![
        ExceedingItem { id: VASE, requested: i64::MAX, returnable: 1 },
        ExceedingItem { id: RUG, requested: 2, returnable: 1 },
    ];
    assert_eq!(
        ask(&order, &[(VASE, i64::MAX), (RUG, 2), (VASE, i64::MAX)]),
        Err(ReturnRefusal::QuantityExceedsReturnable { items }),
    );
}

#[test]
fn only_a_delivered_order_can_be_returned() {
    for state in OrderState::ALL.into_iter().filter(|state| *state != OrderState::Delivered) {
        let order = OrderForReturn { state, ..delivered() };
        assert_eq!(ask(&order, &[(RUG, 1)]), Err(ReturnRefusal::OrderNotDelivered { state }));
    }
    let order = OrderForReturn { delivered_at: None, ..delivered() };
    assert_eq!(ask(&order, &[(RUG, 1)]), Err(ReturnRefusal::OrderNotDelivered { state: OrderState::Delivered }));
}

#[test]
fn a_return_names_at_least_one_unit_of_each_item() {
    let requests: [&[(Uuid, i64)]; 4] = [&[], &[(RUG, 0)], &[(RUG, -1)], &[(RUG, 4), (RUG, -1)]];
    for request in requests {
        assert_eq!(ask(&delivered(), request), Err(ReturnRefusal::NoItems), "{request:?}");
    }
}

#[test]
fn an_item_that_is_not_of_this_order_is_named() {
    assert_eq!(
        ask(&delivered(), &[(RUG, 1), (NOWHERE, 1), (ELSEWHERE, 1)]),
        Err(ReturnRefusal::UnknownItem { ids: vec![NOWHERE] }),
    );
    assert_eq!(
        ask(&delivered(), &[(ELSEWHERE, 1), (RUG, 99)]),
        Err(ReturnRefusal::ItemNotInOrder { ids: vec![ELSEWHERE] }),
    );
}

#[test]
fn one_return_per_order_is_a_policy() {
    let one = ReturnPolicy { one_return_per_order: true, ..POLICY };
    let now = at("2026-03-10T12:00:00Z");
    assert!(ask_at(&delivered(), &[(RUG, 1)], one, now).is_ok());
    let order = OrderForReturn { existing_returns: 1, ..delivered() };
    assert_eq!(ask_at(&order, &[(RUG, 1)], one, now), Err(ReturnRefusal::ReturnAlreadyExists));
    assert!(ask_at(&order, &[(RUG, 1)], POLICY, now).is_ok());
}

#[test]
fn the_window_ends_with_its_last_day_in_india() {
    // Midnight in India is 18:30 UTC, so these deliveries, a second apart, are on 1 and on 2 March there.
    let cases = [
        ("2026-03-01T18:29:59Z", "2026-03-01", "2026-03-31", "2026-03-31T18:30:00Z"),
        ("2026-03-01T18:30:00Z", "2026-03-02", "2026-04-01", "2026-04-01T18:30:00Z"),
    ];
    for (delivered_at, delivered_on, last_day, over) in cases {
        let order = OrderForReturn { delivered_at: Some(at(delivered_at)), ..delivered() };
        let ask = |now| ask_at(&order, &[(RUG, 1)], POLICY, now);
        assert_eq!(POLICY.last_day(at(delivered_at)), day(last_day));
        assert!(ask(at(delivered_at)).is_ok());
        assert!(ask(at(over) - Duration::seconds(1)).is_ok(), "18:29:59Z is still the last day");
        assert!(ask(at(over) - Duration::microseconds(1)).is_ok());
        let refusal = ReturnRefusal::OutsideReturnWindow { delivered_on: day(delivered_on), last_day: day(last_day) };
        assert_eq!(ask(at(over)), Err(refusal));
    }
}

#[test]
fn a_window_of_no_days_is_the_day_of_delivery_and_a_huge_one_never_ends() {
    let today = ReturnPolicy { window_days: 0, ..POLICY };
    assert!(ask_at(&delivered(), &[(RUG, 1)], today, at("2026-03-01T18:29:59Z")).is_ok());
    assert!(ask_at(&delivered(), &[(RUG, 1)], today, at("2026-03-01T18:30:00Z")).is_err());
    let forever = ReturnPolicy { window_days: u32::MAX, ..POLICY };
    assert!(ask_at(&delivered(), &[(RUG, 1)], forever, at("9999-12-31T00:00:00Z")).is_ok());
}

#[test]
fn a_refusal_has_its_reason_and_says_what_to_do() {
    let (delivered_on, last_day) = (day("2026-03-01"), day("2026-03-31"));
    let exceeding = ExceedingItem { id: RUG, requested: 4, returnable: 3 };
    let cases = [
        (
            ReturnRefusal::OrderNotDelivered { state: OrderState::Shipped },
            "ORDER_NOT_DELIVERED",
            "the order is SHIPPED; request the return once it is DELIVERED",
        ),
        (
            ReturnRefusal::OrderNotDelivered { state: OrderState::Cancelled },
            "ORDER_NOT_DELIVERED",
            "the order is CANCELLED; only a delivered order can be returned",
        ),
        (
            ReturnRefusal::OutsideReturnWindow { delivered_on, last_day },
            "OUTSIDE_RETURN_WINDOW",
            "the order was delivered on 2026-03-01; the last day to request its return was 2026-03-31",
        ),
        (ReturnRefusal::NoItems, "NO_ITEMS", "list at least one item, each with a quantity of 1 or more"),
        (
            ReturnRefusal::UnknownItem { ids: vec![RUG, VASE] },
            "UNKNOWN_ITEM",
            "no such items: 00000000-0000-0000-0000-000000000001, 00000000-0000-0000-0000-000000000002; \
             take the ids from the items of the order",
        ),
        (
            ReturnRefusal::ItemNotInOrder { ids: vec![RUG] },
            "ITEM_NOT_IN_ORDER",
            "items of another order: 00000000-0000-0000-0000-000000000001; \
             request their return for the order they belong to",
        ),
        (
            ReturnRefusal::QuantityExceedsReturnable { items: vec![exceeding] },
            "QUANTITY_EXCEEDS_RETURNABLE",
            "more than can still be returned: 00000000-0000-0000-0000-000000000001 (4 requested, 3 left); \
             lower the quantities",
        ),
        (
            ReturnRefusal::ReturnAlreadyExists,
            "RETURN_ALREADY_EXISTS",
            "only one return per order is accepted and there is one; unless it is rejected, no other can follow",
        ),
    ];
    for (refusal, reason, text) in cases {
        assert_eq!((refusal.reason(), refusal.to_string().as_str()), (reason, text));
    }
}

/// A return that was accepted and may yet be rejected.
type Accepted = Vec<ReturnLine>;

fn book(order: &mut OrderForReturn, accepted: &Accepted, sign: i64) {
    for line in accepted {
        let item = order.items.iter_mut().find(|item| item.id == line.order_item_id).expect("a line of the order");
        let quantity = i64::from(item.returned_quantity) + sign * i64::from(line.quantity);
        item.returned_quantity = quantity.try_into().expect("never below zero");
        for (sum, part) in [(&mut item.returned_goods, line.goods), (&mut item.returned_shipping, line.shipping)] {
            *sum = sum.plus(&if sign < 0 { negative(&part) } else { part });
        }
    }
}

fn negative(charge: &Charge) -> Charge {
    let Taxes { cgst, sgst, igst } = charge.taxes;
    Charge { paid: -charge.paid, taxes: Taxes { cgst: -cgst, sgst: -sgst, igst: -igst }, round_off: -charge.round_off }
}

fn zones() -> impl Strategy<Value = Tz> {
    prop::sample::select(vec![Kolkata, Tz::UTC, Tz::America__New_York, Tz::Pacific__Apia])
}

proptest! {
    #[test]
    fn no_more_is_ever_returned_or_refunded_than_was_ordered_and_paid(
        lines in prop::collection::vec((1..6_u32, prop_oneof![0..20_i64, 0..100_000_000_i64]), 1..4),
        steps in prop::collection::vec(
            (prop::collection::vec((0..4_usize, -1..5_i64), 0..4), prop::option::of(any::<prop::sample::Index>())), 0..40),
    ) {
        let id = |at: usize| Uuid::from_u128(100 + at as u128);
        let items = lines.iter().enumerate().map(|(at, (quantity, paid))| line(id(at), *quantity, *paid)).collect();
        let mut order = OrderForReturn { items, ..delivered() };
        let mut open: Vec<Accepted> = Vec::new();
        for (request, rejected) in steps {
            let request: Vec<_> = request.into_iter().map(|(at, quantity)| (id(at), quantity)).collect();
            if let Ok(accepted) = ask(&order, &request) {
                prop_assert_eq!(
                    accepted.iter().map(|line| i64::from(line.quantity)).sum::<i64>(),
                    request.iter().map(|(_, quantity)| quantity).sum::<i64>(),
                );
                book(&mut order, &accepted, 1);
                open.push(accepted);
            }
            for item in &order.items {
                prop_assert!(item.returned_quantity <= item.quantity && item.returned_goods.paid <= item.goods.paid);
                let whole = item.returned_quantity == item.quantity;
                prop_assert!(!whole || item.returned_goods == item.goods, "{:?}", item);
            }
            if let (Some(rejected), false) = (rejected, open.is_empty()) {
                let rejected = open.swap_remove(rejected.index(open.len()));
                book(&mut order, &rejected, -1);
            }
        }
    }

    /// Walks outwards from the delivery in whole local days: a return is accepted exactly on the days of the window.
    #[test]
    fn a_return_is_accepted_to_the_last_local_day_and_not_after(
        delivered_at in 0..4_000_000_000_i64,
        window_days in 0..100_u32,
        offset in 0..10_000_000_i64,
        timezone in zones(),
    ) {
        let delivered_at = DateTime::from_timestamp(delivered_at, 0).expect("in range");
        let now = delivered_at + Duration::seconds(offset);
        let policy = ReturnPolicy { window_days, timezone, ..POLICY };
        let order = OrderForReturn { delivered_at: Some(delivered_at), ..delivered() };
        let days = now.with_timezone(&timezone).date_naive() - delivered_at.with_timezone(&timezone).date_naive();
        prop_assert_eq!(ask_at(&order, &[(RUG, 1)], policy, now).is_ok(), days.num_days() <= i64::from(window_days));
    }

    /// In India, where no clock is ever put forward, the window ends at 18:30 UTC, by arithmetic alone.
    #[test]
    fn the_window_in_india_ends_at_half_past_six_in_the_evening_utc(
        delivered_at in 1_000_000_000..4_000_000_000_i64,
        window_days in 0..400_u32,
    ) {
        const DAY: i64 = 86_400;
        const OFFSET: i64 = 19_800;
        let midnight = (delivered_at + OFFSET).div_euclid(DAY) * DAY - OFFSET;
        let over = DateTime::from_timestamp(midnight + (i64::from(window_days) + 1) * DAY, 0).expect("in range");
        prop_assert_eq!(over.format("%T").to_string(), "18:30:00");
        let policy = ReturnPolicy { window_days, ..POLICY };
        let order = OrderForReturn { delivered_at: DateTime::from_timestamp(delivered_at, 0), ..delivered() };
        prop_assert!(ask_at(&order, &[(RUG, 1)], policy, over - Duration::microseconds(1)).is_ok());
        let refused = matches!(
            ask_at(&order, &[(RUG, 1)], policy, over),
            Err(ReturnRefusal::OutsideReturnWindow { .. })
        );
        prop_assert!(refused);
    }
}
