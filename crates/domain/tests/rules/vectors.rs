//! Figures from elsewhere, each with its source in `tests/vectors/money.json`. What that file has on
//! invoices and amounts in words is for `workers`.

use domain::{Charge, DraftLine, GstRate, OrderDraft, Returned, Supply, TaxTerms, Taxed, UnitShares, allocate, assess};
use serde_json::Value;

pub(crate) fn vectors(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../vectors/money.json")).expect("the vectors are JSON");
    all[name].clone()
}

pub(crate) fn array(value: &Value) -> &Vec<Value> {
    value.as_array().filter(|values| !values.is_empty()).expect("a list with something in it")
}

pub(crate) fn text(value: &Value) -> &str {
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

/// What is paid for the goods of each line (quantity, price), all at one rate, the tax on top.
fn goods_paid(lines: &[(i64, i64)], discount_minor: i64, rate: Option<GstRate>) -> Vec<i64> {
    let lines = lines.iter().map(|(quantity, price)| DraftLine { quantity: *quantity, unit_price_minor: *price, rate });
    let terms = TaxTerms { supply: Supply::InterState, prices_include_tax: false };
    let draft = OrderDraft { lines: lines.collect(), discount_minor, shipping_minor: 0, terms };
    draft.totals().expect("the draft is right").lines.iter().map(|line| line.goods.paid).collect()
}

/// The notes of these vectors are prose; what they set up is written out beside each.
#[test]
fn refunds_are_exact_where_other_shops_were_not() {
    let vectors = vectors("refund_exactness");
    let [discounted, taxed, summed, split] = array(&vectors).as_slice() else { panic!("four vectors") };

    // 150 + 60, 20 % off the order, refund of the 150.
    let paid = goods_paid(&[(1, 15_000), (1, 6_000)], 4_200, None);
    assert_eq!(UnitShares::of(paid[0], 1).refund(Returned::default(), 1), Some(minor(text(&discounted["refund"]))));

    // 2 × 100 less 20, and 10 % tax on it.
    let paid = goods_paid(&[(2, 10_000)], 2_000, GstRate::from_thousandths(10_000));
    let refund = UnitShares::of(paid[0], 2).refund(Returned::default(), 1);
    assert_eq!(refund, Some(minor(text(&taxed["refund"]))));

    // Lines of 68.33, 57.50, 85.00 and 68.33, and 20 % tax on their sum.
    let lines = [(1, 6_833), (1, 5_750), (1, 8_500), (1, 6_833)];
    let refunds = goods_paid(&lines, 0, GstRate::from_thousandths(20_000));
    assert_eq!(refunds, [8_200, 6_900, 10_200, 8_199], "{summed}");

    // One line paid 100000.00 for 3 units, returned one by one.
    let shares = UnitShares::of(10_000_000, 3);
    let mut returned = Returned::default();
    for expected in [3_333_333, 3_333_333, 3_333_334] {
        assert_eq!(shares.refund(returned, 1), Some(expected), "{split}");
        returned = Returned { quantity: returned.quantity + 1, amount: returned.amount + expected };
    }
}

fn terms(vector: &Value, prices_include_tax: bool) -> TaxTerms {
    let supply = match text(&vector["supply"]) {
        "intra" => Supply::IntraState,
        "inter" => Supply::InterState,
        other => panic!("{other}"),
    };
    TaxTerms { supply, prices_include_tax }
}

fn taxed(vector: &Value, amount: &str, prices_include_tax: bool) -> Charge {
    let rate = Some(GstRate::from_per_cent(vector["rate"].as_f64().expect("a number")).expect("a rate"));
    assess(&[Taxed { net: minor(text(&vector[amount])), rate }], terms(vector, prices_include_tax))[0]
}

#[test]
fn tax_comes_on_top_as_india_compliance_and_odoo_have_it() {
    let vectors = vectors("gst_lines");
    for vector in array(&vectors) {
        let charge = taxed(vector, "taxable", false);
        let taxes = [charge.taxes.cgst, charge.taxes.sgst, charge.taxes.igst];
        assert_eq!(taxes, ["cgst", "sgst", "igst"].map(|tax| minor(text(&vector[tax]))), "{vector}");
        assert_eq!((charge.taxable(), charge.round_off), (minor(text(&vector["taxable"])), 0), "{vector}");
        if let Some(total) = vector["total"].as_str() {
            assert_eq!(charge.paid, minor(total), "{vector}");
        }
    }
}

#[test]
fn tax_is_found_in_prices_that_contain_it_and_what_has_no_exact_split_is_shown() {
    let vectors = vectors("tax_inclusive");
    let [exact, inexact] = array(&vectors).as_slice() else { panic!("two vectors") };
    let charge = taxed(exact, "gross", true);
    let parts = [charge.taxable(), charge.taxes.cgst, charge.taxes.sgst, charge.round_off];
    assert_eq!(parts, ["taxable", "cgst", "sgst", "round_off"].map(|part| minor(text(&exact[part]))), "{exact}");

    // 846.61 with its taxes is 998.99, and nearer to 999.00 than the 999.02 of 846.62.
    let charge = taxed(inexact, "gross", true);
    let parts = [charge.paid, charge.taxable(), charge.taxes.cgst, charge.taxes.sgst, charge.round_off];
    assert_eq!(parts, [99_900, 84_661, 7_619, 7_619, 1], "{inexact}");
}
