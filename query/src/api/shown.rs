//! What is shown of an order or a return that is in no document: what the caller may do next, and which units may be returned.

use std::collections::HashMap;

use access::Caller;
use chrono::{DateTime, Utc};
use contracts::{
    OrderAction, OrderDocument, OrderState, ReturnAction, ReturnDocument, ReturnPolicy, ReturnState, returnable_units,
    without_the_shops_own,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::documents::{Found, with_members};
use super::lists::{Listing, ORDERS, RETURNS};

/// What it depends on beside the documents.
#[derive(Debug)]
pub(super) struct Shown<'c> {
    pub(super) policy: ReturnPolicy,
    pub(super) now: DateTime<Utc>,
    pub(super) caller: &'c Caller,
}

/// The members of an order's document that are looked at.
#[derive(Deserialize)]
struct Looked<'a> {
    #[serde(borrow)]
    items: &'a RawValue,
    #[serde(default)]
    erased_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Item {
    id: Uuid,
}

impl Shown<'_> {
    /// A document of this list as it is shown.
    pub(super) fn document(&self, listing: &Listing, found: Found) -> String {
        match listing.table {
            table if table == ORDERS.table => self.order(found).0,
            table if table == RETURNS.table => self.returned(found),
            _ => with_members(found.document, found.inner.as_deref()),
        }
    }

    /// An order, and whether its return may be requested.
    pub(super) fn order(&self, found: Found) -> (String, bool) {
        let Found { state, document, inner, returns, .. } = found;
        let state: Option<OrderState> = state.parse().ok();
        let units = match state {
            Some(OrderState::Delivered) => self.returnable(&document, returns.as_deref()),
            _ => HashMap::new(),
        };
        let may_return = units.values().any(|units| *units > 0);
        let document = if self.caller.owner().is_some() { without_the_shops_own(document) } else { document };
        let (document, is_erased) = with_quantities(document, &units);
        let allows = |action: OrderAction| {
            !is_erased
                && state.is_some_and(|state| action.is_allowed_in(state))
                && (action != OrderAction::RequestReturn || may_return)
                && self.caller.may("POST", action.route())
        };
        let actions: Vec<_> =
            OrderAction::ALL.iter().filter(|action| allows(**action)).map(|action| action.as_str()).collect();
        let returns = returns.map(|returns| format!("\"returns\":{returns}"));
        let members: Vec<_> = inner.into_iter().chain(returns).chain([listed(&actions)]).collect();
        (with_members(document, Some(&members.join(","))), may_return)
    }

    /// A return.
    pub(super) fn returned(&self, found: Found) -> String {
        let Found { state, document, inner, .. } = found;
        let state: Option<ReturnState> = state.parse().ok();
        let allows = |action: ReturnAction| {
            state.is_some_and(|state| action.is_allowed_in(state)) && self.caller.may("POST", action.route())
        };
        let actions: Vec<_> =
            ReturnAction::ALL.iter().filter(|action| allows(**action)).map(|action| action.as_str()).collect();
        let members: Vec<_> = inner.into_iter().chain([listed(&actions)]).collect();
        with_members(document, Some(&members.join(",")))
    }

    fn returnable(&self, document: &str, returns: Option<&str>) -> HashMap<Uuid, u32> {
        let order = serde_json::from_str::<OrderDocument>(document);
        let returns = serde_json::from_str::<Vec<ReturnDocument>>(returns.unwrap_or("[]"));
        match (order, returns) {
            (Ok(order), Ok(returns)) => returnable_units(&order, &returns, self.policy, self.now).into_iter().collect(),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "the document of an order or a return cannot be read");
                HashMap::new()
            }
        }
    }
}

fn listed(actions: &[&str]) -> String {
    let actions: Vec<_> = actions.iter().map(|action| format!("\"{action}\"")).collect();
    format!("\"allowed_actions\":[{}]", actions.join(","))
}

/// The document of an order with the returnable quantity of each item, and whether its personal data was erased.
fn with_quantities(document: String, units: &HashMap<Uuid, u32>) -> (String, bool) {
    let Ok(Looked { items, erased_at }) = serde_json::from_str(&document) else { return (document, false) };
    let Ok(each) = serde_json::from_str::<Vec<&RawValue>>(items.get()) else { return (document, false) };
    let quantity = |item: &RawValue| {
        let id = serde_json::from_str::<Item>(item.get()).ok();
        id.and_then(|item| units.get(&item.id)).copied().unwrap_or(0)
    };
    let each = each.into_iter().map(|item| {
        let quantity = format!("\"returnable_quantity\":{}", quantity(item));
        with_members(item.get().to_owned(), Some(&quantity))
    });
    let shown = format!("[{}]", each.collect::<Vec<_>>().join(","));
    // The text of the items is a part of the document's text.
    let start = items.get().as_ptr().addr() - document.as_ptr().addr();
    let end = start + items.get().len();
    let document = [&document[..start], &shown, &document[end..]].concat();
    (document, erased_at.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_item_gets_its_quantity_and_the_rest_stays() {
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let document = format!(r#"{{"id":"x","items":[{{"id":"{first}","n":1}}, {{"id":"{second}"}}],"note":"}}]"}}"#);
        let (shown, is_erased) = with_quantities(document, &HashMap::from([(second, 3)]));
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(
            shown,
            json!({
                "id": "x", "note": "}]",
                "items": [{"id": first, "n": 1, "returnable_quantity": 0}, {"id": second, "returnable_quantity": 3}],
            })
        );
        assert!(!is_erased);
    }
}
