//! Steps of several orders in one request.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use contracts::OrderDocument;
use domain::OrderState;
use futures_util::{StreamExt, stream};
use runtime::ApiError;
use runtime::http::ApiJsonSent;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::CommandErrors;
use super::bodies::{OrderTransition, OrderTransitions};
use super::incoming::KeyHeader;
use crate::App;
use crate::context::{CommandContext, Sender};
use crate::dispatch::Dispatch;
use crate::outcome::Outcome;
use crate::transition::ChangeState;

/// Orders that are changed at once. The batchers commit them together.
const AT_ONCE: usize = 32;

/// What came of each step, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TransitionResults {
    results: Vec<TransitionResult>,
    /// How many steps were not refused.
    succeeded: usize,
    /// How many were.
    failed: usize,
}

/// What came of a step.
#[derive(Debug, Serialize, ToSchema)]
struct TransitionResult {
    order_id: Uuid,
    /// The HTTP status that the step alone would have got.
    #[schema(minimum = 200, maximum = 599)]
    status: u16,
    /// The order, unless the step was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<OrderDocument>)]
    order: Option<Box<RawValue>>,
    /// The order's token: see `X-Consistency-Token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    consistency_token: Option<String>,
    /// Why the step was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<StepError>,
}

/// Why a step was refused.
#[derive(Debug, Serialize, ToSchema)]
struct StepError {
    /// As in the answer to a single step.
    #[schema(example = "INVALID_STATE_TRANSITION")]
    code: &'static str,
    message: String,
    #[schema(value_type = Object)]
    details: Value,
}

/// Change the states of several orders
///
/// Up to 100 steps, each like `PATCH /orders/{id}/state`. The answer is 200 with what came of each: a refused step leaves the others
/// alone. Steps of one order are carried out in the order of the request. With an `Idempotency-Key` a repeated request gets the first
/// answer of each step that succeeded, and tries the others again.
#[utoipa::path(post, path = "/orders/transitions", operation_id = "change_order_states", tag = "Orders: commands",
    request_body = OrderTransitions, params(KeyHeader),
    responses((status = 200, body = TransitionResults), CommandErrors))]
pub(super) async fn change_states(
    State(app): State<App>,
    sender: Sender,
    ApiJsonSent { body, sent }: ApiJsonSent<OrderTransitions>,
) -> Result<Response, ApiError> {
    let context = CommandContext::of_request(sender, "orders/transitions", &body, &sent, app.clock.now());
    body.validate()?;
    let context = context?.moving_money(app.requires_key)?;
    let mut by_order: BTreeMap<Uuid, Vec<(usize, OrderTransition)>> = BTreeMap::new();
    for (place, step) in body.transitions.into_iter().enumerate() {
        by_order.entry(step.order_id).or_default().push((place, step));
    }
    let of_order = |steps: Vec<(usize, OrderTransition)>| {
        let (app, context) = (&app, &context);
        async move {
            let mut results = Vec::with_capacity(steps.len());
            for (place, step) in steps {
                results.push((place, carried_out(app, context, place, &step).await));
            }
            results
        }
    };
    let results = stream::iter(by_order.into_values().map(of_order)).buffer_unordered(AT_ONCE);
    let mut results: Vec<_> = results.collect::<Vec<_>>().await.into_iter().flatten().collect();
    results.sort_by_key(|(place, _)| *place);
    let results: Vec<_> = results.into_iter().map(|(_, result)| result).collect();
    let failed = results.iter().filter(|result| result.error.is_some()).count();
    let answer = TransitionResults { succeeded: results.len() - failed, failed, results };
    let body = serde_json::to_string(&answer).map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn carried_out(app: &App, context: &CommandContext, place: usize, step: &OrderTransition) -> TransitionResult {
    let mut context = context.clone();
    if let Some(request) = &mut context.idempotency {
        // The answers are stored one by one.
        request.route = format!("orders/transitions/{place}");
    }
    context.expected_version = step.expected_version;
    context.reason = step.reason.clone().or(context.reason);
    let command = ChangeState { id: step.order_id, to: step.new_state, details: step.details() };
    result_of(app, step.order_id, OrderState::change(app, &context, command).await)
}

fn result_of(app: &App, order_id: Uuid, outcome: Result<Outcome, ApiError>) -> TransitionResult {
    let refused = |error: ApiError| TransitionResult {
        order_id,
        status: error.status.as_u16(),
        order: None,
        consistency_token: None,
        error: Some(StepError { code: error.code, message: error.message, details: error.details }),
    };
    match outcome.and_then(|outcome| {
        let document = RawValue::from_string(outcome.document).map_err(ApiError::internal)?;
        Ok((outcome.status, outcome.version, document))
    }) {
        Ok((status, version, order)) => TransitionResult {
            order_id,
            status: status.as_u16(),
            order: Some(order),
            consistency_token: Some(app.consistency_key.token("order", order_id, version)),
            error: None,
        },
        Err(error) => refused(error),
    }
}
