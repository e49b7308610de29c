//! A step of an order or a return to another state.
//!
//! `domain`'s table decides whether a step is legal. The statement gets it as data, and a refusal is explained by
//! [`decide`], so both say the same.

use std::marker::PhantomData;

use axum::http::StatusCode;
use contracts::{EntityType, EventType, FeeDocument};
use domain::{Decision, InvalidTransition, OrderState, ReturnState, State, decide};
use runtime::ApiError;
use runtime::database::limited;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::batcher::{Batched, Batchers};
use crate::context::CommandContext;
use crate::idempotency::key_reused;
use crate::outcome::{Outcome, locked, unknown_entity};
use crate::store::{self, NewTransition, Stored, TransitionOutcome};
use crate::under_lock::stored;

/// The category of a rejection that is the customer's own.
pub(crate) const WITHDRAWN: &str = "WITHDRAWN";

/// The command: take this entity to that state.
#[derive(Debug)]
pub(crate) struct ChangeState<S> {
    pub(crate) id: Uuid,
    pub(crate) to: S,
    pub(crate) details: Details,
}

/// What a step adds to the document. The same goes into the audit as its metadata.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Details {
    /// What the warehouse counted. In the document it stands with the items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipt: Option<Vec<ReceivedItem>>,
    /// What is kept back from the refund of a return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fees: Option<Vec<FeeDocument>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payment_transaction_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) carrier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tracking_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approval_notes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rejection_category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rejection_reason: Option<String>,
}

/// What the warehouse found of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ReceivedItem {
    pub(crate) order_item_id: Uuid,
    pub(crate) accepted_quantity: i32,
    pub(crate) rejected_quantity: i32,
    pub(crate) missing_quantity: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rejection_reason: Option<String>,
}

/// A state machine whose steps are commands: orders and returns.
pub(crate) trait Machine: State + Send + Sync {
    const ENTITY: EntityType;
    /// Names the batchers in metrics and in the log.
    const BATCHERS: &'static str;

    fn batchers(app: &App) -> &Batchers<Transitions<Self>>;

    /// The event of a step to this state, and the field of the document that holds its time.
    fn event(self) -> (EventType, &'static str);

    fn execute(
        conn: &mut PgConnection,
        batch: &[NewTransition],
    ) -> impl Future<Output = sqlx::Result<Vec<TransitionOutcome>>> + Send;
}

impl Machine for OrderState {
    const ENTITY: EntityType = EntityType::Order;
    const BATCHERS: &'static str = "order transitions";

    fn batchers(app: &App) -> &Batchers<Transitions<Self>> {
        &app.order_transitions
    }

    fn event(self) -> (EventType, &'static str) {
        match self {
            Self::PendingPayment => (EventType::OrderCreated, "created_at"),
            Self::Paid => (EventType::OrderPaid, "paid_at"),
            Self::ProcessingInWarehouse => (EventType::OrderProcessing, "processing_at"),
            Self::Shipped => (EventType::OrderShipped, "shipped_at"),
            Self::Delivered => (EventType::OrderDelivered, "delivered_at"),
            Self::Cancelled => (EventType::OrderCancelled, "cancelled_at"),
        }
    }

    async fn execute(conn: &mut PgConnection, batch: &[NewTransition]) -> sqlx::Result<Vec<TransitionOutcome>> {
        store::transition_orders(conn, batch).await
    }
}

impl Machine for ReturnState {
    const ENTITY: EntityType = EntityType::Return;
    const BATCHERS: &'static str = "return transitions";

    fn batchers(app: &App) -> &Batchers<Transitions<Self>> {
        &app.return_transitions
    }

    fn event(self) -> (EventType, &'static str) {
        match self {
            Self::Requested => (EventType::ReturnRequested, "created_at"),
            Self::Approved => (EventType::ReturnApproved, "approved_at"),
            Self::Rejected => (EventType::ReturnRejected, "rejected_at"),
            Self::InTransit => (EventType::ReturnInTransit, "in_transit_at"),
            Self::Received => (EventType::ReturnReceived, "received_at"),
            Self::Completed => (EventType::ReturnCompleted, "completed_at"),
        }
    }

