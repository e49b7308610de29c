//! Bodies of return commands.

use domain::ReturnState;
use runtime::{ApiError, FieldErrors};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::receipt::{Fee, ReceivedItem, check_fees, check_received, parsed_fees, parsed_items};
use super::{StepBody, check_optional, check_prose, check_reason_and_actor, check_text, reason_and_actor};
use crate::context::Body;
use crate::transition::{Details, WITHDRAWN};
use crate::{preview_return, request_return};

/// The return of some units of an order's items.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct RequestReturn {
    order_id: Uuid,
    /// At least one.
    #[serde(default)]
    #[schema(required = true, min_items = 1, max_items = 500)]
    items: Vec<ReturnItem>,
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// Units of one item.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ReturnItem {
    /// `items[].id` of the order.
    order_item_id: Uuid,
    #[schema(minimum = 1, maximum = 100_000)]
    quantity: i64,
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
}

/// Which units of an order are to be returned.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PreviewReturn {
    order_id: Uuid,
    /// All units that may be returned when it is left out.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 500)]
    items: Option<Vec<ReturnItem>>,
}

/// A manager's approval.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api) struct Approve {
    #[schema(max_length = 1000)]
    approval_notes: Option<String>,
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// A manager's rejection. Both the category and the reason are required.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api) struct Reject {
    #[schema(required = true, nullable = false, max_length = 64, example = "DAMAGED_BY_CUSTOMER")]
    rejection_category: Option<String>,
    /// The customer reads it. It is also the reason in the history.
    #[schema(required = true, nullable = false, max_length = 1000)]
    rejection_reason: Option<String>,
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// The state to which a return shall change. `REJECTED` requires a `rejection_reason`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ChangeReturnState {
    #[serde(with = "contracts::named")]
    #[schema(value_type = contracts::schema::ReturnState)]
    pub(in crate::api) new_state: ReturnState,
    /// For `REJECTED`; `OTHER` when absent.
    #[serde(default)]
    #[schema(max_length = 64)]
    rejection_category: Option<String>,
    /// For `REJECTED`. The customer reads it.
    #[serde(default)]
    #[schema(max_length = 1000)]
    rejection_reason: Option<String>,
    /// For `APPROVED`.
    #[serde(default)]
    #[schema(max_length = 1000)]
    approval_notes: Option<String>,
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// What arrived of a return, by the unit. Items that are not listed were accepted in full.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Receive {
    #[serde(default)]
    #[schema(max_items = 500)]
    items: Option<Vec<ReceivedItem>>,
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// The completion of a return.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Complete {
    /// Kept back from the refund, each kind once. Without it, the fees that were set before stay.
    #[serde(default)]
    #[schema(max_items = 2)]
    fees: Option<Vec<Fee>>,
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// Facts of a return to correct. What is left out stays as it is.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CorrectReturn {
    /// From `IN_TRANSIT` on.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    carrier: Option<String>,
    /// From `IN_TRANSIT` on.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    tracking_number: Option<String>,
    /// Another receipt, while the return is `RECEIVED`. Items that are not listed stay as they are.
    #[serde(default)]
    #[schema(max_items = 500)]
    items: Option<Vec<ReceivedItem>>,
    /// Fees to keep back from the refund, each kind once, until the return is `COMPLETED`. An empty list removes them.
    #[serde(default)]
    #[schema(max_items = 2)]
    fees: Option<Vec<Fee>>,
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// A customer's withdrawal of a return that no manager has reviewed yet.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api) struct Withdraw {
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[schema(max_length = 64)]
    actor: Option<String>,
}

reason_and_actor!(RequestReturn, Approve, Receive, Complete, CorrectReturn, Withdraw);

impl Body for ChangeReturnState {
    fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    fn reason(&self) -> Option<&str> {
        self.reason.as_deref().or(self.rejection_reason.as_deref().filter(|_| self.new_state == ReturnState::Rejected))
    }

    fn reason_field(&self) -> &'static str {
        if self.reason.is_some() || self.new_state != ReturnState::Rejected { "reason" } else { "rejection_reason" }
    }
}

impl Body for Reject {
    fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    fn reason(&self) -> Option<&str> {
        self.rejection_reason.as_deref()
    }

    fn reason_field(&self) -> &'static str {
        "rejection_reason"
    }
}

impl StepBody for Withdraw {
    fn into_details(self) -> Details {
        Details {
            rejection_category: Some(WITHDRAWN.to_owned()),
            rejection_reason: Some(self.reason.unwrap_or_else(|| "withdrawn by the customer".to_owned())),
            ..Details::default()
        }
    }
}

impl StepBody for Receive {
    fn check(&self, errors: &mut FieldErrors) {
        check_received(errors, self.items.as_deref());
    }

    fn into_details(self) -> Details {
        Details { receipt: self.items.map(parsed_items), ..Details::default() }
    }
}

impl StepBody for Complete {
    fn check(&self, errors: &mut FieldErrors) {
        check_fees(errors, self.fees.as_deref());
    }

