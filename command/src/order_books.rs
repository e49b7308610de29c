//! What has been taken of an order: units by returns, and money by refunds. Read under the order's lock.

use chrono::{DateTime, Utc};
use contracts::{
    OrderDocument, OrderItemDocument, PartDocument, RefundDocument, RefundStatus, ReturnDocument, ReturnItemDocument,
    ReturnState, UnitsTaken, order_for_return, units_taken,
};
use domain::{Charge, OrderForReturn, OrderState, Part, RefundShipping, ReturnPolicy, ReturnableItem, decide_refund};
use runtime::{ApiError, Ids};
use serde::Deserialize;
use uuid::Uuid;

use crate::store::OrderUnderLock;
use crate::taxation;

/// An order with its returns, without the rejected ones, and its refunds.
#[derive(Debug)]
pub(crate) struct OrderBooks {
    pub(crate) order: OrderDocument,
    pub(crate) state: OrderState,
    delivered_at: Option<DateTime<Utc>>,
    pub(crate) returns: Vec<ReturnDocument>,
    pub(crate) refunds: Vec<RefundDocument>,
}

/// Which returns count as taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// All that were not rejected: for what can still be returned, and for estimates.
    Open,
    /// Those that are completed: for the amount that is paid.
    Completed,
}

impl OrderBooks {
    pub(crate) fn read(under_lock: OrderUnderLock) -> Result<Self, ApiError> {
        let OrderUnderLock { state, delivered_at, document, returns, refunds } = under_lock;
        let state = state.parse().map_err(ApiError::internal)?;
        let order = OrderDocument::deserialize(document).map_err(ApiError::internal)?;
        if order.erased_at.is_some() {
            let message = "the customer's personal data was erased from this order, and nothing changes it any more";
            return Err(ApiError::conflict("ORDER_ERASED", message));
        }
        let returns = returns.into_iter().map(ReturnDocument::deserialize).collect::<Result<_, _>>();
        let refunds = refunds.into_iter().map(RefundDocument::deserialize).collect::<Result<_, _>>();
        Ok(Self {
            order,
            state,
            delivered_at,
            returns: returns.map_err(ApiError::internal)?,
            refunds: refunds.map_err(ApiError::internal)?,
        })
    }

    pub(crate) fn of_return(&self, id: Uuid) -> Option<&ReturnDocument> {
        self.returns.iter().find(|returned| returned.id == id)
    }

    /// What was paid and is not refunded, nor about to be. 0 for an order that is not paid.
    pub(crate) fn refundable_minor(&self) -> i64 {
        let paid = if self.order.paid_at.is_some() { self.order.total_minor } else { 0 };
        paid - self.refunded_minor()
    }

    /// What is refunded or about to be.
    pub(crate) fn refunded_minor(&self) -> i64 {
        let others = self.refunds.iter().filter(|refund| refund.status != RefundStatus::Failed);
        others.map(|refund| refund.amount_minor).sum()
    }

    /// What `domain` needs to know to decide about another return.
    pub(crate) fn for_return(&self, policy: ReturnPolicy) -> Result<OrderForReturn, ApiError> {
        let items = self.items(Counting::Open, None, policy)?;
        Ok(OrderForReturn {
            items,
            delivered_at: self.delivered_at,
            ..order_for_return(&self.order, &self.returns, policy)
        })
    }

    /// The lines of the order as the invoice shows them, with what was given back after it, and what the returns have taken, except for
    /// one return.
    pub(crate) fn items(
        &self,
        counting: Counting,
        except: Option<Uuid>,
        policy: ReturnPolicy,
    ) -> Result<Vec<ReturnableItem>, ApiError> {
        let mut items = self.order.items.iter().map(|item| {
            let invoiced = self.order.invoice_line(item);
            Ok(ReturnableItem {
                id: item.id,
                quantity: unsigned(item.quantity)?,
                goods: taxation::charge(invoiced.paid_minor, invoiced.tax.as_ref()),
                shipping: taxation::charge(invoiced.shipping_minor, invoiced.shipping_tax.as_ref()),
                ..ReturnableItem::default()
            })
        });
        let mut items = items.by_ref().collect::<Result<Vec<_>, ApiError>>()?;
        // A failed one counts too: its credit note stands, and it is to be retried.
        for line in self.refunds.iter().filter(|refund| refund.needs_credit_note).flat_map(|refund| &refund.items) {
            let Some(item) = items.iter_mut().find(|item| item.id == line.order_item_id) else { continue };
            item.given_back = item.given_back.plus(&Part {
                goods: taxation::charge(line.amount_minor - line.shipping_minor, line.tax.as_ref()),
                shipping: taxation::charge(line.shipping_minor, line.shipping_tax.as_ref()),
            });
        }
        let counts = |returned: &&ReturnDocument| {
            Some(returned.id) != except && (counting == Counting::Open || returned.state == ReturnState::Completed)
        };
        let returns = || self.returns.iter().filter(counts);
        let taken = units_taken(&self.order, returns(), policy);
        for item in &mut items {
            let UnitsTaken { returned, rejected, missing } = taken.get(&item.id).copied().unwrap_or_default();
            (item.returned_quantity, item.rejected_quantity, item.missing_quantity) = (returned, rejected, missing);
        }
        for line in returns().flat_map(|returned| &returned.items) {
            let Some(item) = items.iter_mut().find(|item| item.id == line.order_item_id) else { continue };
            let kept = line.kept.as_ref().map(part).unwrap_or_default();
            let goods = taxation::charge(line.amount_minor - line.shipping_minor, line.tax.as_ref());
            let shipping = taxation::charge(line.shipping_minor, line.shipping_tax.as_ref());
            item.kept = item.kept.plus(&kept);
            item.returned_goods = item.returned_goods.plus(&goods.plus(&kept.goods));
            item.returned_shipping = item.returned_shipping.plus(&shipping.plus(&kept.shipping));
        }
        Ok(items)
    }

