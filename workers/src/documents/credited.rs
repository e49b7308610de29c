//! What a credit note gives back: a return, or money without one.

use contracts::{OrderNumber, RefundDocument, ReturnDocument};
use uuid::Uuid;

use super::line::Line;

/// What a credit note is for.
#[derive(Debug, Clone)]
pub(crate) enum Credited {
    Return(Box<ReturnDocument>),
    Refund(Box<RefundDocument>),
}

impl Credited {
    /// The return, or the refund without one.
    pub(crate) fn id(&self) -> Uuid {
        match self {
            Self::Return(returned) => returned.id,
            Self::Refund(refund) => refund.id,
        }
    }

    pub(crate) fn order_id(&self) -> Uuid {
        match self {
            Self::Return(returned) => returned.order_id,
            Self::Refund(refund) => refund.order_id,
        }
    }

    pub(crate) fn order_number(&self) -> &OrderNumber {
        match self {
            Self::Return(returned) => &returned.order_number,
            Self::Refund(refund) => &refund.order_number,
        }
    }

    pub(crate) fn total_minor(&self) -> i64 {
        match self {
            Self::Return(returned) => returned.refund_amount_minor,
            Self::Refund(refund) => refund.amount_minor,
        }
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Return(returned) => returned.reason.as_deref(),
            Self::Refund(refund) => refund.reason.as_deref(),
        }
    }

    /// The fees that are kept back from a return.
    pub(crate) fn kept_minor(&self) -> i64 {
        match self {
            Self::Return(returned) => returned
                .items
                .iter()
                .filter_map(|item| item.kept.as_ref())
                .map(|kept| kept.goods_minor + kept.shipping_minor)
                .sum(),
            Self::Refund(_) => 0,
        }
    }

    pub(super) fn lines(&self) -> Vec<Line<'_>> {
        match self {
            Self::Return(returned) => returned.items.iter().map(Line::from).collect(),
            Self::Refund(refund) => refund.items.iter().map(Line::from).collect(),
        }
    }
}
