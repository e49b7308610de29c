//! What an order would cost. Nothing is written.

use chrono::{DateTime, Utc};
use contracts::{OrderDocument, OrderItemDocument, TaxDocument, TaxTermsDocument};
use serde::Serialize;
use utoipa::ToSchema;

/// The price of an order that is not placed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Quote {
    /// ISO 4217; amounts are in its minor unit.
    pub(crate) currency: String,
    pub(crate) items: Vec<QuoteItem>,
    /// Sum of quantity × unit price.
    pub(crate) subtotal_minor: i64,
    pub(crate) discount_minor: i64,
    pub(crate) shipping_minor: i64,
    /// The GST in the total.
    pub(crate) tax_minor: i64,
    /// What the customer would pay.
    pub(crate) total_minor: i64,
    /// Absent when no GST is charged, because the supplier is not registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tax_terms: Option<TaxTermsDocument>,
    /// Rates of GST are those of this time.
    pub(crate) quoted_at: DateTime<Utc>,
}

/// One line.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuoteItem {
    /// 1..500, in the order of the request.
    pub(crate) line_no: i32,
    pub(crate) sku: String,
    pub(crate) title: String,
    pub(crate) quantity: i32,
    pub(crate) unit_price_minor: i64,
    /// Harmonised System of Nomenclature code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hsn: Option<String>,
    /// Per cent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gst_rate: Option<f64>,
    /// The line's share of the discount.
    pub(crate) discount_minor: i64,
    /// The price of the goods, with the tax.
    pub(crate) paid_minor: i64,
    /// The tax in `paid_minor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tax: Option<TaxDocument>,
    /// The line's share of the shipping, with the tax.
    pub(crate) shipping_minor: i64,
    /// The tax in `shipping_minor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shipping_tax: Option<TaxDocument>,
}

impl From<OrderDocument> for Quote {
    fn from(order: OrderDocument) -> Self {
        Self {
            currency: order.currency,
            items: order.items.into_iter().map(QuoteItem::from).collect(),
            subtotal_minor: order.subtotal_minor,
            discount_minor: order.discount_minor,
            shipping_minor: order.shipping_minor,
            tax_minor: order.tax_minor,
            total_minor: order.total_minor,
            tax_terms: order.tax_terms,
            quoted_at: order.created_at,
        }
    }
}

impl From<OrderItemDocument> for QuoteItem {
    fn from(item: OrderItemDocument) -> Self {
        Self {
            line_no: item.line_no,
            sku: item.sku.as_str().to_owned(),
            title: item.title,
            quantity: item.quantity,
            unit_price_minor: item.unit_price_minor,
            hsn: item.hsn.map(|hsn| hsn.as_str().to_owned()),
            gst_rate: item.gst_rate,
            discount_minor: item.discount_minor,
            paid_minor: item.paid_minor,
            tax: item.tax,
            shipping_minor: item.shipping_minor,
            shipping_tax: item.shipping_tax,
        }
    }
}
