//! Bodies of refund commands.

use std::collections::BTreeSet;

use runtime::FieldErrors;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{StepBody, check_amount, reason_and_actor};
use crate::goodwill::What;
use crate::transition::Details;

/// Money of an order to give back without a return: an amount, or amounts of its items.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct GiveBack {
    /// Spread over the items by what is left of each. Minor units (paise), with the tax.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    amount_minor: Option<i64>,
    /// In place of `amount_minor`.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 500)]
    items: Option<Vec<GiveBackItem>>,
    /// Required: the customer and the books are to know it.
    #[serde(default)]
    #[schema(required = true, nullable = false, max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// What to give back of one item, of its goods and its shipping in proportion.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct GiveBackItem {
    /// `items[].id` of the order.
    order_item_id: Uuid,
    /// Minor units (paise), with the tax.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    amount_minor: i64,
}

reason_and_actor!(GiveBack);

impl StepBody for GiveBack {
    fn check(&self, errors: &mut FieldErrors) {
        if self.reason.is_none() {
            errors.add("reason", "is required");
        }
        match (self.amount_minor, &self.items) {
            (Some(amount_minor), None) => check_amount(errors, "amount_minor", amount_minor),
            (None, Some(items)) => check_items(errors, items),
            _ => errors.add("amount_minor", "is required, or items in its place; not both"),
        }
    }

    fn into_details(self) -> Details {
        Details::default()
    }
}

impl GiveBack {
    /// What a valid body asks for.
    pub(in crate::api) fn into_what(self) -> What {
        match (self.amount_minor, self.items) {
            (Some(amount_minor), _) => What::Amount(amount_minor),
            (None, items) => {
                let items = items.unwrap_or_default();
                What::Items(items.iter().map(|item| (item.order_item_id, item.amount_minor)).collect())
            }
        }
    }
}

fn check_items(errors: &mut FieldErrors, items: &[GiveBackItem]) {
    if items.is_empty() || items.len() > domain::MAX_LINES {
        errors.add("items", format!("must be 1 to {} items", domain::MAX_LINES));
    }
    let mut listed = BTreeSet::new();
    for (index, item) in items.iter().enumerate().take(domain::MAX_LINES) {
        let field = |name: &str| format!("items[{index}].{name}");
        if !listed.insert(item.order_item_id) {
            errors.add(field("order_item_id"), "must be listed once");
        }
        check_amount(errors, &field("amount_minor"), item.amount_minor);
    }
    let total = items.iter().try_fold(0_i64, |total, item| total.checked_add(item.amount_minor));
    if total.is_none_or(|total| total > domain::MAX_MINOR) {
        errors.add("items", format!("must be at most {} together (minor units)", domain::MAX_MINOR));
    }
}
