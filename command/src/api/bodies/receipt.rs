//! What arrived of a return by the unit, and the fees that are kept back from its refund.

use std::collections::BTreeSet;

use contracts::{FeeDocument, FeeKind};
use runtime::FieldErrors;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{check_amount, check_prose};
use crate::transition;

/// The units of one item: together they are as many as were to be returned.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ReceivedItem {
    /// `items[].order_item_id` of the return.
    order_item_id: Uuid,
    /// Units that are refunded.
    #[schema(minimum = 0, maximum = 100_000)]
    accepted_quantity: i32,
    /// Units that arrived and are not refunded.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100_000)]
    rejected_quantity: i32,
    /// Units that were not in the parcel. They can be requested again.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100_000)]
    missing_quantity: i32,
    /// Required where units are rejected.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 1000)]
    rejection_reason: Option<String>,
}

/// A fee that is kept back from what a return refunds.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Fee {
    kind: FeeKind,
    /// Minor units (paise), with the tax.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    amount_minor: i64,
}

pub(super) fn parsed_fees(fees: Vec<Fee>) -> Vec<FeeDocument> {
    fees.into_iter().map(|Fee { kind, amount_minor }| FeeDocument { kind, amount_minor }).collect()
}

pub(super) fn check_fees(errors: &mut FieldErrors, fees: Option<&[Fee]>) {
    let mut listed = BTreeSet::new();
    for (index, fee) in fees.unwrap_or_default().iter().enumerate() {
        let field = |name: &str| format!("fees[{index}].{name}");
        if !listed.insert(fee.kind) {
            errors.add(field("kind"), "must be listed once");
        }
        check_amount(errors, &field("amount_minor"), fee.amount_minor);
    }
}

pub(super) fn parsed_items(items: Vec<ReceivedItem>) -> Vec<transition::ReceivedItem> {
    let parsed =
        |ReceivedItem { order_item_id, accepted_quantity, rejected_quantity, missing_quantity, rejection_reason }| {
            transition::ReceivedItem {
                order_item_id,
                accepted_quantity,
                rejected_quantity,
                missing_quantity,
                rejection_reason,
            }
        };
    items.into_iter().map(parsed).collect()
}

pub(super) fn check_received(errors: &mut FieldErrors, items: Option<&[ReceivedItem]>) {
    let items = items.unwrap_or_default();
    if items.len() > domain::MAX_LINES {
        errors.add("items", format!("must be at most {} items", domain::MAX_LINES));
    }
    let mut listed = BTreeSet::new();
    for (index, item) in items.iter().enumerate().take(domain::MAX_LINES) {
        let field = |name: &str| format!("items[{index}].{name}");
        if !listed.insert(item.order_item_id) {
            errors.add(field("order_item_id"), "must be listed once");
        }
        for (name, units) in [
            ("accepted_quantity", item.accepted_quantity),
            ("rejected_quantity", item.rejected_quantity),
            ("missing_quantity", item.missing_quantity),
        ] {
            if !(0..=domain::MAX_QUANTITY).contains(&i64::from(units)) {
                errors.add(field(name), format!("must be from 0 to {}", domain::MAX_QUANTITY));
            }
        }
        check_prose(errors, &field("rejection_reason"), item.rejection_reason.as_deref(), 1000);
        if item.rejected_quantity > 0 && item.rejection_reason.is_none() {
            errors.add(field("rejection_reason"), "is required where units are rejected");
        }
    }
}
