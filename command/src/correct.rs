//! Corrections of facts: a payment's name, a parcel, a receipt. The order or return stays in its state, and takes the next
//! version, an audit row and an event.

use axum::http::StatusCode;
use contracts::{EntityType, EventType, FeeDocument, OrderState, ReturnDocument, ReturnState};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::ApiError;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::amend::Amendments;
use crate::complete_return::total;
use crate::context::CommandContext;
use crate::e_invoice::Registration;
use crate::order_books::{Counting, OrderBooks};
use crate::outcome::{Outcome, locked, unknown_entity};
use crate::receive_return::counted;
use crate::store::{self, InvoiceNumber, NewTransition, OrderOf, TransitionOutcome};
use crate::transition::{ReceivedItem, no_such_fact, version_mismatch};
use crate::under_lock::{UnderLock, stored, under_lock};

/// The facts to correct. `None`: it stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) payment_transaction_id: Option<String>,
    pub(crate) carrier: Option<String>,
    pub(crate) tracking_number: Option<String>,
    pub(crate) receipt: Option<Vec<ReceivedItem>>,
    pub(crate) fees: Option<Vec<FeeDocument>>,
    pub(crate) e_invoice: Option<Registration>,
    pub(crate) amendments: Amendments,
}

/// Corrects facts of an order.
///
/// # Errors
/// 403 for what only managers correct, 404 for an unknown order, 409 for a fact that the order does not have yet, 412 for another version
/// than the expected one.
pub(crate) async fn order(app: &App, context: &CommandContext, id: Uuid, facts: Facts) -> Result<Outcome, ApiError> {
    if facts.payment_transaction_id.is_some() {
        only_managers(context, "the payment, to which refunds go,")?;
    }
    let work = Correction { app: app.clone(), context: context.clone(), of: Of::Order(id), facts };
    under_lock(app, context, OrderOf::Order(id), work).await
}

/// Corrects facts of a return.
///
/// # Errors
/// As [`order`]; 422 for a receipt that does not add up.
pub(crate) async fn returned(app: &App, context: &CommandContext, id: Uuid, facts: Facts) -> Result<Outcome, ApiError> {
    if facts.fees.is_some() {
        only_managers(context, "the fees")?;
    }
    let work = Correction { app: app.clone(), context: context.clone(), of: Of::Return(id), facts };
    under_lock(app, context, OrderOf::Return(id), work).await
}

fn only_managers(context: &CommandContext, what: &str) -> Result<(), ApiError> {
    if context.decides {
        return Ok(());
    }
    let message = format!("only managers correct {what} of an order or return");
    Err(ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN", message))
}

#[derive(Debug, Clone, Copy)]
enum Of {
    Order(Uuid),
    Return(Uuid),
}

impl Of {
    const fn entity(self) -> (EntityType, Uuid) {
        match self {
            Self::Order(id) => (EntityType::Order, id),
            Self::Return(id) => (EntityType::Return, id),
        }
    }
}

struct Correction {
    app: App,
    context: CommandContext,
    of: Of,
    facts: Facts,
}

/// A fact of an entity.
struct Fact<'a> {
    name: &'static str,
    given: Option<&'a String>,
    stored: Option<&'a String>,
    /// Whether the step has been made that records it.
    is_known: bool,
    known_from: &'static str,
}

