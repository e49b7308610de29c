//! Which way a step takes: in a batch, or in a transaction of its own under the order's lock.

use axum::http::StatusCode;
use contracts::EntityType;
use domain::{OrderState, ReturnState};
use runtime::ApiError;

use crate::context::CommandContext;
use crate::outcome::Outcome;
use crate::transition::{ChangeState, Machine, change_in_batch};
use crate::{App, cancel_order, complete_return, receive_return, ship_order, withdraw_return};

/// A machine of which some steps depend on what has been taken of the order.
pub(crate) trait Dispatch: Machine {
    /// Takes an order or a return to a state.
    ///
    /// # Errors
    /// 404 for an unknown id, 409 for a step that is not legal, 412 for another version than the expected one, 503 when another
    /// transaction holds the entity for too long.
    fn change(
        app: &App,
        context: &CommandContext,
        command: ChangeState<Self>,
    ) -> impl Future<Output = Result<Outcome, ApiError>> + Send;
}

impl Dispatch for OrderState {
    async fn change(app: &App, context: &CommandContext, command: ChangeState<Self>) -> Result<Outcome, ApiError> {
        match command.to {
            Self::Cancelled => cancel_order::cancel(app, context, command).await,
            Self::Shipped if ship_order::may_have_other_rates(app, command.id, context.at) => {
                ship_order::ship(app, context, command).await
            }
            _ if context.owner.is_some() => Err(not_a_customers(Self::ENTITY)),
            _ => change_in_batch(app, context, command).await,
        }
    }
}

impl Dispatch for ReturnState {
    async fn change(app: &App, context: &CommandContext, command: ChangeState<Self>) -> Result<Outcome, ApiError> {
        match command.to {
            Self::Rejected if context.owner.is_some() => withdraw_return::withdraw(app, context, command).await,
            Self::Completed => complete_return::complete(app, context, command).await,
            Self::Received if command.details.receipt.is_some() => receive_return::receive(app, context, command).await,
            _ if context.owner.is_some() => Err(not_a_customers(Self::ENTITY)),
            _ => change_in_batch(app, context, command).await,
        }
    }
}

/// The table of access lets no customer come here. A batch does not ask whose an entity is, so nor does this.
fn not_a_customers(entity: EntityType) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN", format!("this step of the {entity} is not a customer's"))
}
