//! What an order costs, and every way in which a draft can be wrong.

use domain::{DraftLine, LineAmounts, MAX_LINES, MAX_MINOR, MAX_QUANTITY, Money, OrderDraft, Supply, TaxTerms};
use proptest::prelude::*;

fn draft(lines: &[(i64, i64)], discount_minor: i64, shipping_minor: i64) -> OrderDraft {
    let lines =
        lines.iter().map(|(quantity, price)| DraftLine { quantity: *quantity, unit_price_minor: *price, rate: None });
    let terms = TaxTerms { supply: Supply::IntraState, prices_include_tax: true };
    OrderDraft { lines: lines.collect(), discount_minor, shipping_minor, terms }
}

fn wrong_fields(draft: &OrderDraft) -> Vec<String> {
    draft.totals().expect_err("the draft is wrong").into_iter().map(|problem| problem.field).collect()
}

#[test]
fn an_order_is_priced_with_its_discount_spread_over_the_lines() {
    let totals = draft(&[(1, 15_000), (2, 3_000)], 4_200, 500).totals().expect("the draft is right");
    let amounts = [totals.subtotal, totals.discount, totals.shipping, totals.total].map(Money::minor);
    assert_eq!(amounts, [21_000, 4_200, 500, 17_300]);
    let amounts = |line: &LineAmounts| [line.gross.minor(), line.discount.minor(), line.goods.paid, line.shipping.paid];
    let lines: Vec<_> = totals.lines.iter().map(amounts).collect();
    assert_eq!(lines, [[15_000, 3_000, 12_000, 357], [6_000, 1_200, 4_800, 143]]);
}

#[test]
fn the_shipping_of_an_order_that_is_given_away_is_carried_all_the_same() {
    let shipping = |draft: OrderDraft| {
        draft.totals().expect("the draft is right").lines.iter().map(|line| line.shipping.paid).collect::<Vec<_>>()
    };
    assert_eq!(shipping(draft(&[(1, 100), (1, 300)], 400, 8)), [2, 6], "by what it would have cost");
    assert_eq!(shipping(draft(&[(1, 0), (3, 0)], 0, 8)), [2, 6], "by the number of units");
}

#[test]
fn the_limits_are_those_of_the_requirements_and_are_themselves_allowed() {
    assert_eq!((MAX_LINES, MAX_QUANTITY, MAX_MINOR), (500, 100_000, 1_000_000_000_000));
    assert!(draft(&[(1, 0)], 0, 0).totals().is_ok(), "a free item");
    assert!(draft(&[(1, 100)], 100, 0).totals().is_ok(), "a discount of everything");
    assert!(draft(&[(1, MAX_MINOR)], 0, 0).totals().is_ok(), "the dearest item");
    assert!(draft(&[(1, MAX_MINOR)], 1, 1).totals().is_ok(), "the discount counts before the shipping");
    assert!(draft(&[(MAX_QUANTITY, 1)], 0, 0).totals().is_ok(), "the largest quantity");
    assert!(draft(&[(1, 1); MAX_LINES], 0, 0).totals().is_ok(), "the longest order");
}

#[test]
fn each_mistake_is_reported_at_its_field() {
    let cases: [(&str, OrderDraft, &[&str]); 14] = [
        ("no items", draft(&[], 0, 0), &["items"]),
        ("too many items", draft(&[(1, 1); MAX_LINES + 1], 0, 0), &["items"]),
        ("no quantity", draft(&[(0, 1)], 0, 0), &["items[0].quantity"]),
        ("negative quantity", draft(&[(1, 1), (-1, 1)], 0, 0), &["items[1].quantity"]),
        ("too large a quantity", draft(&[(MAX_QUANTITY + 1, 1)], 0, 0), &["items[0].quantity"]),
        ("negative price", draft(&[(1, -1)], 0, 0), &["items[0].unit_price_minor"]),
        ("price beyond the largest amount", draft(&[(1, MAX_MINOR + 1)], 0, 0), &["items[0].unit_price_minor"]),
        ("a line that overflows", draft(&[(2, MAX_MINOR)], 0, 0), &["items[0].unit_price_minor"]),
        ("items that overflow together", draft(&[(1, MAX_MINOR), (1, 1)], 0, 0), &["items"]),
        ("negative discount", draft(&[(1, 1)], -1, 0), &["discount_minor"]),
        ("more discount than items", draft(&[(1, 1)], 2, 0), &["discount_minor"]),
        ("negative shipping", draft(&[(1, 1)], 0, -1), &["shipping_minor"]),
        ("shipping that overflows the total", draft(&[(1, MAX_MINOR)], 0, 1), &["shipping_minor"]),
        (
            "several at once",
            draft(&[(0, -1), (1, 1), (i64::MAX, i64::MAX)], i64::MIN, i64::MAX),
            &[
                "items[0].quantity",
                "items[0].unit_price_minor",
                "items[2].quantity",
                "items[2].unit_price_minor",
                "discount_minor",
                "shipping_minor",
            ],
        ),
    ];
    for (what, draft, expected) in cases {
        assert_eq!(wrong_fields(&draft), expected, "{what}");
    }
}

