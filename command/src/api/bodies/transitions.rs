//! The body of `POST /orders/transitions`.

use domain::OrderState;
use runtime::{ApiError, FieldErrors};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{check_optional, check_prose, reason_and_actor};
use crate::transition::Details;

const MAX_TRANSITIONS: usize = 100;

/// Steps of several orders. They are carried out one by one: a step that is refused leaves the others alone.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct OrderTransitions {
    /// Those of one order are carried out in this order.
    #[schema(min_items = 1, max_items = 100)]
    pub(in crate::api) transitions: Vec<OrderTransition>,
    /// Of all steps that name no reason of their own.
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// A step of one order.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct OrderTransition {
    pub(in crate::api) order_id: Uuid,
    #[serde(with = "contracts::named")]
    #[schema(value_type = contracts::schema::OrderState)]
    pub(in crate::api) new_state: OrderState,
    /// The version that the step expects, as `If-Match` says it elsewhere.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 999_999_999)]
    pub(in crate::api) expected_version: Option<i32>,
    /// For `PAID`.
    #[serde(default)]
    #[schema(max_length = 128)]
    payment_transaction_id: Option<String>,
    /// For `SHIPPED`.
    #[serde(default)]
    #[schema(max_length = 64)]
    carrier: Option<String>,
    /// For `SHIPPED`.
    #[serde(default)]
    #[schema(max_length = 128)]
    tracking_number: Option<String>,
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub(in crate::api) reason: Option<String>,
}

reason_and_actor!(OrderTransitions);

impl OrderTransitions {
    /// # Errors
    /// 422 with every invalid field.
    pub(in crate::api) fn validate(&self) -> Result<(), ApiError> {
        let mut errors = FieldErrors::default();
        super::check_reason_and_actor(&mut errors, self);
        if !(1..=MAX_TRANSITIONS).contains(&self.transitions.len()) {
            errors.add("transitions", format!("must be from 1 to {MAX_TRANSITIONS}"));
        }
        for (index, step) in self.transitions.iter().enumerate().take(MAX_TRANSITIONS) {
            let field = |name: &str| format!("transitions[{index}].{name}");
            check_optional(&mut errors, &field("payment_transaction_id"), step.payment_transaction_id.as_deref(), 128);
            check_optional(&mut errors, &field("carrier"), step.carrier.as_deref(), 64);
            check_optional(&mut errors, &field("tracking_number"), step.tracking_number.as_deref(), 128);
            check_prose(&mut errors, &field("reason"), step.reason.as_deref(), 1000);
            if step.expected_version.is_some_and(|version| !(1..=999_999_999).contains(&version)) {
                errors.add(field("expected_version"), "must be a version: 1 or more");
            }
            if step.payment_transaction_id.is_some() && step.new_state != OrderState::Paid {
                errors.add(field("payment_transaction_id"), "is of a payment: leave it out unless new_state is PAID");
            }
            if step.new_state != OrderState::Shipped && (step.carrier.is_some() || step.tracking_number.is_some()) {
                errors.add(
                    field("tracking_number"),
                    "is of a parcel: leave carrier and tracking_number out unless new_state is SHIPPED",
                );
            }
        }
        errors.finish()
    }
}

impl OrderTransition {
    pub(in crate::api) fn details(&self) -> Details {
        Details {
            payment_transaction_id: self.payment_transaction_id.clone(),
            carrier: self.carrier.clone(),
            tracking_number: self.tracking_number.clone(),
            ..Details::default()
        }
    }
}