    fn into_details(self) -> Details {
        Details { fees: self.fees.map(parsed_fees), ..Details::default() }
    }
}

impl StepBody for CorrectReturn {
    fn check(&self, errors: &mut FieldErrors) {
        check_optional(errors, "carrier", self.carrier.as_deref(), 64);
        check_optional(errors, "tracking_number", self.tracking_number.as_deref(), 128);
        check_received(errors, self.items.as_deref());
        check_fees(errors, self.fees.as_deref());
    }

    fn into_details(self) -> Details {
        let Self { carrier, tracking_number, items, fees, .. } = self;
        let (receipt, fees) = (items.map(parsed_items), fees.map(parsed_fees));
        Details { receipt, fees, carrier, tracking_number, ..Details::default() }
    }
}

impl StepBody for Approve {
    fn check(&self, errors: &mut FieldErrors) {
        check_prose(errors, "approval_notes", self.approval_notes.as_deref(), 1000);
    }

    fn into_details(self) -> Details {
        Details { approval_notes: self.approval_notes, ..Details::default() }
    }
}

impl StepBody for Reject {
    fn check(&self, errors: &mut FieldErrors) {
        check_text(errors, "rejection_category", self.rejection_category.as_deref().unwrap_or_default(), 64);
        if self.rejection_reason.is_none() {
            errors.add("rejection_reason", "must not be empty");
        }
    }

    fn into_details(self) -> Details {
        Details {
            rejection_category: self.rejection_category,
            rejection_reason: self.rejection_reason,
            ..Details::default()
        }
    }
}

impl StepBody for ChangeReturnState {
    fn check(&self, errors: &mut FieldErrors) {
        check_optional(errors, "rejection_category", self.rejection_category.as_deref(), 64);
        if self.reason.is_some() {
            check_prose(errors, "rejection_reason", self.rejection_reason.as_deref(), 1000);
        }
        for (field, is_given) in [
            ("rejection_category", self.rejection_category.is_some()),
            ("rejection_reason", self.rejection_reason.is_some()),
        ] {
            if is_given && self.new_state != ReturnState::Rejected {
                errors.add(field, "belongs to a rejection: leave it out unless new_state is REJECTED");
            }
        }
        if self.approval_notes.is_some() && self.new_state != ReturnState::Approved {
            errors.add("approval_notes", "belong to an approval: leave them out unless new_state is APPROVED");
        }
        check_prose(errors, "approval_notes", self.approval_notes.as_deref(), 1000);
        if self.new_state == ReturnState::Rejected && self.rejection_reason.is_none() {
            errors.add("rejection_reason", "is required for a rejection");
        }
    }

    fn into_details(self) -> Details {
        match self.new_state {
            ReturnState::Approved => Details { approval_notes: self.approval_notes, ..Details::default() },
            ReturnState::Rejected => Details {
                rejection_category: Some(self.rejection_category.unwrap_or_else(|| "OTHER".to_owned())),
                rejection_reason: self.rejection_reason,
                ..Details::default()
            },
            _ => Details::default(),
        }
    }
}

impl RequestReturn {
    /// # Errors
    /// 422 with every invalid field.
    pub(in crate::api) fn parse(self) -> Result<request_return::RequestReturn, ApiError> {
        let mut errors = FieldErrors::default();
        check_reason_and_actor(&mut errors, &self);
        if self.items.len() > domain::MAX_LINES {
            errors.add("items", format!("must be at most {} items", domain::MAX_LINES));
        }
        for (index, item) in self.items.iter().enumerate().take(domain::MAX_LINES) {
            if !(1..=domain::MAX_QUANTITY).contains(&item.quantity) {
                errors.add(format!("items[{index}].quantity"), format!("must be from 1 to {}", domain::MAX_QUANTITY));
            }
            check_prose(&mut errors, &format!("items[{index}].reason"), item.reason.as_deref(), 1000);
        }
        errors.finish()?;
        Ok(request_return::RequestReturn {
            order_id: self.order_id,
            items: self.items.into_iter().map(ReturnItem::parsed).collect(),
        })
    }
}

impl PreviewReturn {
    /// # Errors
    /// 422 with every invalid field.
    pub(in crate::api) fn parse(self) -> Result<preview_return::PreviewReturn, ApiError> {
        let Self { order_id, items } = self;
        let is_all = items.is_none();
        let request = RequestReturn { order_id, items: items.unwrap_or_default(), reason: None, actor: None };
        let items = request.parse()?.items;
        if !is_all && items.is_empty() {
            return Err(ApiError::invalid_field(
                "items",
                "must be at least one, or be left out for all that may be returned",
            ));
        }
        Ok(preview_return::PreviewReturn { order_id, items: if is_all { None } else { Some(items) } })
    }
}

impl ReturnItem {
    fn parsed(self) -> request_return::ReturnItem {
        let Self { order_item_id, quantity, reason } = self;
        request_return::ReturnItem { order_item_id, quantity, reason }
    }
}
