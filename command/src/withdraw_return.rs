//! The withdrawal of a return by its customer. A batch does not ask whose a return is; the lock of the order does.

use contracts::ReturnState;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::ApiError;
use sqlx::PgConnection;

use crate::App;
use crate::context::CommandContext;
use crate::order_books::OrderBooks;
use crate::outcome::Outcome;
use crate::store::OrderOf;
use crate::transition::{ChangeState, answer, new_transition, step};
use crate::under_lock::{UnderLock, under_lock};

pub(crate) async fn withdraw(
    app: &App,
    context: &CommandContext,
    command: ChangeState<ReturnState>,
) -> Result<Outcome, ApiError> {
    let of = OrderOf::Return(command.id);
    under_lock(app, context, of, Withdraw { app: app.clone(), context: context.clone(), command }).await
}

struct Withdraw {
    app: App,
    context: CommandContext,
    command: ChangeState<ReturnState>,
}

impl UnderLock for Withdraw {
    fn run(self, conn: &mut PgConnection, _: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            let Self { app, context, command } = self;
            let outcome = step::<ReturnState>(conn, new_transition(&app, &context, &command)?).await?;
            answer(&context, &command, outcome)
        }
        .boxed()
    }
}
