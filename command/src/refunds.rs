//! Money of an order that is given back: a new refund, and a failed one that is to be paid after all.

use contracts::{EntityType, RefundDocument, RefundItemDocument, RefundKind, RefundStatus};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::ApiError;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::context::CommandContext;
use crate::order_books::OrderBooks;
use crate::outcome::{Outcome, unknown_entity};
use crate::store::{self, OrderOf};
use crate::under_lock::{UnderLock, under_lock};

/// Money to give back.
#[derive(Debug)]
pub(crate) struct NewRefund {
    pub(crate) kind: RefundKind,
    pub(crate) return_id: Option<Uuid>,
    pub(crate) amount_minor: i64,
    /// Of a refund without a return.
    pub(crate) items: Vec<RefundItemDocument>,
    pub(crate) needs_credit_note: bool,
}

/// Writes a refund of a return or of a cancelled order, or nothing when there is nothing to give back. The workers pay it.
///
/// # Errors
/// 409 when more would be given back than was paid.
pub(crate) async fn give_back(
    conn: &mut PgConnection,
    app: &App,
    context: &CommandContext,
    books: &OrderBooks,
    (kind, return_id): (RefundKind, Option<Uuid>),
    amount_minor: i64,
) -> Result<(), ApiError> {
    if amount_minor == 0 {
        return Ok(());
    }
    check_cap(books, amount_minor)?;
    let refund = NewRefund { kind, return_id, amount_minor, items: Vec::new(), needs_credit_note: false };
    let refund = document(app, context, books, refund);
    Ok(store::insert_refund(conn, &refund, app.ids.next(), context, None).await?)
}

/// A new refund of an order.
pub(crate) fn document(app: &App, context: &CommandContext, books: &OrderBooks, refund: NewRefund) -> RefundDocument {
    let NewRefund { kind, return_id, amount_minor, items, needs_credit_note } = refund;
    let order = &books.order;
    RefundDocument {
        id: match kind {
            RefundKind::Return | RefundKind::Goodwill => app.ids.next(),
            RefundKind::Cancellation => of_cancellation(order.id),
        },
        order_id: order.id,
        order_number: order.order_number.clone(),
        return_id,
        kind,
        customer_id: order.customer_id.clone(),
        customer_email: order.customer_email.clone(),
        status: RefundStatus::Pending,
        version: 1,
        amount_minor,
        currency: order.currency.clone(),
        payment_transaction_id: order.payment_transaction_id.clone(),
        reason: context.reason.clone(),
        items,
        needs_credit_note,
        transaction_id: None,
        gateway_reference: None,
        failure: None,
        created_at: context.at,
        updated_at: context.at,
        processed_at: None,
        credit_note: None,
    }
}

/// The refund of a cancelled order. There is one at most, so its id follows from the order's: should a failover lose the
/// cancellation after the gateway has paid, the next one finds that payment under the same key. Only random bits of the id differ, so
/// it is a `UUIDv7` too.
fn of_cancellation(order_id: Uuid) -> Uuid {
    const CANCELLATION: u128 = 0x3141_5926_5358_9793;
    Uuid::from_u128(order_id.as_u128() ^ CANCELLATION)
}

/// The sum of an order's refunds that have not failed never exceeds what was paid.
pub(crate) fn check_cap(books: &OrderBooks, amount_minor: i64) -> Result<(), ApiError> {
    let refundable = books.refundable_minor();
    if amount_minor <= refundable {
        return Ok(());
    }
    let (paid, refunded) = (books.order.total_minor, books.refunded_minor());
    let message =
        format!("{amount_minor} paise cannot be refunded: {paid} were paid and {refunded} are refunded already");
    Err(ApiError::conflict("REFUND_EXCEEDS_PAID", message).with_details(json!({
        "amount_minor": amount_minor, "paid_minor": paid, "refunded_minor": refunded, "refundable_minor": refundable,
    })))
}

/// Has a FAILED refund paid after all. Any other refund stays as it is: it is paid, or about to be.
///
/// # Errors
/// 404 for an unknown refund, 409 when the order's other refunds have taken what was paid.
pub(crate) async fn retry(app: &App, context: &CommandContext, id: Uuid) -> Result<Outcome, ApiError> {
    under_lock(app, context, OrderOf::Refund(id), Retry { app: app.clone(), context: context.clone(), id }).await
}

struct Retry {
    app: App,
    context: CommandContext,
    id: Uuid,
}

impl UnderLock for Retry {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            let Self { app, context, id } = self;
            let refund = store::refund(&mut *conn, id).await?;
            let mut refund = refund.ok_or_else(|| unknown_entity(EntityType::Refund, id))?;
            if refund.status == RefundStatus::Failed {
                check_cap(&books, refund.amount_minor)?;
                if let Some(retried) = store::retry_refund(conn, id, app.ids.next(), &context).await? {
                    refund = retried;
                }
            }
            let document = serde_json::to_string(&refund).map_err(ApiError::internal)?;
            Ok(Outcome::whole(EntityType::Refund, id, refund.version, document))
        }
        .boxed()
    }
}
