//! Amounts: arithmetic, allocation, the split of a line over its units.

use domain::{MAX_MINOR, Money, Returned, UnitShares, allocate};
use proptest::prelude::*;

#[test]
fn money_never_leaves_its_range() {
    let max = Money::new(MAX_MINOR).expect("the largest amount");
    let one = Money::new(1).expect("a paisa");
    assert_eq!((Money::new(-1), Money::new(MAX_MINOR + 1), Money::new(i64::MIN)), (None, None, None));
    assert_eq!(max.checked_add(one), None);
    assert_eq!(Money::ZERO.checked_sub(one), None);
    assert_eq!(max.checked_sub(one).map(Money::minor), Some(MAX_MINOR - 1));
    assert_eq!(one.checked_mul(MAX_MINOR), Some(max));
    assert_eq!(one.checked_mul(MAX_MINOR + 1), None);
    assert_eq!(one.checked_mul(-1), None);
    assert_eq!(max.checked_mul(i64::MAX), None);
    assert_eq!(Money::sum([]), Some(Money::ZERO));
    assert_eq!(Money::sum([one, one]).map(Money::minor), Some(2));
    assert_eq!(Money::sum([max, one]), None);
}

#[test]
fn an_equal_remainder_goes_to_the_earlier_line() {
    assert_eq!(allocate(1, &[1, 1, 1]), [1, 0, 0]);
    assert_eq!(allocate(2, &[0, 1, 1, 1]), [0, 1, 1, 0]);
    assert_eq!(allocate(0, &[0, 0]), [0, 0]);
    assert_eq!(allocate(0, &[]), [0_i64; 0]);
}

#[test]
#[should_panic(expected = "an amount needs a weight to carry it")]
fn an_amount_is_never_dropped_for_want_of_a_weight() {
    allocate(1, &[0, 0]);
}

#[test]
#[should_panic(expected = "an amount to allocate is not negative")]
fn a_negative_amount_is_not_allocated() {
    allocate(-1, &[1]);
}

#[test]
#[should_panic(expected = "a weight is not negative")]
fn a_negative_weight_is_not_allocated() {
    allocate(1, &[2, -1]);
}

#[test]
fn units_that_come_back_from_a_rejected_return_bring_their_paise_along() {
    // 3 units for 5 paise: 1, 2 and 2.
    let shares = UnitShares::of(5, 3);
    assert_eq!(shares, UnitShares { base: 1, extra: 2, units: 3 });
    let first = shares.refund(Returned::default(), 1).expect("three are left");
    let second = shares.refund(Returned { quantity: 1, amount: first }, 1).expect("two are left");
    assert_eq!((first, second), (1, 2));
    // The first is rejected: its unit is back, the second keeps its extra paisa.
    let after = Returned { quantity: 1, amount: second };
    assert_eq!(shares.refund(after, 1), Some(1));
    assert_eq!(shares.refund(after, 2), Some(3));
    assert_eq!(shares.refund(after, 3), None);
    assert_eq!(shares.refund(Returned { quantity: 4, amount: 5 }, 0), None);
}

#[test]
fn a_line_that_cost_nothing_refunds_nothing() {
    let shares = UnitShares::of(0, 2);
    assert_eq!(shares.refund(Returned::default(), 2), Some(0));
    assert_eq!(shares.refund(Returned { quantity: 2, amount: 0 }, 1), None);
}

#[test]
fn what_was_given_back_without_a_return_is_not_refunded_again() {
    // 3 units for 100 paise, of which 10 were given back: the units refund what is left, 30 each.
    let shares = UnitShares::of(100, 3);
    let refund = |quantity, amount, units| shares.refund(Returned { quantity, amount }, units);
    assert_eq!((refund(0, 10, 1), refund(1, 40, 1), refund(2, 70, 1)), (Some(30), Some(30), Some(30)));
    assert_eq!(refund(3, 100, 0), Some(0));
    // Everything was given back.
    assert_eq!(refund(1, 100, 2), Some(0));
}

