//! What an e-mail is about.

use contracts::{EventType, InvoiceDocument, OrderDocument, RefundDocument, ReturnDocument};
use messaging::inbox::Job;
use messaging::worker::Failure;
use uuid::Uuid;

use crate::change;

/// An event that a customer is told about.
#[derive(Debug)]
pub(crate) enum Occasion {
    Confirmed(Box<OrderDocument>),
    Shipped(InvoiceDocument),
    Approved(ReturnDocument),
    Rejected(ReturnDocument),
    Refunded(RefundDocument),
}

impl Occasion {
    pub(crate) fn of(job: &Job) -> Result<Self, Failure> {
        match job.event_type() {
            Some(EventType::OrderCreated) => change::snapshot(job).map(Box::new).map(Self::Confirmed),
            Some(EventType::InvoiceGenerated) => change::snapshot(job).map(Self::Shipped),
            Some(EventType::ReturnApproved) => change::snapshot(job).map(Self::Approved),
            Some(EventType::ReturnRejected) => change::snapshot(job).map(Self::Rejected),
            Some(EventType::RefundProcessed) => change::snapshot(job).map(Self::Refunded),
            _ => Err(Failure::Dead(format!("no message is made for {} events", job.event_type))),
        }
    }

    /// Its name in logs and in `work.emails`.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Confirmed(_) => "order_confirmation",
            Self::Shipped(_) => "order_shipped",
            Self::Approved(_) => "return_approved",
            Self::Rejected(_) => "return_rejected",
            Self::Refunded(_) => "refund_processed",
        }
    }

    pub(crate) const fn order_id(&self) -> Uuid {
        match self {
            Self::Confirmed(order) => order.id,
            Self::Shipped(invoice) => invoice.order_id,
            Self::Approved(returned) | Self::Rejected(returned) => returned.order_id,
            Self::Refunded(refund) => refund.order_id,
        }
    }

    pub(crate) fn order_number(&self) -> &str {
        match self {
            Self::Confirmed(order) => &order.order_number,
            Self::Shipped(invoice) => &invoice.order_number,
            Self::Approved(returned) | Self::Rejected(returned) => &returned.order_number,
            Self::Refunded(refund) => &refund.order_number,
        }
    }

    /// The customer's address, if we were given one.
    pub(crate) fn email(&self) -> Option<&str> {
        let email = match self {
            Self::Confirmed(order) => &order.customer_email,
            Self::Shipped(invoice) => &invoice.customer_email,
            Self::Approved(returned) | Self::Rejected(returned) => &returned.customer_email,
            Self::Refunded(refund) => &refund.customer_email,
        };
        email.as_deref()
    }

    /// What is attached.
    pub(crate) const fn invoice(&self) -> Option<&InvoiceDocument> {
        if let Self::Shipped(invoice) = self { Some(invoice) } else { None }
    }

    pub(crate) fn subject(&self) -> String {
        let number = self.order_number();
        match self {
            Self::Confirmed(_) => format!("Your order {number} is confirmed"),
            Self::Shipped(_) => format!("Your order {number} is on its way"),
            Self::Approved(_) => format!("Your return for order {number} is approved"),
            Self::Rejected(_) => format!("About your return for order {number}"),
            Self::Refunded(_) => format!("Your refund for order {number} is on its way"),
        }
    }
}
