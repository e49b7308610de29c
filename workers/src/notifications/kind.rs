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
    OrderCancelled(Box<OrderDocument>),
    OrderShipped(InvoiceDocument),
    /// The invoice has been sent before, and is registered now.
    InvoiceRegistered(InvoiceDocument),
    /// Someone of the shop has it sent once more, to the address that the order has now.
    InvoiceAgain(Box<OrderDocument>, InvoiceDocument),
    ReturnApproved(Box<ReturnDocument>),
    ReturnRejected(Box<ReturnDocument>),
    RefundProcessed(RefundDocument),
    /// In doubt for long.
    RefundDelayed(RefundDocument),
}

impl NotificationKind {
    /// `None`: the invoice is sent once it is registered.
    pub(super) fn of(job: &Job) -> Result<Option<Self>, Failure> {
        let kind = match job.event_type() {
            Some(EventType::OrderCreated) => events::snapshot(job).map(Box::new).map(Self::OrderReceived),
            Some(EventType::OrderPaid) => events::snapshot(job).map(Box::new).map(Self::OrderConfirmed),
            Some(EventType::OrderCancelled) => events::snapshot(job).map(Box::new).map(Self::OrderCancelled),
            Some(EventType::InvoiceGenerated) => {
                let invoice: InvoiceDocument = events::snapshot(job)?;
                if invoice.mailed_when_registered {
                    return Ok(None);
                }
                Ok(Self::OrderShipped(invoice))
            }
            Some(EventType::InvoiceRegistered) => {
                let invoice: InvoiceDocument = events::snapshot(job)?;
                let is_first = invoice.mailed_when_registered && invoice.edition == 2;
                Ok(if is_first { Self::OrderShipped(invoice) } else { Self::InvoiceRegistered(invoice) })
            }
            Some(EventType::ReturnApproved) => events::snapshot(job).map(Box::new).map(Self::ReturnApproved),
            Some(EventType::ReturnRejected) => events::snapshot(job).map(Box::new).map(Self::ReturnRejected),
            Some(EventType::RefundProcessed) => events::snapshot(job).map(Self::RefundProcessed),
            Some(EventType::RefundDelayed) => events::snapshot(job).map(Self::RefundDelayed),
            // `Notifications::invoice_again` makes it, because the event does not have the invoice.
            _ => Err(Failure::Dead(format!("no notification exists for {} events", job.event_type))),
        };
        kind.map(Some)
    }

    /// Its name in logs and in `work.emails`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::OrderReceived(_) => "order_received",
            Self::OrderConfirmed(_) => "order_confirmation",
            Self::OrderCancelled(_) => "order_cancelled",
            Self::OrderShipped(_) => "order_shipped",
            Self::InvoiceRegistered(_) => "invoice_registered",
            Self::InvoiceAgain(..) => "invoice_again",
            Self::ReturnApproved(_) => "return_approved",
            Self::ReturnRejected(returned) if is_withdrawn(returned) => "return_withdrawn",
            Self::ReturnRejected(_) => "return_rejected",
            Self::RefundProcessed(_) => "refund_processed",
            Self::RefundDelayed(_) => "refund_delayed",
        }
    }

    pub(super) const fn order_id(&self) -> Uuid {
        match self {
            Self::OrderReceived(order)
            | Self::OrderConfirmed(order)
            | Self::OrderCancelled(order)
            | Self::InvoiceAgain(order, _) => order.id,
            Self::OrderShipped(invoice) | Self::InvoiceRegistered(invoice) => invoice.order_id,
            Self::ReturnApproved(returned) | Self::ReturnRejected(returned) => returned.order_id,
            Self::RefundProcessed(refund) | Self::RefundDelayed(refund) => refund.order_id,
        }
    }

    pub(super) fn order_number(&self) -> &OrderNumber {
        match self {
            Self::OrderReceived(order)
            | Self::OrderConfirmed(order)
            | Self::OrderCancelled(order)
            | Self::InvoiceAgain(order, _) => &order.order_number,
            Self::OrderShipped(invoice) | Self::InvoiceRegistered(invoice) => &invoice.order_number,
            Self::ReturnApproved(returned) | Self::ReturnRejected(returned) => &returned.order_number,
            Self::RefundProcessed(refund) | Self::RefundDelayed(refund) => &refund.order_number,
        }
    }

    /// The customer's e-mail address, if the order has one.
    pub(super) fn recipient(&self) -> Option<&Email> {
        match self {
            Self::OrderReceived(order)
            | Self::OrderConfirmed(order)
            | Self::OrderCancelled(order)
            | Self::InvoiceAgain(order, _) => &order.customer_email,
            Self::OrderShipped(invoice) | Self::InvoiceRegistered(invoice) => &invoice.customer_email,
            Self::ReturnApproved(returned) | Self::ReturnRejected(returned) => &returned.customer_email,
            Self::RefundProcessed(refund) | Self::RefundDelayed(refund) => &refund.customer_email,
        }
        .as_ref()
    }

    /// Whether the event has the order itself.
    pub(super) const fn is_about_an_order(&self) -> bool {
        matches!(
            self,
            Self::OrderReceived(_) | Self::OrderConfirmed(_) | Self::OrderCancelled(_) | Self::InvoiceAgain(..)
        )
    }

    /// The invoice to attach.
    pub(super) const fn invoice(&self) -> Option<&InvoiceDocument> {
        match self {
            Self::OrderShipped(invoice) | Self::InvoiceRegistered(invoice) | Self::InvoiceAgain(_, invoice) => {
                Some(invoice)
            }
            _ => None,
        }
    }

    pub(super) fn subject(&self) -> String {
        let number = self.order_number();
        match self {
            Self::OrderReceived(_) => format!("We have received your order {number}"),
            Self::OrderConfirmed(_) => format!("Your order {number} is confirmed"),
            Self::OrderCancelled(_) => format!("Your order {number} is cancelled"),
            Self::OrderShipped(_) => format!("Your order {number} is on its way"),
            Self::InvoiceRegistered(_) => {
                format!("The registered invoice of your order {number}")
            }
            Self::InvoiceAgain(..) => format!("The invoice of your order {number}"),
            Self::ReturnApproved(_) => format!("Your return for order {number} is approved"),
            Self::ReturnRejected(returned) if is_withdrawn(returned) => {
                format!("Your return for order {number} is withdrawn")
            }
            Self::ReturnRejected(_) => format!("About your return for order {number}"),
            Self::RefundProcessed(_) => format!("Your refund for order {number} is on its way"),
            Self::RefundDelayed(_) => format!("Your refund for order {number} takes longer"),
        }
    }
}

/// The category of a return that the customer withdrew. The command service assigns it.
const WITHDRAWN: &str = "WITHDRAWN";

/// Whether the customer took the request back, before a manager decided anything.
pub(super) fn is_withdrawn(returned: &ReturnDocument) -> bool {
    returned.rejection_category.as_deref() == Some(WITHDRAWN)
}
