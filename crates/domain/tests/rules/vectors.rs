//! Figures from elsewhere, each with its source in `tests/vectors/money.json`. What that file has on
//! invoices and amounts in words is for `workers`.

use domain::{DraftLine, OrderDraft, Returned, UnitShares, allocate};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../vectors/money.json")).expect("the vectors are JSON");
    all[name].clone()
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().filter(|values| !values.is_empty()).expect("a list with something in it")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a whole number")
}

fn minor(rupees: &str) -> i64 {
    rupees.replace('.', "").parse().expect("rupees with two decimals")
}

#[test]
fn amounts_are_prorated_as_vendure_does() {
    let vectors = vectors("prorate_largest_remainder");
    for vector in array(&vectors) {
        let weights: Vec<_> = array(&vector["weights"]).iter().map(number).collect();
        let shares: Vec<_> = array(&vector["shares"]).iter().map(number).collect();
        assert_eq!(allocate(number(&vector["amount_minor"]), &weights), shares, "{vector}");
    }
}

/// The notes of these vectors are prose; what they set up is written out beside each.
#[test]
fn refunds_are_exact_where_other_shops_were_not() {
    let vectors = vectors("refund_exactness");
    let [discounted, taxed, summed, split] = array(&vectors).as_slice() else { panic!("four vectors") };

    // 150 + 60, 20 % off the order, refund of the 150.
    let lines = [15_000, 6_000].map(|unit_price_minor| DraftLine { quantity: 1, unit_price_minor });
    let draft = OrderDraft { lines: lines.to_vec(), discount_minor: 4_200, shipping_minor: 0 };
    let paid = draft.totals().expect("the draft is right").lines[0].paid.minor();
    assert_eq!(UnitShares::of(paid, 1).refund(Returned::default(), 1), Some(minor(text(&discounted["refund"]))));

    // 2 × 100 less 20, and 10 % tax on it, is 198.00 for two units.
    let refund = UnitShares::of(19_800, 2).refund(Returned::default(), 1);
    assert_eq!(refund, Some(minor(text(&taxed["refund"]))));

    // Lines of 68.33, 57.50, 85.00 and 68.33, invoiced at 334.99 with the tax on the sum.
    let refunds = allocate(33_499, &[6_833, 5_750, 8_500, 6_833]);
    assert_eq!(refunds, [8_200, 6_900, 10_200, 8_199], "{summed}");

    // One line paid 100000.00 for 3 units, returned one by one.
    let shares = UnitShares::of(10_000_000, 3);
    let mut returned = Returned::default();
    for expected in [3_333_333, 3_333_333, 3_333_334] {
        assert_eq!(shares.refund(returned, 1), Some(expected), "{split}");
        returned = Returned { quantity: returned.quantity + 1, amount: returned.amount + expected };
    }
}
