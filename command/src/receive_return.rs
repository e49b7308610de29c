//! The receipt of a return by the unit: accepted, rejected or missing. It is given when the parcel arrives, or corrected later,
//! before the return is completed.

use std::collections::BTreeMap;

use contracts::{ReturnDocument, ReturnItemDocument, ReturnState};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::{ApiError, FieldErrors};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::complete_return::total;
use crate::context::CommandContext;
use crate::order_books::{Counting, OrderBooks};
use crate::outcome::Outcome;
use crate::store::OrderOf;
use crate::transition::{ChangeState, ReceivedItem, answer, conflicting_fact, new_transition, step};
use crate::under_lock::{UnderLock, under_lock};

/// Receives a return of which the warehouse has counted the units.
pub(crate) async fn receive(
    app: &App,
    context: &CommandContext,
    command: ChangeState<ReturnState>,
) -> Result<Outcome, ApiError> {
    let of = OrderOf::Return(command.id);
    under_lock(app, context, of, Receive { app: app.clone(), context: context.clone(), command }).await
}

struct Receive {
    app: App,
    context: CommandContext,
    command: ChangeState<ReturnState>,
}

impl UnderLock for Receive {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            let Self { app, context, command } = self;
            let mut transition = new_transition(&app, &context, &command)?;
            let receipt = command.details.receipt.as_deref().unwrap_or_default();
            if let Some(returned) = books.of_return(command.id) {
                if returned.received_at.is_some() {
                    check_same(returned, receipt)?;
                } else if returned.state == ReturnState::InTransit {
                    let items = counted(&app, &books, returned, receipt)?;
                    if items != returned.items {
                        transition.progress["refund_amount_minor"] = json!(total(&items));
                        transition.progress["items"] = json!(items);
                    }
                }
            }
            let outcome = step::<ReturnState>(conn, transition).await?;
            answer(&context, &command, outcome)
        }
        .boxed()
    }
}

/// The items of a return after its receipt, with the estimate of what the accepted units refund.
///
/// # Errors
/// 422 for items that are not of the return, and for units that do not add up.
pub(crate) fn counted(
    app: &App,
    books: &OrderBooks,
    returned: &ReturnDocument,
    receipt: &[ReceivedItem],
) -> Result<Vec<ReturnItemDocument>, ApiError> {
    check(returned, receipt)?;
    let found: BTreeMap<Uuid, &ReceivedItem> = receipt.iter().map(|item| (item.order_item_id, item)).collect();
    let mut counted = returned.clone();
    for item in &mut counted.items {
        let Some(found) = found.get(&item.order_item_id) else { continue };
        // Units that were all accepted need no figures, so that a receipt that says so is the same as none.
        let all_accepted = found.accepted_quantity == item.quantity;
        let some = |units: i32| Some(units).filter(|_| !all_accepted);
        item.accepted_quantity = some(found.accepted_quantity);
        item.rejected_quantity = some(found.rejected_quantity);
        item.missing_quantity = some(found.missing_quantity);
        item.rejection_reason = found.rejection_reason.clone().filter(|_| !all_accepted);
    }
    books.priced(&counted, Counting::Open, app.policy, &app.ids)
}

fn check(returned: &ReturnDocument, receipt: &[ReceivedItem]) -> Result<(), ApiError> {
    let mut errors = FieldErrors::default();
    for (index, found) in receipt.iter().enumerate() {
        let field = |name: &str| format!("items[{index}].{name}");
        let mut own = returned.items.iter().filter(|item| item.quantity > 0);
        let Some(item) = own.find(|item| item.order_item_id == found.order_item_id) else {
            errors.add(field("order_item_id"), "is not an item of this return");
            continue;
        };
        let units =
            i64::from(found.accepted_quantity) + i64::from(found.rejected_quantity) + i64::from(found.missing_quantity);
        if units != i64::from(item.quantity) {
            let message =
                format!("must be {} together with rejected_quantity and missing_quantity, not {units}", item.quantity);
            errors.add(field("accepted_quantity"), message);
        }
    }
    errors.finish()
}

/// Refuses a repeat that counts other units than the receipt that is stored.
fn check_same(returned: &ReturnDocument, receipt: &[ReceivedItem]) -> Result<(), ApiError> {
    for found in receipt {
        let Some(item) = returned.items.iter().find(|item| item.order_item_id == found.order_item_id) else { continue };
        let units = |item: &ReturnItemDocument| {
            (item.refunded_quantity(), item.rejected_quantity.unwrap_or(0), item.missing_quantity.unwrap_or(0))
        };
        let stored = units(item);
        if stored != (found.accepted_quantity, found.rejected_quantity, found.missing_quantity) {
            let shown = json!({ "order_item_id": item.order_item_id,
                "accepted_quantity": stored.0, "rejected_quantity": stored.1, "missing_quantity": stored.2 });
            let message =
                format!("the return is {} already, with another receipt; correct it by PATCH", returned.state);
            return Err(conflicting_fact("receipt", &shown, &json!(found), message));
        }
    }
    Ok(())
}
