//! An order.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::OrderState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::address::Address;
use super::e_invoice::EInvoiceDocument;
use super::invoice::InvoiceDocument;
use super::refund::RefundDocument;
use super::returns::ReturnDocument;
use super::tax::{TaxDocument, TaxTermsDocument};
use crate::values::{CustomerId, Hsn, OrderNumber, Sku};
use crate::{Email, OrderAction, Transition, named, schema};

/// An order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrderDocument {
    /// `UUIDv7`.
    pub id: Uuid,
    #[schema(value_type = String, max_length = 32)]
    pub order_number: OrderNumber,
    #[serde(with = "named")]
    #[schema(value_type = schema::OrderState)]
    pub state: OrderState,
    /// 1 at creation, one more with every transition; also the `ETag`.
    pub version: i32,
    #[schema(value_type = String, max_length = 64)]
    pub customer_id: CustomerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 254)]
    pub customer_email: Option<Email>,
    /// ISO 4217; amounts are in its minor unit.
    pub currency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<Address>,
    pub items: Vec<OrderItemDocument>,
    /// Sum of quantity × unit price.
    pub subtotal_minor: i64,
    pub discount_minor: i64,
    pub shipping_minor: i64,
    /// The GST in the total.
    #[serde(default)]
    pub tax_minor: i64,
    /// subtotal − discount + shipping, plus the tax where prices do not include it. The sum of `paid_minor` and
    /// `shipping_minor` of all items.
    pub total_minor: i64,
    /// Absent when no GST is charged, because the supplier is not registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_terms: Option<TaxTermsDocument>,
    /// What the invoice shows of items whose value has changed since the order was placed: money was given back before the shipment,
    /// or another rate of GST has come into force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invoice_lines: Vec<InvoiceLineDocument>,
    /// What the invoice registration portal answered, once that is entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e_invoice: Option<EInvoiceDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_transaction_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<String>,
    /// The shop's own data about the order. Customers do not see it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The shop's own words for the order. Customers do not see them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipped_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<DateTime<Utc>>,
    /// When the customer's personal data was erased. From then on nothing changes the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<DateTime<Utc>>,
    /// Only from the query service, once the PDF is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice: Option<InvoiceDocument>,
    /// Only from the query service, once there are any: oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<RefundDocument>,
    /// Only from the query service, once there are any: oldest first, the rejected ones among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returns: Vec<ReturnDocument>,
    /// What the caller may do next with the order. Only from the query service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_actions: Vec<OrderAction>,
    /// All state changes, oldest first. Only from the query service, with `expand=history`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Transition>,
}

/// What the invoice shows of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InvoiceLineDocument {
    /// `items[].id` of the order.
    pub order_item_id: Uuid,
    /// Per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gst_rate: Option<f64>,
    /// The price of the goods, with the tax.
    pub paid_minor: i64,
    /// The tax in `paid_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxDocument>,
    /// The line's share of the shipping, with the tax.
    #[serde(default)]
    pub shipping_minor: i64,
    /// The tax in `shipping_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_tax: Option<TaxDocument>,
}

impl OrderDocument {
    /// As commands answer with it: without what only the query service adds.
    pub fn as_answered(self) -> Self {
        let items =
            self.items.into_iter().map(|item| OrderItemDocument { returnable_quantity: None, ..item }).collect();
        Self {
            items,
            invoice: None,
            refunds: Vec::new(),
            returns: Vec::new(),
            allowed_actions: Vec::new(),
            history: Vec::new(),
            ..self
        }
    }

    /// The buyer's GSTIN or UIN, if the buyer is registered.
    pub fn recipient_gstin(&self) -> Option<&str> {
        let addresses = [&self.billing_address, &self.shipping_address];
        addresses.into_iter().flatten().find_map(|address| address.gstin.as_deref())
    }

    /// Whether its documents are of a kind that is registered at the portal: a supply to a registered buyer, or an export.
    pub fn is_for_the_portal(&self) -> bool {
        self.tax_terms.as_ref().is_some_and(|terms| terms.is_export() || self.recipient_gstin().is_some())
    }

    /// An item as the invoice shows it.
    pub fn invoice_line(&self, item: &OrderItemDocument) -> InvoiceLineDocument {
        let known = self.invoice_lines.iter().find(|line| line.order_item_id == item.id);
        known.cloned().unwrap_or(InvoiceLineDocument {
            order_item_id: item.id,
            gst_rate: item.gst_rate,
            paid_minor: item.paid_minor,
            tax: item.tax,
            shipping_minor: item.shipping_minor,
            shipping_tax: item.shipping_tax,
        })
    }

    /// The order as its invoice shows it. What a line is worth less is a discount.
    #[must_use]
    pub fn invoiced(mut self) -> Self {
        if self.invoice_lines.is_empty() {
            return self;
        }
        // What a price says: with the tax or without it, as the order's terms are.
        let adds_tax = self.tax_terms.as_ref().is_some_and(|terms| !terms.prices_include_tax);
        let price =
            |paid: i64, tax: Option<TaxDocument>| tax.filter(|_| adds_tax).map_or(paid, |tax| tax.taxable_minor);
        let lines: Vec<_> = self.items.iter().map(|item| self.invoice_line(item)).collect();
        for (item, line) in self.items.iter_mut().zip(lines) {
            let less = price(item.paid_minor, item.tax) - price(line.paid_minor, line.tax);
            item.discount_minor += less;
            self.discount_minor += less;
            self.shipping_minor -=
                price(item.shipping_minor, item.shipping_tax) - price(line.shipping_minor, line.shipping_tax);
            item.gst_rate = line.gst_rate;
            item.paid_minor = line.paid_minor;
            item.tax = line.tax;
            item.shipping_minor = line.shipping_minor;
            item.shipping_tax = line.shipping_tax;
        }
        let taxes = self.items.iter().flat_map(|item| [item.tax, item.shipping_tax]).flatten();
        self.tax_minor = taxes.map(|tax| tax.cgst_minor + tax.sgst_minor + tax.igst_minor).sum();
        self.total_minor = self.items.iter().map(|item| item.paid_minor + item.shipping_minor).sum();
        self
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrderItemDocument {
    /// `UUIDv7`. Returns refer to the item by it.
    pub id: Uuid,
    /// 1..500, in the order of the request.
    pub line_no: i32,
    #[schema(value_type = String, max_length = 64)]
    pub sku: Sku,
    pub title: String,
    pub quantity: i32,
    pub unit_price_minor: i64,
    /// Harmonised System of Nomenclature code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 16)]
    pub hsn: Option<Hsn>,
    /// Per cent. When the request has none: the rate of the HSN code on the day of the order, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gst_rate: Option<f64>,
    /// The line's share of the order's discount.
    pub discount_minor: i64,
    /// The price of the goods, with the tax. A return of the whole line refunds it; shipping is separate.
    pub paid_minor: i64,
    /// The tax in `paid_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxDocument>,
    /// The line's share of the shipping, with the tax.
    #[serde(default)]
    pub shipping_minor: i64,
    /// The tax in `shipping_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_tax: Option<TaxDocument>,
    /// Units of which a return may be requested now: 0 before the delivery and after the return window. Only from the query service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returnable_quantity: Option<u32>,
}
