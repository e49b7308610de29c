//! The cancellation of an order. What was paid is given back in full.

use contracts::{OrderState, RefundKind};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::ApiError;
use sqlx::PgConnection;

use crate::App;
use crate::context::CommandContext;
use crate::order_books::OrderBooks;
use crate::outcome::Outcome;
use crate::refunds::give_back;
use crate::store::{OrderOf, TransitionOutcome};
use crate::transition::{ChangeState, answer, new_transition, step};
use crate::under_lock::{UnderLock, under_lock};

pub(crate) async fn cancel(
    app: &App,
    context: &CommandContext,
    command: ChangeState<OrderState>,
) -> Result<Outcome, ApiError> {
    let of = OrderOf::Order(command.id);
    under_lock(app, context, of, Cancel { app: app.clone(), context: context.clone(), command }).await
}

struct Cancel {
    app: App,
    context: CommandContext,
    command: ChangeState<OrderState>,
}

impl UnderLock for Cancel {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            let Self { app, context, command } = self;
            let outcome = step::<OrderState>(&mut *conn, new_transition(&app, &context, &command)?).await?;
            if matches!(outcome, TransitionOutcome::Applied(_)) {
                let (kind, amount) = ((RefundKind::Cancellation, None), books.refundable_minor());
                give_back(conn, &app, &context, &books, kind, amount.max(0)).await?;
            }
            answer(&context, &command, outcome)
        }
        .boxed()
    }
}
