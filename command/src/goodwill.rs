//! Money of an order that is given back without a return. After the invoice a credit note follows; before it, the invoice shows the
//! lower value.

use axum::http::StatusCode;
use contracts::{EntityType, EventType, InvoiceLineDocument, RefundItemDocument, RefundKind};
use domain::{ExceedingAmount, Goodwill, GoodwillRefusal, ReturnLine, decide_goodwill};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::{ApiError, FieldErrors};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::context::CommandContext;
use crate::order_books::{Counting, OrderBooks};
use crate::outcome::Outcome;
use crate::refunds::{self, NewRefund, check_cap};
use crate::store::{self, NewTransition, OrderOf, TransitionOutcome};
use crate::taxation;
use crate::transition::version_mismatch;
use crate::under_lock::{UnderLock, stored, under_lock};

/// The command: give this back of an order.
#[derive(Debug)]
pub(crate) struct GiveBack {
    pub(crate) order_id: Uuid,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Amount(i64),
    Items(Vec<(Uuid, i64)>),
}

impl What {
    fn amount_minor(&self) -> i64 {
        match self {
            Self::Amount(amount) => *amount,
            Self::Items(items) => items.iter().map(|(_, amount)| amount).sum(),
        }
    }
}

/// Gives money back. The workers pay it.
///
/// # Errors
/// 404 for an unknown order, 409 for one that is not paid, or of which less is left, 422 for an item that it does not have.
pub(crate) async fn give_back(app: &App, context: &CommandContext, command: GiveBack) -> Result<Outcome, ApiError> {
    let of = OrderOf::Order(command.order_id);
    under_lock(app, context, of, Work { app: app.clone(), context: context.clone(), command }).await
}

struct Work {
    app: App,
    context: CommandContext,
    command: GiveBack,
}

impl UnderLock for Work {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            let Self { app, context, command } = &self;
            // Read under the lock: the transaction that held it before may have answered this very request.
            if let Some(request) = &context.idempotency
                && let Some(known) = store::known_refund(&mut *conn, request).await?
            {
                return Outcome::replayed(known, Some(request), EntityType::Refund);
            }
            if let Some(expected) = context.expected_version
                && expected != books.order.version
            {
                return Err(version_mismatch(EntityType::Order, books.order.version, expected));
            }
            let lines = decide(app, &books, &command.what)?;
            let is_invoiced = books.order.shipped_at.is_some();
            let refund = NewRefund {
                kind: RefundKind::Goodwill,
                return_id: None,
                amount_minor: command.what.amount_minor(),
                items: lines.iter().map(|line| item(&books, line)).collect::<Result<_, _>>()?,
                needs_credit_note: is_invoiced,
            };
            let refund = refunds::document(app, context, &books, refund);
            if !is_invoiced {
                let transition = lower_invoice(app, context, &books, &lines, refund.id);
                let outcome = store::correct_order(&mut *conn, transition, true).await.map_err(stored)?;
                if !matches!(outcome, TransitionOutcome::Applied(_)) {
                    return Err(ApiError::internal("an order under its lock did not change"));
                }
            }
            store::insert_refund(conn, &refund, app.ids.next(), context, context.idempotency.as_ref())
                .await
                .map_err(stored)?;
            let document = serde_json::to_string(&refund).map_err(ApiError::internal)?;
            Ok(Outcome::created(EntityType::Refund, refund.id, document))
        }
        .boxed()
    }
}

fn decide(app: &App, books: &OrderBooks, what: &What) -> Result<Vec<ReturnLine>, ApiError> {
    if books.order.paid_at.is_none() {
        let message = format!("the order is {}; nothing was paid that could be given back", books.state);
        return Err(ApiError::conflict("ORDER_NOT_PAID", message)
            .with_details(json!({ "current_state": books.state.as_str() })));
    }
    check_cap(books, what.amount_minor())?;
    let items = books.items(Counting::Completed, None, app.policy)?;
    let asked = match what {
        What::Amount(amount) => Goodwill::Amount(*amount),
        What::Items(items) => Goodwill::Items(items),
    };
    decide_goodwill(&items, asked).map_err(|refusal| refused(&refusal, what))
}

