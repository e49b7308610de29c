//! The lines of an e-invoice, and their totals.

use contracts::{Hsn, OrderItemDocument, RefundItemDocument, ReturnItemDocument, TaxDocument};
use serde_json::{Map, Value, json};

use super::party::put;
use crate::api::rupees::rupees;

/// Goods are counted by the piece.
const UNIT: &str = "NOS";

/// A line of goods with its share of the shipping.
#[derive(Debug)]
pub(super) struct Line<'a> {
    title: &'a str,
    hsn: Option<&'a Hsn>,
    pub(super) gst_rate: Option<f64>,
    /// 0: money was given back, and no goods came back.
    quantity: i32,
    pub(super) tax: TaxDocument,
}

impl<'a> From<&'a OrderItemDocument> for Line<'a> {
    fn from(item: &'a OrderItemDocument) -> Self {
        let tax = together(item.tax, item.shipping_tax);
        Self { title: &item.title, hsn: item.hsn.as_ref(), gst_rate: item.gst_rate, quantity: item.quantity, tax }
    }
}

impl<'a> From<&'a ReturnItemDocument> for Line<'a> {
    fn from(item: &'a ReturnItemDocument) -> Self {
        let (quantity, tax) = (item.refunded_quantity(), together(item.tax, item.shipping_tax));
        Self { title: &item.title, hsn: item.hsn.as_ref(), gst_rate: item.gst_rate, quantity, tax }
    }
}

impl<'a> From<&'a RefundItemDocument> for Line<'a> {
    fn from(item: &'a RefundItemDocument) -> Self {
        let tax = together(item.tax, item.shipping_tax);
        Self { title: &item.title, hsn: item.hsn.as_ref(), gst_rate: item.gst_rate, quantity: 0, tax }
    }
}

fn together(goods: Option<TaxDocument>, shipping: Option<TaxDocument>) -> TaxDocument {
    goods.unwrap_or_default().plus(&shipping.unwrap_or_default())
}

/// The price of a unit is the taxable value by the unit, shipping included. Its three decimals do not always reach that value, so it is
/// rounded up, and the difference is a discount.
pub(super) fn item(number: usize, line: &Line<'_>) -> Value {
    let tax = &line.tax;
    let quantity = i64::from(line.quantity);
    let price_in_tenths =
        if quantity == 0 { tax.taxable_minor * 10 } else { (tax.taxable_minor * 10).div_euclid(quantity) };
    let exact = price_in_tenths * quantity.max(1) == tax.taxable_minor * 10;
    let price_in_tenths = price_in_tenths + i64::from(!exact);
    let gross = if exact { tax.taxable_minor } else { (price_in_tenths * quantity + 5).div_euclid(10) };
    let title =
        if line.title.trim().chars().count() < 3 { format!("{} (goods)", line.title) } else { line.title.to_owned() };
    let mut item = Map::new();
    put(&mut item, "PrdDesc", Some(&title), 3, 300);
    let members = json!({
        "SlNo": number.to_string(),
        "IsServc": "N",
        "Qty": line.quantity,
        "Unit": UNIT,
        "UnitPrice": thousandths(price_in_tenths),
        "TotAmt": rupees(gross),
        "Discount": rupees(gross - tax.taxable_minor),
        "AssAmt": rupees(tax.taxable_minor),
        "GstRt": line.gst_rate.unwrap_or_default(),
        "IgstAmt": rupees(tax.igst_minor),
        "CgstAmt": rupees(tax.cgst_minor),
        "SgstAmt": rupees(tax.sgst_minor),
        "TotItemVal": rupees(tax.taxable_minor + tax.igst_minor + tax.cgst_minor + tax.sgst_minor),
    });
    item.extend(members.as_object().cloned().into_iter().flatten());
    if let Some(hsn) = line.hsn {
        item.insert("HsnCd".to_owned(), json!(hsn.as_str()));
    }
    Value::Object(item)
}

pub(super) fn totals(lines: &[Line<'_>], total_minor: i64) -> Value {
    let sum = |of: fn(&TaxDocument) -> i64| rupees(lines.iter().map(|line| of(&line.tax)).sum());
    json!({
        "AssVal": sum(|tax| tax.taxable_minor),
        "CgstVal": sum(|tax| tax.cgst_minor),
        "SgstVal": sum(|tax| tax.sgst_minor),
        "IgstVal": sum(|tax| tax.igst_minor),
        "RndOffAmt": sum(|tax| tax.round_off_minor),
        "TotInvVal": rupees(total_minor),
    })
}

#[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53 paise")]
fn thousandths(tenths_of_minor: i64) -> Value {
    json!(tenths_of_minor as f64 / 1_000.0)
}