#[test]
#[should_panic(expected = "a line has units")]
fn a_line_without_units_has_no_split() {
    UnitShares::of(1, 0);
}

#[test]
fn what_is_below_zero_is_split_to_the_paisa_too() {
    // A round-off of −2 paise over 3 units.
    let shares = UnitShares::of(-2, 3);
    assert_eq!(shares, UnitShares { base: -1, extra: 1, units: 3 });
    assert_eq!(shares.refund(Returned::default(), 2), Some(-2));
    assert_eq!(shares.refund(Returned { quantity: 2, amount: -2 }, 1), Some(0));
}

/// Weights of every size, zeroes and equal ones among them.
fn weights() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(prop_oneof![Just(0), 0..5_i64, 0..100_000_i64, 0..=i64::MAX], 1..40)
}

proptest! {
    #[test]
    fn shares_are_the_exact_proportions_within_one_and_sum_to_the_amount(
        amount in prop_oneof![0..1_000_i64, 0..=MAX_MINOR, 0..=i64::MAX],
        weights in weights(),
    ) {
        let total: i128 = weights.iter().map(|w| i128::from(*w)).sum();
        prop_assume!(total > 0);
        let shares = allocate(amount, &weights);
        prop_assert_eq!(shares.len(), weights.len());
        prop_assert_eq!(shares.iter().map(|s| i128::from(*s)).sum::<i128>(), i128::from(amount));
        for (share, weight) in shares.iter().zip(&weights) {
            let exact = i128::from(amount) * i128::from(*weight);
            let (down, up) = (exact / total, exact / total + i128::from(exact % total != 0));
            prop_assert!((down..=up).contains(&i128::from(*share)), "{} of {}", share, weight);
            prop_assert!(i128::from(amount) > total || share <= weight, "{} of {}", share, weight);
        }
        for (a, b) in weights.iter().zip(&shares).flat_map(|a| weights.iter().zip(&shares).map(move |b| (a, b))) {
            prop_assert!(a.0 <= b.0 || a.1 >= b.1, "the greater weight {:?} has less than {:?}", a, b);
        }
    }

    /// Returns are requested, some are rejected later, in any order.
    #[test]
    fn refunds_stay_within_what_was_paid_and_reach_it_exactly(
        paid in prop_oneof![-50..50_i64, 0..=MAX_MINOR],
        ordered in 1..40_u32,
        steps in prop::collection::vec((1..8_u32, prop::option::of(any::<prop::sample::Index>())), 0..40),
    ) {
        let shares = UnitShares::of(paid, ordered);
        let mut open: Vec<Returned> = Vec::new();
        let sum = |open: &[Returned]| Returned {
            quantity: open.iter().map(|r| r.quantity).sum(),
            amount: open.iter().map(|r| r.amount).sum(),
        };
        for (quantity, rejected) in steps {
            let before = sum(&open);
            match shares.refund(before, quantity) {
                Some(amount) => {
                    let floor = i64::from(quantity) * paid.div_euclid(i64::from(ordered));
                    prop_assert!((floor..=floor + i64::from(quantity)).contains(&amount));
                    open.push(Returned { quantity, amount });
                }
                None => prop_assert!(before.quantity + quantity > ordered),
            }
            let after = sum(&open);
            prop_assert!(after.quantity <= ordered && (paid < 0 || after.amount <= paid), "{:?}", after);
            prop_assert!(after.quantity < ordered || after.amount == paid, "{:?}", after);
            if let (Some(rejected), false) = (rejected, open.is_empty()) {
                open.swap_remove(rejected.index(open.len()));
            }
        }
        let left = ordered - sum(&open).quantity;
        let rest = shares.refund(sum(&open), left);
        prop_assert_eq!(rest.map(|rest| sum(&open).amount + rest), Some(paid));
    }
}
