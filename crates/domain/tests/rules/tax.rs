//! Tax: rates, and the laws that its sharing out obeys.

use domain::{
    BadRate, Charge, DraftLine, GstRate, LineAmounts, MAX_MINOR, OrderDraft, OrderForReturn, OrderState, Part,
    RefundShipping, RequestedItem, ReturnPolicy, ReturnableItem, Supply, TaxTerms, Taxed, assess, decide_return,
    last_day_to_reduce_tax,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use uuid::Uuid;

fn rate(thousandths: u32) -> GstRate {
    GstRate::from_thousandths(thousandths).expect("a rate")
}

#[test]
fn a_rate_is_a_percentage_with_at_most_three_decimals() {
    for (per_cent, thousandths) in [(0.0, 0), (0.25, 250), (1.5, 1_500), (18.0, 18_000), (100.0, 100_000), (0.001, 1)] {
        assert_eq!(GstRate::from_per_cent(per_cent), Ok(rate(thousandths)));
        assert!((rate(thousandths).per_cent() - per_cent).abs() < f64::EPSILON);
    }
    for per_cent in [-0.001, 100.001, 18.000_5, f64::NAN, f64::INFINITY, f64::MIN] {
        assert_eq!(GstRate::from_per_cent(per_cent), Err(BadRate), "{per_cent}");
    }
    assert_eq!(GstRate::from_thousandths(100_001), None);
}

#[test]
fn a_credit_note_reduces_tax_until_november_after_the_financial_year() {
    for (supplied_on, last_day) in [
        ("2025-03-31", "2025-11-30"),
        ("2025-04-01", "2026-11-30"),
        ("2026-01-15", "2026-11-30"),
        ("2026-12-01", "2027-11-30"),
    ] {
        let last: chrono::NaiveDate = last_day.parse().expect("a day");
        assert_eq!(last_day_to_reduce_tax(supplied_on.parse().expect("a day")), last, "{supplied_on}");
    }
}

#[test]
fn a_part_of_a_charge_has_its_proportion_of_each_tax() {
    let taxes = domain::Taxes { cgst: 762, sgst: 762, igst: 0 };
    let charge = Charge { paid: 10_000, taxes, round_off: 1 };
    assert_eq!(charge.part(10_000), charge, "the whole is exact");
    assert_eq!(charge.part(0), Charge::default());
    let part = charge.part(5_001);
    assert_eq!((part.paid, part.taxes.cgst, part.taxes.sgst, part.round_off), (5_001, 381, 381, 1));
    assert_eq!(charge.minus(&part).plus(&part), charge);
}

#[test]
fn amounts_of_one_rate_are_taxed_together_and_those_of_another_apart() {
    let terms = TaxTerms { supply: Supply::IntraState, prices_include_tax: false };
    let amounts = [(1_03, Some(rate(5_000))), (9_00, Some(rate(18_000))), (1_03, Some(rate(5_000))), (7_00, None)];
    let charges = assess(&amounts.map(|(net, rate)| Taxed { net, rate }), terms);
    // 5 % of 2.06 is 5.15 paise for each half, so 5; of 1.03 twice it would be 3 and 3.
    let cgst: Vec<_> = charges.iter().map(|charge| charge.taxes.cgst).collect();
    assert_eq!(cgst, [3, 81, 2, 0]);
    assert_eq!(charges.iter().map(|charge| charge.paid).collect::<Vec<_>>(), [1_09, 10_62, 1_07, 7_00]);
}

#[test]
fn a_tax_that_takes_the_total_out_of_range_is_refused() {
    let lines = vec![DraftLine { quantity: 1, unit_price_minor: MAX_MINOR, rate: Some(rate(100_000)) }];
    let terms = |prices_include_tax| TaxTerms { supply: Supply::IntraState, prices_include_tax };
    let draft = OrderDraft { lines, discount_minor: 0, shipping_minor: 0, terms: terms(true) };
    assert_eq!(draft.totals().expect("the tax is in it").total.minor(), MAX_MINOR);
    let problems = OrderDraft { terms: terms(false), ..draft }.totals().expect_err("twice the largest amount");
    assert_eq!(problems[0].to_string(), format!("items must cost at most {MAX_MINOR} with the tax"));
}

fn rates() -> impl Strategy<Value = Option<GstRate>> {
    prop::option::of(prop_oneof![select(vec![0, 250, 3_000, 5_000, 12_000, 18_000, 28_000, 40_000]), 0..=100_000_u32])
        .prop_map(|thousandths| thousandths.map(rate))
}

fn terms() -> impl Strategy<Value = TaxTerms> {
    (select(vec![Supply::IntraState, Supply::InterState]), any::<bool>())
        .prop_map(|(supply, prices_include_tax)| TaxTerms { supply, prices_include_tax })
}

fn drafts() -> impl Strategy<Value = OrderDraft> {
    let line = (1..8_i64, prop_oneof![0..100_i64, 0..10_000_000_i64], rates());
    (prop::collection::vec(line, 1..8), 0..=100_i64, 0..50_000_i64, terms()).prop_map(
        |(lines, discount_per_cent, shipping_minor, terms)| {
            let subtotal: i64 = lines.iter().map(|(quantity, price, _)| quantity * price).sum();
            let line = |(quantity, unit_price_minor, rate)| DraftLine { quantity, unit_price_minor, rate };
            let lines = lines.into_iter().map(line).collect();
            OrderDraft { lines, discount_minor: subtotal * discount_per_cent / 100, shipping_minor, terms }
        },
    )
}

/// Half away from zero, by another way than the code's.
fn nearest(amount: i64, thousandths: i128, halves: i128) -> i64 {
    let exact = i128::from(amount) * thousandths;
    let unit = 100_000 * halves;
    let down = exact.div_euclid(unit);
    i64::try_from(if 2 * exact.rem_euclid(unit) >= unit { down + 1 } else { down }).expect("small")
}

proptest! {
    #[test]
    fn what_an_order_comes_to_is_the_sum_of_its_lines_and_each_rate_is_taxed_on_its_sum(draft in drafts()) {
        let totals = draft.totals().expect("the draft is right");
        let charges: Vec<(Option<GstRate>, Charge)> = draft.lines.iter().zip(&totals.lines)
            .flat_map(|(line, amounts)| [(line.rate, amounts.goods), (line.rate, amounts.shipping)])
            .collect();
        let sum = |of: fn(&Charge) -> i64| charges.iter().map(|(_, charge)| of(charge)).sum::<i64>();
        prop_assert_eq!(sum(|charge| charge.paid), totals.total.minor());
        prop_assert_eq!(sum(|charge| charge.taxes.total()), totals.tax.minor());
        let untaxed = totals.subtotal.minor() - totals.discount.minor() + totals.shipping.minor();
        let on_top = if draft.terms.prices_include_tax { 0 } else { totals.tax.minor() };
        prop_assert_eq!(totals.total.minor(), untaxed + on_top);

        for rate in draft.lines.iter().map(|line| line.rate) {
            let whole = charges.iter().filter(|(of, _)| *of == rate).fold(Charge::default(), |sum, (_, c)| sum.plus(c));
            let Some(rate) = rate else {
                prop_assert_eq!(whole.taxes.total(), 0);
                continue;
            };
            #[expect(clippy::cast_possible_truncation, reason = "a whole number below 100,001")]
            let thousandths = (rate.per_cent() * 1_000.0).round() as i128;
            let (half, full) = (nearest(whole.taxable(), thousandths, 2), nearest(whole.taxable(), thousandths, 1));
            let expected = match draft.terms.supply {
                Supply::IntraState => (half, half, 0),
                Supply::InterState => (0, 0, full),
            };
            prop_assert_eq!((whole.taxes.cgst, whole.taxes.sgst, whole.taxes.igst), expected);
            prop_assert!(whole.round_off.abs() <= 1, "{:?}", whole);
            prop_assert!(draft.terms.prices_include_tax || whole.round_off == 0);
        }
    }

    /// Returns are requested, some are rejected later, in any order; in the end all that is left comes back.
    #[test]
    fn the_refunds_of_any_returns_stay_within_what_was_paid_and_reach_it_part_by_part(
        draft in drafts(),
        shipping in select(vec![RefundShipping::Never, RefundShipping::FullReturn, RefundShipping::EachUnit]),
        steps in prop::collection::vec((any::<Index>(), 1..5_i64, prop::option::of(any::<Index>())), 0..30),
    ) {
        let totals = draft.totals().expect("the draft is right");
        let policy = ReturnPolicy { window_days: 30, timezone: chrono_tz::UTC, one_return_per_order: false, shipping };
        let mut books = Books::new(&draft, &totals.lines);
        let mut open = Vec::new();
        for (at, quantity, rejected) in steps {
            let id = books.item(at.index(draft.lines.len()));
            open.extend(books.ask(&[(id, quantity)], policy));
            prop_assert!(Books::refunded(&open) <= totals.total.minor());
            if let (Some(rejected), false) = (rejected, open.is_empty()) {
                open.swap_remove(rejected.index(open.len()));
            }
            books.count(&open);
        }
        let left = books.left();
        if !left.is_empty() {
            open.push(books.ask(&left, policy).expect("so much is left"));
            books.count(&open);
        }
        for (item, amounts) in books.0.items.iter().zip(&totals.lines) {
            prop_assert_eq!(item.returned_goods, amounts.goods);
            prop_assert!(item.returned_goods.taxes.cgst == item.returned_goods.taxes.sgst);
            match shipping {
                RefundShipping::Never => prop_assert_eq!(item.returned_shipping, Charge::default()),
                RefundShipping::EachUnit | RefundShipping::FullReturn => {
                    prop_assert_eq!(item.returned_shipping, amounts.shipping);
                }
            }
        }
        let shipped = totals.lines.iter().map(|line| line.shipping.paid).sum::<i64>();
        let kept = if shipping == RefundShipping::Never { shipped } else { 0 };
        prop_assert_eq!(Books::refunded(&open), totals.total.minor() - kept);
    }
}

/// An order and what has come back of it.
struct Books(OrderForReturn);

type Accepted = Vec<domain::ReturnLine>;

impl Books {
    fn new(draft: &OrderDraft, lines: &[LineAmounts]) -> Self {
        let item = |(place, (line, amounts)): (u128, (&DraftLine, &LineAmounts))| ReturnableItem {
            id: Uuid::from_u128(place),
            quantity: line.quantity.try_into().expect("few"),
            goods: amounts.goods,
            shipping: amounts.shipping,
            given_back: Part::default(),
            returned_quantity: 0,
            returned_goods: Charge::default(),
            returned_shipping: Charge::default(),
            kept: Part::default(),
            rejected_quantity: 0,
            missing_quantity: 0,
        };
        let items = (1..).zip(draft.lines.iter().zip(lines)).map(item).collect();
        let delivered_at = Some(chrono::DateTime::UNIX_EPOCH);
        Self(OrderForReturn { state: OrderState::Delivered, delivered_at, existing_returns: 0, missed_at: None, items })
    }

    fn item(&self, place: usize) -> Uuid {
        self.0.items[place].id
    }

    fn left(&self) -> Vec<(Uuid, i64)> {
        let left = |item: &ReturnableItem| (item.id, i64::from(item.quantity - item.returned_quantity));
        self.0.items.iter().map(left).filter(|(_, left)| *left > 0).collect()
    }

    fn ask(&self, items: &[(Uuid, i64)], policy: ReturnPolicy) -> Option<Accepted> {
        let wanted: Vec<_> =
            items.iter().map(|(id, quantity)| RequestedItem { order_item_id: *id, quantity: *quantity }).collect();
        decide_return(&self.0, &wanted, &[], &policy, chrono::DateTime::UNIX_EPOCH).ok()
    }

    fn refunded(open: &[Accepted]) -> i64 {
        open.iter().flatten().map(domain::ReturnLine::refund).sum()
    }

    fn count(&mut self, open: &[Accepted]) {
        for item in &mut self.0.items {
            let own = || open.iter().flatten().filter(|line| line.order_item_id == item.id);
            item.returned_quantity = own().map(|line| line.quantity).sum();
            item.returned_goods = own().fold(Charge::default(), |sum, line| sum.plus(&line.goods));
            item.returned_shipping = own().fold(Charge::default(), |sum, line| sum.plus(&line.shipping));
        }
    }
}