#[test]
fn a_problem_reads_as_a_sentence() {
    let problems = draft(&[(0, 1)], 0, 0).totals().expect_err("no quantity");
    assert_eq!(problems[0].to_string(), "items[0].quantity must be between 1 and 100000");
    let problems = draft(&[(1, 100)], 101, 0).totals().expect_err("too much discount");
    assert_eq!(problems[0].to_string(), "discount_minor must be at most what the items cost together, 100");
}

#[test]
fn a_huge_wrong_order_gets_a_bounded_answer() {
    assert_eq!(wrong_fields(&draft(&vec![(0, 1); 10 * MAX_LINES], 0, 0)).len(), 1 + MAX_LINES);
}

proptest! {
    #[test]
    fn the_lines_of_an_order_sum_to_its_total(
        lines in prop::collection::vec((1..=MAX_QUANTITY, prop_oneof![0..100_i64, 0..150_000_i64]), 1..60),
        discounted in 0.0..=1.0_f64,
        shipping in 0..1_000_000_i64,
    ) {
        let subtotal: i64 = lines.iter().map(|(quantity, price)| quantity * price).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "any part will do")]
        let discount = ((subtotal as f64 * discounted) as i64).min(subtotal);
        let totals = draft(&lines, discount, shipping).totals().expect("the draft is right");
        let sum = |part: fn(&LineAmounts) -> i64| totals.lines.iter().map(part).sum::<i64>();
        prop_assert_eq!(totals.subtotal.minor(), subtotal);
        prop_assert_eq!(sum(|l| l.gross.minor()), subtotal);
        prop_assert_eq!(sum(|l| l.discount.minor()), discount);
        prop_assert_eq!(sum(|l| l.shipping.paid), shipping);
        prop_assert_eq!(sum(|l| l.goods.paid) + shipping, totals.total.minor());
        prop_assert!(totals.lines.iter().all(|l| l.goods.paid == l.gross.minor() - l.discount.minor()));
    }

    /// Exact arithmetic decides what must come out for numbers of any size; nothing may panic or wrap.
    #[test]
    fn a_draft_is_priced_exactly_when_every_amount_is_in_range(
        lines in prop::collection::vec(
            (prop_oneof![1..=MAX_QUANTITY, any::<i64>()], prop_oneof![0..=MAX_MINOR / 4, any::<i64>()]), 0..4),
        discount in prop_oneof![0..1_000_i64, any::<i64>()],
        shipping in prop_oneof![0..1_000_i64, any::<i64>()],
    ) {
        let largest = i128::from(MAX_MINOR);
        let subtotal: Option<i128> = lines.iter().try_fold(0, |sum: i128, (quantity, price)| {
            sum.checked_add(i128::from(*quantity) * i128::from(*price))
        });
        let right = !lines.is_empty()
            && lines.iter().all(|(quantity, price)| (1..=MAX_QUANTITY).contains(quantity) && *price >= 0)
            && subtotal.is_some_and(|subtotal| {
                let (discount, shipping) = (i128::from(discount), i128::from(shipping));
                subtotal <= largest && (0..=subtotal).contains(&discount)
                    && shipping >= 0 && subtotal - discount + shipping <= largest
            });
        let outcome = draft(&lines, discount, shipping).totals();
        prop_assert_eq!(outcome.is_ok(), right);
        if let Err(problems) = outcome {
            prop_assert!(!problems.is_empty());
        }
    }
}
