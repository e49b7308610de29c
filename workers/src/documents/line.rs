//! One line of goods on a document, sold, returned or lowered in price.

use contracts::{Hsn, OrderItemDocument, RefundItemDocument, ReturnItemDocument, Sku, TaxDocument};

/// A line of goods. Amounts are in minor units of the document's currency.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) sku: &'a Sku,
    pub(super) title: &'a str,
    pub(super) hsn: Option<&'a Hsn>,
    pub(super) rate: Option<f64>,
    /// 0: no goods came back, and money was given back for them.
    pub(super) quantity: i32,
    /// Of one unit; only on lines that are sold.
    pub(super) price: Option<i64>,
    pub(super) discount: i64,
    /// Paid or refunded for the goods, without shipping.
    pub(super) goods: i64,
    pub(super) tax: Option<TaxDocument>,
    pub(super) shipping: i64,
    pub(super) shipping_tax: Option<TaxDocument>,
}

impl<'a> From<&'a OrderItemDocument> for Line<'a> {
    fn from(item: &'a OrderItemDocument) -> Self {
        Self {
            sku: &item.sku,
            title: &item.title,
            hsn: item.hsn.as_ref(),
            rate: item.gst_rate,
            quantity: item.quantity,
            price: Some(item.unit_price_minor),
            discount: item.discount_minor,
            goods: item.paid_minor,
            tax: item.tax,
            shipping: item.shipping_minor,
            shipping_tax: item.shipping_tax,
        }
    }
}

impl<'a> From<&'a ReturnItemDocument> for Line<'a> {
    fn from(item: &'a ReturnItemDocument) -> Self {
        Self {
            sku: &item.sku,
            title: &item.title,
            hsn: item.hsn.as_ref(),
            rate: item.gst_rate,
            quantity: item.refunded_quantity(),
            price: None,
            discount: 0,
            goods: item.amount_minor - item.shipping_minor,
            tax: item.tax,
            shipping: item.shipping_minor,
            shipping_tax: item.shipping_tax,
        }
    }
}

impl<'a> From<&'a RefundItemDocument> for Line<'a> {
    fn from(item: &'a RefundItemDocument) -> Self {
        Self {
            sku: &item.sku,
            title: &item.title,
            hsn: item.hsn.as_ref(),
            rate: item.gst_rate,
            quantity: 0,
            price: None,
            discount: 0,
            goods: item.amount_minor - item.shipping_minor,
            tax: item.tax,
            shipping: item.shipping_minor,
            shipping_tax: item.shipping_tax,
        }
    }
}
