//! The completion of a return: what it refunds is fixed, and the refund is written.

use std::collections::BTreeSet;

use contracts::{FeeDocument, RefundKind, ReturnItemDocument, ReturnState};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::ApiError;
use serde_json::json;
use sqlx::PgConnection;

use crate::App;
use crate::context::CommandContext;
use crate::order_books::{Counting, OrderBooks};
use crate::outcome::Outcome;
use crate::refunds::give_back;
use crate::store::{OrderOf, TransitionOutcome};
use crate::transition::{ChangeState, answer, conflicting_fact, new_transition, step};
use crate::under_lock::{UnderLock, under_lock};

pub(crate) async fn complete(
    app: &App,
    context: &CommandContext,
    command: ChangeState<ReturnState>,
) -> Result<Outcome, ApiError> {
    let of = OrderOf::Return(command.id);
    under_lock(app, context, of, Complete { app: app.clone(), context: context.clone(), command }).await
}

struct Complete {
    app: App,
    context: CommandContext,
    command: ChangeState<ReturnState>,
}

impl UnderLock for Complete {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            let Self { app, context, command } = self;
            let mut transition = new_transition(&app, &context, &command)?;
            let mut amount = 0;
            if let Some(returned) = books.of_return(command.id) {
                let mut returned = returned.clone();
                if let Some(fees) = &command.details.fees {
                    if returned.state == ReturnState::Completed {
                        check_same(&returned.fees, fees)?;
                    }
                    returned.fees.clone_from(fees);
                }
                let items = books.priced(&returned, Counting::Completed, app.policy, &app.ids)?;
                amount = total(&items);
                if items != returned.items {
                    transition.progress["items"] = json!(items);
                    transition.progress["refund_amount_minor"] = json!(amount);
                }
            }
            let outcome = step::<ReturnState>(&mut *conn, transition).await?;
            if matches!(outcome, TransitionOutcome::Applied(_)) {
                let kind = (RefundKind::Return, Some(command.id));
                give_back(conn, &app, &context, &books, kind, amount).await?;
            }
            answer(&context, &command, outcome)
        }
        .boxed()
    }
}

/// Refuses a repeat with other fees than those that were kept back.
fn check_same(stored: &[FeeDocument], given: &[FeeDocument]) -> Result<(), ApiError> {
    let sorted = |fees: &[FeeDocument]| fees.iter().copied().collect::<BTreeSet<_>>();
    if sorted(stored) == sorted(given) {
        return Ok(());
    }
    let message = "the return is COMPLETED already, with other fees; its refund is fixed".to_owned();
    Err(conflicting_fact("fees", &json!(stored), &json!(given), message))
}

/// What these items of a return refund.
pub(crate) fn total(items: &[ReturnItemDocument]) -> i64 {
    items.iter().map(|item| item.amount_minor).sum()
}
