//! What may be done next with an order or a return: the commands that its state allows.

use domain::{OrderState, ReturnState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::names;

/// A command that an order accepts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderAction {
    /// `POST /orders/{id}/pay`
    Pay,
    /// `POST /orders/{id}/processing`
    Process,
    /// `POST /orders/{id}/ship`
    Ship,
    /// `POST /orders/{id}/deliver`
    Deliver,
    /// `POST /orders/{id}/cancel`
    Cancel,
    /// `POST /orders/{id}/refunds`
    Refund,
    /// `POST /returns`: some unit may be returned, and the return window is open.
    RequestReturn,
}

names!(OrderAction {
    Pay => "PAY",
    Process => "PROCESS",
    Ship => "SHIP",
    Deliver => "DELIVER",
    Cancel => "CANCEL",
    Refund => "REFUND",
    RequestReturn => "REQUEST_RETURN",
});

impl OrderAction {
    /// The route of the command.
    pub const fn route(self) -> &'static str {
        match self {
            Self::Pay => "/api/v1/orders/{id}/pay",
            Self::Process => "/api/v1/orders/{id}/processing",
            Self::Ship => "/api/v1/orders/{id}/ship",
            Self::Deliver => "/api/v1/orders/{id}/deliver",
            Self::Cancel => "/api/v1/orders/{id}/cancel",
            Self::Refund => "/api/v1/orders/{id}/refunds",
            Self::RequestReturn => "/api/v1/returns",
        }
    }

    /// Whether the state allows it. Of [`RequestReturn`](Self::RequestReturn) the state decides only a part.
    pub fn is_allowed_in(self, state: OrderState) -> bool {
        let target = match self {
            Self::Pay => OrderState::Paid,
            Self::Process => OrderState::ProcessingInWarehouse,
            Self::Ship => OrderState::Shipped,
            Self::Deliver => OrderState::Delivered,
            Self::Cancel => OrderState::Cancelled,
            Self::Refund => return !matches!(state, OrderState::PendingPayment | OrderState::Cancelled),
            Self::RequestReturn => return state == OrderState::Delivered,
        };
        state.allowed().contains(&target)
    }
}

/// A command that a return accepts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReturnAction {
    /// `POST /returns/{id}/approve`
    Approve,
    /// `POST /returns/{id}/reject`
    Reject,
    /// `POST /returns/{id}/withdraw`
    Withdraw,
    /// `POST /returns/{id}/in-transit`
    Send,
    /// `POST /returns/{id}/received`
    Receive,
    /// `POST /returns/{id}/complete`
    Complete,
}

names!(ReturnAction {
    Approve => "APPROVE",
    Reject => "REJECT",
    Withdraw => "WITHDRAW",
    Send => "SEND",
    Receive => "RECEIVE",
    Complete => "COMPLETE",
});

impl ReturnAction {
    /// The route of the command.
    pub const fn route(self) -> &'static str {
        match self {
            Self::Approve => "/api/v1/returns/{id}/approve",
            Self::Reject => "/api/v1/returns/{id}/reject",
            Self::Withdraw => "/api/v1/returns/{id}/withdraw",
            Self::Send => "/api/v1/returns/{id}/in-transit",
            Self::Receive => "/api/v1/returns/{id}/received",
            Self::Complete => "/api/v1/returns/{id}/complete",
        }
    }

    /// Whether the state allows it.
    pub fn is_allowed_in(self, state: ReturnState) -> bool {
        let target = match self {
            Self::Approve => ReturnState::Approved,
            Self::Reject | Self::Withdraw => ReturnState::Rejected,
            Self::Send => ReturnState::InTransit,
            Self::Receive => ReturnState::Received,
            Self::Complete => ReturnState::Completed,
        };
        state.allowed().contains(&target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_an_order_is_an_action() {
        let allowed = |state: OrderState| -> Vec<_> {
            OrderAction::ALL.iter().filter(|action| action.is_allowed_in(state)).map(|action| action.as_str()).collect()
        };
        assert_eq!(allowed(OrderState::PendingPayment), ["PAY", "CANCEL"]);
        assert_eq!(allowed(OrderState::Paid), ["PROCESS", "CANCEL", "REFUND"]);
        assert_eq!(allowed(OrderState::ProcessingInWarehouse), ["SHIP", "REFUND"]);
        assert_eq!(allowed(OrderState::Shipped), ["DELIVER", "REFUND"]);
        assert_eq!(allowed(OrderState::Delivered), ["REFUND", "REQUEST_RETURN"]);
        assert!(allowed(OrderState::Cancelled).is_empty());
    }

    #[test]
    fn every_step_of_a_return_is_an_action() {
        for state in ReturnState::ALL {
            let steps = state.allowed().len();
            let actions = ReturnAction::ALL.iter().filter(|action| action.is_allowed_in(state));
            let (withdrawals, others): (Vec<&ReturnAction>, Vec<&ReturnAction>) =
                actions.partition(|action| **action == ReturnAction::Withdraw);
            assert_eq!(others.len(), steps, "{state}");
            assert_eq!(withdrawals.len(), usize::from(state.allowed().contains(&ReturnState::Rejected)), "{state}");
        }
    }
}
