//! Links: which operation goes on with what an answer has.

use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{OpenApi, RefOr};

/// Where the id is that the next operation takes.
const ID: &str = "$response.body#/id";
const FIRST: &str = "$response.body#/data/0/id";

/// An operation, where its answer has an id, and the operations that take it.
const LINKS: &[(&str, &str, &[&str])] = &[
    ("list_orders", FIRST, &["get_order"]),
    ("place_order", ID, &["get_order", "pay_order", "update_order", "cancel_order", "add_order_note"]),
    ("pay_order", ID, &["process_order", "cancel_order"]),
    ("process_order", ID, &["ship_order"]),
    (
        "ship_order",
        ID,
        &["deliver_order", "get_order_invoice", "get_order_e_invoice", "send_order_invoice", "refund_order"],
    ),
    ("deliver_order", ID, &["get_order", "refund_order"]),
    ("get_order", ID, &["get_order_history", "get_order_invoice", "get_order_e_invoice"]),
    ("list_returns", FIRST, &["get_return"]),
    ("request_return", ID, &["get_return", "approve_return", "reject_return", "withdraw_return"]),
    ("approve_return", ID, &["send_return"]),
    ("send_return", ID, &["receive_return", "update_return"]),
    ("receive_return", ID, &["complete_return", "update_return"]),
    ("complete_return", ID, &["get_return", "get_return_credit_note", "get_return_e_invoice"]),
    ("get_return", ID, &["get_return_history", "get_return_credit_note", "get_return_e_invoice"]),
    ("refund_order", ID, &["get_refund"]),
    ("list_refunds", FIRST, &["get_refund"]),
    ("get_refund", ID, &["get_refund_history", "get_refund_credit_note", "get_refund_e_invoice", "retry_refund"]),
    ("create_export", ID, &["get_export"]),
    ("create_key", ID, &["rotate_key", "revoke_key"]),
    (
        "create_webhook",
        ID,
        &[
            "get_webhook",
            "change_webhook",
            "test_webhook",
            "rotate_webhook",
            "recover_webhook",
            "list_deliveries",
            "delete_webhook",
        ],
    ),
];

pub(super) fn describe(whole: &mut OpenApi) {
    let items = whole.paths.paths.values_mut();
    for operation in items.flat_map(|item| [&mut item.get, &mut item.post, &mut item.patch]).flatten() {
        let id = operation.operation_id.clone().unwrap_or_default();
        for (_, place, targets) in LINKS.iter().filter(|(from, _, _)| *from == id) {
            link(operation, place, targets);
        }
    }
}

fn link(operation: &mut Operation, place: &str, targets: &[&str]) {
    let answers = operation.responses.responses.iter_mut();
    for (_, answer) in answers.filter(|(status, _)| status.starts_with('2')) {
        let RefOr::T(answer) = answer else { continue };
        for target in targets {
            let link = LinkBuilder::new().operation_id(*target).parameter("id", place);
            answer.links.insert((*target).to_owned(), link.build().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_link_begins_and_ends_at_an_operation() {
        let whole = crate::openapi::whole();
        let operations: Vec<_> =
            whole.paths.paths.values().flat_map(|item| [&item.get, &item.post, &item.patch]).flatten().collect();
        let known: BTreeSet<_> = operations.iter().filter_map(|operation| operation.operation_id.as_deref()).collect();
        for (from, _, targets) in LINKS {
            assert!(known.contains(from), "{from}");
            for target in *targets {
                assert!(known.contains(target), "{target}");
            }
        }
        let has_links = |operation: &&&Operation| {
            operation
                .responses
                .responses
                .values()
                .any(|answer| matches!(answer, RefOr::T(answer) if !answer.links.is_empty()))
        };
        assert_eq!(operations.iter().filter(has_links).count(), LINKS.len());
    }
}