impl UnderLock for Correction {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            let (entity, id) = self.of.entity();
            let (state, event_type, changes) = match self.of {
                Of::Order(id) => {
                    let invoice = match &self.facts.e_invoice {
                        Some(_) => store::invoice_number(&mut *conn, id).await?,
                        None => None,
                    };
                    let mut changes = self.of_order(&books, invoice.as_ref())?;
                    changes.extend(self.facts.amendments.of(&self.app, &books)?);
                    let is_registered = changes.contains_key("e_invoice");
                    let event_type = if is_registered { EventType::OrderRegistered } else { EventType::OrderUpdated };
                    (books.state.as_str(), event_type, changes)
                }
                Of::Return(_) => {
                    let Some(state) = books.of_return(id).map(|returned| returned.state) else {
                        // A rejected return has nothing that could be corrected.
                        return Err(no_such_fact(entity, ReturnState::Rejected.as_str(), "receipt", "RECEIVED"));
                    };
                    (state.as_str(), EventType::ReturnUpdated, self.of_return(&books, id)?)
                }
            };
            let applies = !changes.is_empty();
            let new_email = changes.get("customer_email").cloned();
            let correction = self.transition(id, state, event_type, changes);
            let outcome = match self.of {
                Of::Order(_) => store::correct_order(&mut *conn, correction, applies).await,
                Of::Return(_) => store::correct_return(&mut *conn, correction, applies).await,
            };
            let outcome = outcome.map_err(stored)?;
            if let (TransitionOutcome::Applied(_), Some(email)) = (&outcome, new_email) {
                self.write_to_another(conn, &books, &email).await?;
            }
            answer(&self.context, entity, id, outcome)
        }
        .boxed()
    }
}

impl Correction {
    /// The customer's returns are answered to the new address, too.
    async fn write_to_another(
        &self,
        conn: &mut PgConnection,
        books: &OrderBooks,
        email: &Value,
    ) -> Result<(), ApiError> {
        for returned in &books.returns {
            let changes = Map::from_iter([("customer_email".to_owned(), email.clone())]);
            let state = returned.state.as_str();
            let mut correction = self.transition(returned.id, state, EventType::ReturnUpdated, changes);
            (correction.expected_version, correction.idempotency) = (None, None);
            if let TransitionOutcome::Locked =
                store::correct_return(&mut *conn, correction, true).await.map_err(stored)?
            {
                return Err(locked(EntityType::Return, returned.id));
            }
        }
        Ok(())
    }

    fn of_order(&self, books: &OrderBooks, invoice: Option<&InvoiceNumber>) -> Result<Map<String, Value>, ApiError> {
        let (facts, order) = (&self.facts, &books.order);
        let shipped = OrderState::Shipped.as_str();
        let mut changes = changed(
            EntityType::Order,
            books.state.as_str(),
            [
                Fact {
                    name: "payment_transaction_id",
                    given: facts.payment_transaction_id.as_ref(),
                    stored: order.payment_transaction_id.as_ref(),
                    is_known: order.paid_at.is_some(),
                    known_from: OrderState::Paid.as_str(),
                },
                parcel("carrier", facts.carrier.as_ref(), order.carrier.as_ref(), order.shipped_at.is_some(), shipped),
                parcel(
                    "tracking_number",
                    facts.tracking_number.as_ref(),
                    order.tracking_number.as_ref(),
                    order.shipped_at.is_some(),
                    shipped,
                ),
            ],
        )?;
        if let Some(registration) = &facts.e_invoice
            && let Some(registered) = registration.changes(books, invoice, self.context.at)?
        {
            changes.insert("e_invoice".to_owned(), json!(registered));
        }
        Ok(changes)
    }