fn refused(refusal: &GoodwillRefusal, what: &What) -> ApiError {
    match refusal {
        GoodwillRefusal::UnknownItem { ids } => {
            let listed = match what {
                What::Items(items) => items.as_slice(),
                What::Amount(_) => &[],
            };
            let mut errors = FieldErrors::default();
            for (index, (id, _)) in listed.iter().enumerate().filter(|(_, (id, _))| ids.contains(id)) {
                errors.add(format!("items[{index}].order_item_id"), format!("{id} is not an item of this order"));
            }
            errors.finish().err().unwrap_or_else(|| ApiError::internal("no item is unknown"))
        }
        GoodwillRefusal::ExceedsPaid { amounts } => {
            let shown = |ExceedingAmount { item, asked_minor, left_minor }: &ExceedingAmount| json!({ "order_item_id": item, "amount_minor": asked_minor, "refundable_minor": left_minor });
            let details = json!({ "items": amounts.iter().map(shown).collect::<Vec<_>>() });
            ApiError::new(StatusCode::CONFLICT, "REFUND_EXCEEDS_PAID", refusal.to_string()).with_details(details)
        }
    }
}

/// What a line of the refund says.
fn item(books: &OrderBooks, line: &ReturnLine) -> Result<RefundItemDocument, ApiError> {
    let ordered = books.ordered(line.order_item_id)?;
    let invoiced = books.order.invoice_line(ordered);
    let is_taxed = invoiced.tax.is_some() || invoiced.shipping_tax.is_some();
    let tax = |charge: &domain::Charge| (is_taxed && charge.paid > 0).then(|| taxation::tax(charge));
    Ok(RefundItemDocument {
        order_item_id: line.order_item_id,
        sku: ordered.sku.clone(),
        title: ordered.title.clone(),
        hsn: ordered.hsn.clone(),
        gst_rate: invoiced.gst_rate,
        amount_minor: line.refund(),
        tax: tax(&line.goods),
        shipping_minor: line.shipping.paid,
        shipping_tax: tax(&line.shipping),
    })
}

/// The order's next version, whose invoice lines are lower by what is given back.
fn lower_invoice(
    app: &App,
    context: &CommandContext,
    books: &OrderBooks,
    lines: &[ReturnLine],
    refund_id: Uuid,
) -> NewTransition {
    let order = &books.order;
    let lowered: Vec<InvoiceLineDocument> = order
        .items
        .iter()
        .map(|item| {
            let mut invoiced = order.invoice_line(item);
            if let Some(line) = lines.iter().find(|line| line.order_item_id == item.id) {
                lower(&mut invoiced, line);
            }
            invoiced
        })
        .collect();
    let metadata = json!({ "refund_id": refund_id, "amount_minor": lines.iter().map(ReturnLine::refund).sum::<i64>() });
    let progress: Value = json!({ "invoice_lines": lowered, "updated_at": context.at });
    NewTransition {
        id: order.id,
        to_state: books.state.as_str(),
        at: context.at,
        progress,
        audit: context.audit_row(metadata),
        event_id: app.ids.next(),
        event_type: EventType::OrderUpdated,
        traceparent: context.traceparent.clone(),
        expected_version: None,
        idempotency: None,
    }
}

fn lower(invoiced: &mut InvoiceLineDocument, line: &ReturnLine) {
    let goods = taxation::charge(invoiced.paid_minor, invoiced.tax.as_ref()).minus(&line.goods);
    let shipping = taxation::charge(invoiced.shipping_minor, invoiced.shipping_tax.as_ref()).minus(&line.shipping);
    invoiced.paid_minor = goods.paid;
    invoiced.tax = invoiced.tax.map(|_| taxation::tax(&goods));
    invoiced.shipping_minor = shipping.paid;
    invoiced.shipping_tax = invoiced.shipping_tax.map(|_| taxation::tax(&shipping));
}