    async fn execute(conn: &mut PgConnection, batch: &[NewTransition]) -> sqlx::Result<Vec<TransitionOutcome>> {
        store::transition_returns(conn, batch).await
    }
}

/// The transitions of one machine, as a kind of command with batches.
#[derive(Debug)]
pub(crate) struct Transitions<S>(PhantomData<S>);

impl<S: Machine> Batched for Transitions<S> {
    type Command = NewTransition;
    type Outcome = TransitionOutcome;
    type Key = Uuid;
    const NAME: &'static str = S::BATCHERS;

    fn key(command: &NewTransition) -> Uuid {
        command.id
    }

    fn aggregate(command: &NewTransition) -> Uuid {
        command.id
    }

    async fn execute(conn: &mut PgConnection, batch: &[NewTransition]) -> sqlx::Result<Vec<TransitionOutcome>> {
        S::execute(conn, batch).await
    }

    fn changed(outcome: &TransitionOutcome) -> bool {
        matches!(outcome, TransitionOutcome::Applied(_))
    }

    fn blocked(outcome: &TransitionOutcome) -> bool {
        matches!(outcome, TransitionOutcome::Locked)
    }
}

/// Carries out one step in the caller's transaction.
pub(crate) async fn step<S: Machine>(
    conn: &mut PgConnection,
    transition: NewTransition,
) -> Result<TransitionOutcome, ApiError> {
    let outcomes = S::execute(conn, &[transition]).await.map_err(stored)?;
    outcomes.into_iter().next().ok_or_else(|| ApiError::internal("a step without an outcome"))
}

/// Takes an order or a return to a state, with other commands in one statement.
pub(crate) async fn change_in_batch<S: Machine>(
    app: &App,
    context: &CommandContext,
    command: ChangeState<S>,
) -> Result<Outcome, ApiError> {
    let _in_flight = app.in_flight.enter(context.idempotency.as_ref())?;
    let transition = new_transition(app, context, &command)?;
    let repeated = context.idempotency.is_some().then(|| transition.clone());
    let mut outcome = S::batchers(app).execute(transition).await?;
    // The same request may have made this step in another process while the statement ran. The statement found the new
    // state, but could not see the stored answer; a second look finds it.
    if let (TransitionOutcome::Unchanged(_), Some(repeated)) = (&outcome, repeated) {
        outcome = S::batchers(app).execute(repeated).await?;
    }
    let outcome = answer(context, &command, outcome)?;
    if let (Some(request), Some(unchanged)) = (&context.idempotency, outcome.to_remember()) {
        let mut conn = app.pool.acquire().await?;
        if !limited(store::remember_unchanged(&mut conn, request, &unchanged, context.at)).await? {
            return Err(key_reused());
        }
    }
    Ok(outcome)
}

/// Rejects a return that no manager has reviewed in time. Returns whether it still was unreviewed: a manager may have
/// decided in the same moment.
pub(crate) async fn reject_unreviewed(app: &App, context: &CommandContext, id: Uuid) -> Result<bool, ApiError> {
    let details = Details {
        rejection_category: Some("REVIEW_EXPIRED".to_owned()),
        rejection_reason: context.reason.clone(),
        ..Details::default()
    };
    let command = ChangeState { id, to: ReturnState::Rejected, details };
    let transition = new_transition(app, context, &command)?;
    match app.return_transitions.execute(transition).await? {
        TransitionOutcome::Locked => Err(locked(EntityType::Return, id)),
        outcome => Ok(matches!(outcome, TransitionOutcome::Applied(_))),
    }
}

pub(crate) fn new_transition<S: Machine>(
    app: &App,
    context: &CommandContext,
    command: &ChangeState<S>,
) -> Result<NewTransition, ApiError> {
    let (event_type, time) = command.to.event();
    let Value::Object(details) = serde_json::to_value(&command.details).map_err(ApiError::internal)? else {
        return Err(ApiError::internal("the details of a step are not an object"));
    };
    let mut progress = details.clone();
    progress.remove("receipt");
    progress.insert(time.to_owned(), json!(context.at));
    progress.insert("updated_at".to_owned(), json!(context.at));
    Ok(NewTransition {
        id: command.id,
        to_state: command.to.as_str(),
        at: context.at,
        progress: Value::Object(progress),
        audit: context.audit_row(Value::Object(details)),
        event_id: app.ids.next(),
        event_type,
        traceparent: context.traceparent.clone(),
        expected_version: context.expected_version,
        idempotency: context.idempotency.clone(),
    })
}

/// What the outcome of a step means for the client.
pub(crate) fn answer<S: Machine>(
    context: &CommandContext,
    command: &ChangeState<S>,
    outcome: TransitionOutcome,
) -> Result<Outcome, ApiError> {
    let (entity, id, to) = (S::ENTITY, command.id, command.to);
    match outcome {
        TransitionOutcome::NotFound => Err(unknown_entity(entity, id)),
        TransitionOutcome::Locked => Err(locked(entity, id)),
        TransitionOutcome::Known(known) => Outcome::replayed(known, context.idempotency.as_ref(), entity),
        TransitionOutcome::Applied(stored) => Ok(Outcome::of(entity, id, &stored)),
        TransitionOutcome::Unchanged(stored) => {
            if let Some(expected) = context.expected_version
                && expected != stored.version
            {
                return Err(version_mismatch(entity, stored.version, expected));
            }
            match decide(stored.state.parse::<S>().map_err(ApiError::internal)?, to) {
                Ok(Decision::AlreadyThere) => {
                    contradicts(entity, &command.details, &stored)?;
                    Ok(Outcome::unchanged(entity, id, stored))
                }
                Err(invalid) => Err(invalid_transition(&invalid)),
                Ok(Decision::Apply) => {
                    Err(ApiError::internal(format!("{} to {to} is legal but was not applied", stored.state)))
                }
            }
        }
    }
}

/// Refuses a repeat that says something else than the step that was made: it would be lost. A second payment, for instance.
fn contradicts(entity: EntityType, details: &Details, stored: &Stored) -> Result<(), ApiError> {
    let progress: Value = serde_json::from_str(&stored.progress).map_err(ApiError::internal)?;
    // A rejection that is repeated for another reason changes nothing. Only who ended the request, the customer or the shop, must not
    // be mistaken.
    let is_withdrawn = |category: Option<&str>| category == Some(WITHDRAWN);
    let category = details
        .rejection_category
        .as_ref()
        .filter(|given| is_withdrawn(Some(given.as_str())) != is_withdrawn(progress["rejection_category"].as_str()));
    let facts = [
        ("payment_transaction_id", details.payment_transaction_id.as_ref()),
        ("carrier", details.carrier.as_ref()),
        ("tracking_number", details.tracking_number.as_ref()),
        ("rejection_category", category),
    ];
    for (fact, given) in facts {
        let (Some(given), known) = (given, progress[fact].as_str()) else { continue };
        if known != Some(given) {
            let known_as = known.map_or_else(|| "none".to_owned(), |known| format!("{known:?}"));
            let message =
                format!("the {entity} is {} already, with the {fact} {known_as} and not {given:?}", stored.state);
            return Err(conflicting_fact(fact, &json!(known), &json!(given), message));
        }
    }
    Ok(())
}

/// 409 for a fact that differs from the stored one.
pub(crate) fn conflicting_fact(fact: &str, stored: &Value, given: &Value, message: String) -> ApiError {
    ApiError::conflict("CONFLICTING_FACT", message)
        .with_details(json!({ "fact": fact, "stored": stored, "given": given }))
}

/// 409 for the correction of a fact that is not known yet.
pub(crate) fn no_such_fact(entity: EntityType, state: &str, fact: &str, known_from: &str) -> ApiError {
    let message = format!("the {entity} is {state}; its {fact} can be corrected once it is {known_from}");
    ApiError::conflict("FACT_NOT_RECORDED", message)
        .with_details(json!({ "fact": fact, "current_state": state, "recorded_from": known_from }))
}

fn invalid_transition<S: State>(invalid: &InvalidTransition<S>) -> ApiError {
    let allowed: Vec<_> = invalid.current.allowed().iter().map(|state| state.as_str()).collect();
    ApiError::conflict("INVALID_STATE_TRANSITION", invalid.to_string()).with_details(json!({
        "current_state": invalid.current.as_str(),
        "requested_state": invalid.requested.as_str(),
        "allowed_transitions": allowed,
    }))
}

pub(crate) fn version_mismatch(entity: EntityType, current: i32, expected: i32) -> ApiError {
    let message = format!("the {entity} is at version {current}; read it again and decide again");
    ApiError::new(StatusCode::PRECONDITION_FAILED, "VERSION_MISMATCH", message)
        .with_details(json!({ "current_version": current, "expected_version": expected }))
}