    /// The items of a return with what they refund: an estimate while the return is open, else the amount that is paid.
    pub(crate) fn priced(
        &self,
        returned: &ReturnDocument,
        counting: Counting,
        policy: ReturnPolicy,
        ids: &Ids,
    ) -> Result<Vec<ReturnItemDocument>, ApiError> {
        let items = self.items(counting, Some(returned.id), policy)?;
        let units = returned.items.iter().filter(|item| item.quantity > 0);
        let units = units.map(|item| Ok((item.order_item_id, unsigned(item.refunded_quantity())?)));
        let units = units.collect::<Result<Vec<_>, ApiError>>()?;
        let fees = returned.fees.iter().map(|fee| fee.amount_minor).sum();
        let shipping = if units.iter().any(|(_, units)| *units > 0) { policy.shipping } else { RefundShipping::Never };
        let lines = decide_refund(&items, &units, shipping, fees);
        let mut priced = Vec::with_capacity(lines.len());
        for line in &lines {
            let known = returned.items.iter().find(|item| item.order_item_id == line.order_item_id);
            let mut item = match known {
                Some(item) => item.clone(),
                None => self.item_of(line.order_item_id, ids.next())?,
            };
            self.price(&mut item, line)?;
            priced.push(item);
        }
        Ok(priced)
    }

    /// An item of a return, of this item of the order, with nothing returned.
    pub(crate) fn item_of(&self, order_item_id: Uuid, id: Uuid) -> Result<ReturnItemDocument, ApiError> {
        let ordered = self.ordered(order_item_id)?;
        Ok(ReturnItemDocument {
            id,
            order_item_id,
            sku: ordered.sku.clone(),
            title: ordered.title.clone(),
            quantity: 0,
            accepted_quantity: None,
            rejected_quantity: None,
            missing_quantity: None,
            rejection_reason: None,
            hsn: ordered.hsn.clone(),
            gst_rate: self.order.invoice_line(ordered).gst_rate,
            amount_minor: 0,
            tax: None,
            shipping_minor: 0,
            shipping_tax: None,
            kept: None,
            reason: None,
        })
    }

    /// Enters what the item refunds.
    pub(crate) fn price(&self, item: &mut ReturnItemDocument, line: &domain::ReturnLine) -> Result<(), ApiError> {
        let sold = self.order.invoice_line(self.ordered(item.order_item_id)?);
        let (is_taxed, refunded) = (sold.tax.is_some(), line.refunded());
        let taxed = |charge: &Charge| is_taxed.then(|| taxation::tax(charge));
        let shipping = |charge: &Charge| sold.shipping_tax.filter(|_| charge.paid > 0).map(|_| taxation::tax(charge));
        item.amount_minor = line.refund();
        item.tax = taxed(&refunded.goods);
        item.shipping_minor = refunded.shipping.paid;
        item.shipping_tax = shipping(&refunded.shipping);
        let Part { goods, shipping: of_shipping } = &line.kept;
        item.kept = (line.kept.paid() > 0).then(|| PartDocument {
            goods_minor: goods.paid,
            tax: taxed(goods),
            shipping_minor: of_shipping.paid,
            shipping_tax: shipping(of_shipping),
        });
        Ok(())
    }

    pub(crate) fn ordered(&self, order_item_id: Uuid) -> Result<&OrderItemDocument, ApiError> {
        let ordered = self.order.items.iter().find(|item| item.id == order_item_id);
        ordered.ok_or_else(|| ApiError::internal("an item is missing from the order's document"))
    }
}

fn part(part: &PartDocument) -> Part {
    Part {
        goods: taxation::charge(part.goods_minor, part.tax.as_ref()),
        shipping: taxation::charge(part.shipping_minor, part.shipping_tax.as_ref()),
    }
}

fn unsigned(quantity: i32) -> Result<u32, ApiError> {
    u32::try_from(quantity).map_err(ApiError::internal)
}
