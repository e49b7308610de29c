//! The kinds of notification, by event.

use contracts::{Email, EventType, InvoiceDocument, OrderDocument, OrderNumber, RefundDocument, ReturnDocument};
use messaging::inbox::Job;
use messaging::worker::Failure;
use uuid::Uuid;

use crate::events;

/// An event that the customer is notified of, with its document.
#[derive(Debug)]
pub(super) enum NotificationKind {
    /// Not paid yet.
    OrderReceived(Box<OrderDocument>),
    OrderConfirmed(Box<OrderDocument>),
    OrderShipped(InvoiceDocument),
    ReturnApproved(ReturnDocument),
    ReturnRejected(ReturnDocument),
    RefundProcessed(RefundDocument),
}

impl NotificationKind {
    pub(super) fn of(job: &Job) -> Result<Self, Failure> {
        match job.event_type() {
            Some(EventType::OrderCreated) => events::snapshot(job).map(Box::new).map(Self::OrderReceived),
            Some(EventType::OrderPaid) => events::snapshot(job).map(Box::new).map(Self::OrderConfirmed),
            Some(EventType::InvoiceGenerated) => events::snapshot(job).map(Self::OrderShipped),
            Some(EventType::ReturnApproved) => events::snapshot(job).map(Self::ReturnApproved),
            Some(EventType::ReturnRejected) => events::snapshot(job).map(Self::ReturnRejected),
            Some(EventType::RefundProcessed) => events::snapshot(job).map(Self::RefundProcessed),
            _ => Err(Failure::Dead(format!("no notification exists for {} events", job.event_type))),
        }
    }

    /// Its name in logs and in `work.emails`.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::OrderReceived(_) => "order_received",
            Self::OrderConfirmed(_) => "order_confirmation",
            Self::OrderShipped(_) => "order_shipped",
            Self::ReturnApproved(_) => "return_approved",
            Self::ReturnRejected(_) => "return_rejected",
            Self::RefundProcessed(_) => "refund_processed",
        }
    }

    pub(super) const fn order_id(&self) -> Uuid {
        match self {
            Self::OrderReceived(order) | Self::OrderConfirmed(order) => order.id,
            Self::OrderShipped(invoice) => invoice.order_id,
            Self::ReturnApproved(returned) | Self::ReturnRejected(returned) => returned.order_id,
            Self::RefundProcessed(refund) => refund.order_id,
        }
    }

    pub(super) fn order_number(&self) -> &OrderNumber {
        match self {
            Self::OrderReceived(order) | Self::OrderConfirmed(order) => &order.order_number,
            Self::OrderShipped(invoice) => &invoice.order_number,
            Self::ReturnApproved(returned) | Self::ReturnRejected(returned) => &returned.order_number,
            Self::RefundProcessed(refund) => &refund.order_number,
        }
    }

    /// The customer's e-mail address, if the order has one.
    pub(super) fn recipient(&self) -> Option<&Email> {
        match self {
            Self::OrderReceived(order) | Self::OrderConfirmed(order) => &order.customer_email,
            Self::OrderShipped(invoice) => &invoice.customer_email,
            Self::ReturnApproved(returned) | Self::ReturnRejected(returned) => &returned.customer_email,
            Self::RefundProcessed(refund) => &refund.customer_email,
        }
        .as_ref()
    }

    /// The invoice to attach.
    pub(super) const fn invoice(&self) -> Option<&InvoiceDocument> {
        if let Self::OrderShipped(invoice) = self { Some(invoice) } else { None }
    }

    pub(super) fn subject(&self) -> String {
        let number = self.order_number();
        match self {
            Self::OrderReceived(_) => format!("We have received your order {number}"),
            Self::OrderConfirmed(_) => format!("Your order {number} is confirmed"),
            Self::OrderShipped(_) => format!("Your order {number} is on its way"),
            Self::ReturnApproved(_) => format!("Your return for order {number} is approved"),
            Self::ReturnRejected(_) => format!("About your return for order {number}"),
            Self::RefundProcessed(_) => format!("Your refund for order {number} is on its way"),
        }
    }
}
