//! The document of a new order. It is stored as it is and never changes; later steps are merged over it.

use chrono::{DateTime, Utc};
use contracts::{OrderDocument, OrderItemDocument, OrderNumber, OrderState};
use domain::{GstRate, LineAmounts};
use runtime::Ids;
use uuid::Uuid;

use super::{PlaceItem, PlaceOrder, Price};
use crate::taxation;

impl PlaceOrder {
    /// The document that the order has, or would have.
    pub(crate) fn document(&self, id: Uuid, number: OrderNumber, ids: &Ids, at: DateTime<Utc>) -> OrderDocument {
        let Price { totals, rates, terms } = &self.price;
        let items = (1..)
            .zip(self.items.iter().zip(rates).zip(&totals.lines))
            .map(|(line_no, ((item, rate), amounts))| {
                item.document(ids.next(), line_no, *rate, terms.is_some(), amounts)
            })
            .collect();
        OrderDocument {
            id,
            order_number: number,
            state: OrderState::PendingPayment,
            version: 1,
            customer_id: self.customer_id.clone(),
            customer_email: self.customer_email.clone(),
            currency: self.currency.clone(),
            payment_method: self.payment_method.clone(),
            shipping_address: self.shipping_address.clone(),
            billing_address: self.billing_address.clone(),
            items,
            subtotal_minor: totals.subtotal.minor(),
            discount_minor: totals.discount.minor(),
            shipping_minor: totals.shipping.minor(),
            tax_minor: totals.tax.minor(),
            total_minor: totals.total.minor(),
            tax_terms: terms.clone(),
            invoice_lines: Vec::new(),
            e_invoice: None,
            payment_transaction_id: None,
            carrier: None,
            tracking_number: None,
            metadata: self.metadata.clone(),
            tags: self.tags.clone(),
            created_at: at,
            updated_at: at,
            paid_at: None,
            processing_at: None,
            shipped_at: None,
            delivered_at: None,
            cancelled_at: None,
            erased_at: None,
            invoice: None,
            refunds: Vec::new(),
            returns: Vec::new(),
            allowed_actions: Vec::new(),
            history: Vec::new(),
        }
    }
}

impl PlaceItem {
    fn document(
        &self,
        id: Uuid,
        line_no: i32,
        rate: Option<GstRate>,
        registered: bool,
        amounts: &LineAmounts,
    ) -> OrderItemDocument {
        let taxed = registered && rate.is_some();
        OrderItemDocument {
            id,
            line_no,
            sku: self.sku.clone(),
            title: self.title.clone(),
            quantity: i32::try_from(self.quantity).unwrap_or(i32::MAX),
            unit_price_minor: self.unit_price_minor,
            hsn: self.hsn.clone(),
            gst_rate: rate.map(GstRate::per_cent),
            discount_minor: amounts.discount.minor(),
            paid_minor: amounts.goods.paid,
            tax: taxed.then(|| taxation::tax(&amounts.goods)),
            shipping_minor: amounts.shipping.paid,
            shipping_tax: (taxed && amounts.shipping.paid > 0).then(|| taxation::tax(&amounts.shipping)),
            returnable_quantity: None,
        }
    }
}