    fn of_return(&self, books: &OrderBooks, id: Uuid) -> Result<Map<String, Value>, ApiError> {
        let facts = &self.facts;
        let Some(returned) = books.of_return(id) else { return Ok(Map::new()) };
        let (state, sent) = (returned.state, returned.in_transit_at.is_some());
        let in_transit = ReturnState::InTransit.as_str();
        let mut changes = changed(
            EntityType::Return,
            state.as_str(),
            [
                parcel("carrier", facts.carrier.as_ref(), returned.carrier.as_ref(), sent, in_transit),
                parcel(
                    "tracking_number",
                    facts.tracking_number.as_ref(),
                    returned.tracking_number.as_ref(),
                    sent,
                    in_transit,
                ),
            ],
        )?;
        let mut corrected = returned.clone();
        if let Some(fees) = &facts.fees {
            check_open(returned, "fees")?;
            if *fees != returned.fees {
                corrected.fees.clone_from(fees);
                changes.insert("fees".to_owned(), json!(fees));
            }
        }
        let items = match &facts.receipt {
            Some(receipt) => {
                check_open(returned, "receipt")?;
                if state != ReturnState::Received {
                    return Err(no_such_fact(EntityType::Return, state.as_str(), "receipt", "RECEIVED"));
                }
                counted(&self.app, books, &corrected, receipt)?
            }
            None if changes.contains_key("fees") => {
                books.priced(&corrected, Counting::Open, self.app.policy, &self.app.ids)?
            }
            None => return Ok(changes),
        };
        if items != returned.items {
            changes.insert("refund_amount_minor".to_owned(), json!(total(&items)));
            changes.insert("items".to_owned(), json!(items));
        }
        Ok(changes)
    }

    fn transition(
        &self,
        id: Uuid,
        state: &'static str,
        event_type: EventType,
        changes: Map<String, Value>,
    ) -> NewTransition {
        let context = &self.context;
        let mut metadata = changes.clone();
        metadata.remove("items");
        if let (Some(receipt), true) = (&self.facts.receipt, changes.contains_key("items")) {
            metadata.insert("receipt".to_owned(), json!(receipt));
        }
        let mut progress = changes;
        progress.insert("updated_at".to_owned(), json!(context.at));
        NewTransition {
            id,
            to_state: state,
            at: context.at,
            progress: Value::Object(progress),
            audit: context.audit_row(Value::Object(metadata)),
            event_id: self.app.ids.next(),
            event_type,
            traceparent: context.traceparent.clone(),
            expected_version: context.expected_version,
            idempotency: context.idempotency.clone(),
        }
    }
}

/// What the outcome of a correction means for the client.
pub(crate) fn answer(
    context: &CommandContext,
    entity: EntityType,
    id: Uuid,
    outcome: TransitionOutcome,
) -> Result<Outcome, ApiError> {
    match outcome {
        TransitionOutcome::NotFound => Err(unknown_entity(entity, id)),
        TransitionOutcome::Locked => Err(locked(entity, id)),
        TransitionOutcome::Known(known) => Outcome::replayed(known, context.idempotency.as_ref(), entity),
        TransitionOutcome::Applied(stored) => Ok(Outcome::of(entity, id, &stored)),
        TransitionOutcome::Unchanged(stored) => match context.expected_version {
            Some(expected) if expected != stored.version => Err(version_mismatch(entity, stored.version, expected)),
            _ => Ok(Outcome::unchanged(entity, id, stored)),
        },
    }
}

/// What a completed return refunds is fixed.
fn check_open(returned: &ReturnDocument, fact: &str) -> Result<(), ApiError> {
    if returned.state != ReturnState::Completed {
        return Ok(());
    }
    let message = format!("the return is COMPLETED, and its refund is fixed; its {fact} cannot be corrected");
    Err(ApiError::conflict("FACT_IS_FINAL", message).with_details(json!({ "fact": fact })))
}

fn parcel<'a>(
    name: &'static str,
    given: Option<&'a String>,
    stored: Option<&'a String>,
    is_known: bool,
    known_from: &'static str,
) -> Fact<'a> {
    Fact { name, given, stored, is_known, known_from }
}

/// Those of the given facts that differ from the stored ones.
fn changed<const N: usize>(
    entity: EntityType,
    state: &str,
    facts: [Fact<'_>; N],
) -> Result<Map<String, Value>, ApiError> {
    let mut changes = Map::new();
    for Fact { name, given, stored, is_known, known_from } in facts {
        let Some(given) = given else { continue };
        if !is_known {
            return Err(no_such_fact(entity, state, name, known_from));
        }
        if stored != Some(given) {
            changes.insert(name.to_owned(), json!(given));
        }
    }
    Ok(changes)
}
