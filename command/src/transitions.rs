//! A step of an order or a return: from a checked request to an answer.

use axum::http::StatusCode;
use contracts::{EntityType, EventType};
use domain::{Decision, InvalidTransition, OrderState, ReturnState, State, decide};
use runtime::ApiError;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::App;
use crate::api::body::{Checks, StepBody, rejection};
use crate::api::{Answer, Incoming, entity_id, not_found};
use crate::intent::{Conditions, Origin};
use crate::lanes::{Lanes, Slices};
use crate::store::{Transition, TransitionOutcome};

/// Takes an order to a state.
pub(crate) async fn change_order<B: StepBody>(
    app: &App,
    incoming: Incoming<B>,
    verb: &str,
    to: OrderState,
) -> Result<Answer, ApiError> {
    use OrderState as S;
    let (event_type, time) = match to {
        S::PendingPayment => (EventType::OrderCreated, "created_at"),
        S::Paid => (EventType::OrderPaid, "paid_at"),
        S::ProcessingInWarehouse => (EventType::OrderProcessing, "processing_at"),
        S::Shipped => (EventType::OrderShipped, "shipped_at"),
        S::Delivered => (EventType::OrderDelivered, "delivered_at"),
        S::Cancelled => (EventType::OrderCancelled, "cancelled_at"),
    };
    let step = Step { entity: EntityType::Order, to, event_type, time };
    step.carry_out(app, &app.order_transitions, incoming, verb).await
}

/// Takes a return to a state.
pub(crate) async fn change_return<B: StepBody>(
    app: &App,
    incoming: Incoming<B>,
    verb: &str,
    to: ReturnState,
) -> Result<Answer, ApiError> {
    return_step(to).carry_out(app, &app.return_transitions, incoming, verb).await
}

fn return_step(to: ReturnState) -> Step<ReturnState> {
    use ReturnState as S;
    let (event_type, time) = match to {
        S::Requested => (EventType::ReturnRequested, "created_at"),
        S::Approved => (EventType::ReturnApproved, "approved_at"),
        S::Rejected => (EventType::ReturnRejected, "rejected_at"),
        S::InTransit => (EventType::ReturnInTransit, "in_transit_at"),
        S::Received => (EventType::ReturnReceived, "received_at"),
        S::Completed => (EventType::ReturnCompleted, "completed_at"),
    };
    Step { entity: EntityType::Return, to, event_type, time }
}

/// Rejects a return that nobody has reviewed, as a manager's rejection would. Returns whether it was there to be rejected:
/// a manager may have decided in the same moment.
pub(crate) async fn reject_unreviewed(app: &App, id: Uuid, origin: &Origin) -> Result<bool, ApiError> {
    let data = rejection(Some("REVIEW_EXPIRED"), origin.reason.as_ref());
    let command = return_step(ReturnState::Rejected).command(app, id, data, origin, Conditions::default());
    Ok(matches!(app.return_transitions.execute(command).await?, TransitionOutcome::Applied { .. }))
}

struct Step<S> {
    entity: EntityType,
    to: S,
    event_type: EventType,
    /// The field of the document that gets the time.
    time: &'static str,
}

impl<S: State> Step<S> {
    /// `verb` and the id name the route for the idempotency key.
    async fn carry_out<L, B>(
        &self,
        app: &App,
        lanes: &Lanes<L>,
        incoming: Incoming<B>,
        verb: &str,
    ) -> Result<Answer, ApiError>
    where
        L: Slices<Command = Transition, Outcome = TransitionOutcome>,
        B: StepBody,
    {
        let Incoming { id, context, headers, body } = incoming;
        let mut checks = Checks::default();
        checks.step(body.reason(), body.actor());
        body.check(&mut checks);
        checks.done()?;
        let conditions = Conditions::read(&headers, &format!("{id}/{verb}"), &context, &body)?;
        let origin = Origin::new(context, body.actor().cloned(), body.reason().cloned(), app.clock.now());
        let command = self.command(app, entity_id(self.entity, &id)?, body.data(), &origin, conditions);
        let (expected, key) = (command.expected_version, command.idempotency.clone());
        let _guard = app.in_flight.enter(key.as_ref())?;
        let again = key.is_some().then(|| command.clone());
        let mut outcome = lanes.execute(command).await?;
        // The state may have been reached a moment ago by this very request in another process, which the statement
        // waited for but could not see: looked at once more, its answer is known.
        if let (TransitionOutcome::Unchanged { .. }, Some(again)) = (&outcome, again) {
            outcome = lanes.execute(again).await?;
        }
        self.answer(&id, outcome, expected, key.as_ref())
    }

    fn command(&self, app: &App, id: Uuid, data: Value, origin: &Origin, conditions: Conditions) -> Transition {
        let mut data = match data {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        data.retain(|_, value| !value.is_null());
        let metadata = Value::Object(data.clone());
        let mut progress: Map<String, Value> = data;
        progress.insert(self.time.to_owned(), json!(origin.at));
        progress.insert("updated_at".to_owned(), json!(origin.at));
        Transition {
            id,
            to_state: self.to.as_str(),
            at: origin.at,
            progress: Value::Object(progress),
            audit: origin.transition(self.entity.as_str(), id, self.to.as_str(), &metadata),
            event_id: app.ids.next(),
            event_type: self.event_type,
            headers: origin.headers(),
            expected_version: conditions.expected_version,
            idempotency: conditions.idempotency,
        }
    }

    fn answer(
        &self,
        id: &str,
        outcome: TransitionOutcome,
        expected_version: Option<i32>,
        key: Option<&crate::intent::IdempotencyKey>,
    ) -> Result<Answer, ApiError> {
        let uuid = entity_id(self.entity, id)?;
        let done = |version, body| Answer {
            status: StatusCode::OK,
            entity: self.entity,
            id: uuid,
            version,
            body,
            replayed: false,
        };
        match outcome {
            TransitionOutcome::NotFound => Err(not_found(self.entity, id)),
            TransitionOutcome::Known(known) => Answer::known(known, key, self.entity),
            TransitionOutcome::Applied { version, body } => Ok(done(version, body)),
            TransitionOutcome::Unchanged { version, .. }
                if expected_version.is_some_and(|expected| expected != version) =>
            {
                Err(version_mismatch(self.entity, version, expected_version))
            }
            TransitionOutcome::Unchanged { state, version, body } => {
                match decide(state.parse().map_err(ApiError::internal)?, self.to) {
                    Ok(Decision::AlreadyThere) => Ok(done(version, body)),
                    Err(invalid) => Err(invalid_transition(&invalid)),
                    Ok(Decision::Apply) => {
                        Err(ApiError::internal(format!("{state} to {} is legal but was not applied", self.to)))
                    }
                }
            }
        }
    }
}

fn invalid_transition<S: State>(invalid: &InvalidTransition<S>) -> ApiError {
    let allowed: Vec<_> = invalid.current.allowed().iter().map(|state| state.as_str()).collect();
    ApiError::conflict("INVALID_STATE_TRANSITION", invalid.to_string()).with_details(json!({
        "current_state": invalid.current.as_str(),
        "requested_state": invalid.requested.as_str(),
        "allowed_transitions": allowed,
    }))
}

fn version_mismatch(entity: EntityType, current: i32, expected: Option<i32>) -> ApiError {
    let message = format!("the {entity} is at version {current}; read it again and decide anew");
    ApiError::new(StatusCode::PRECONDITION_FAILED, "VERSION_MISMATCH", message)
        .with_details(json!({ "current_version": current, "expected_version": expected }))
}
