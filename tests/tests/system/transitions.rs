//! Both state machines over HTTP: every state against every command and every PATCH.
//!
//! The expectations are written out here from the requirements, not taken from the code.

use anyhow::Result;
use contracts::{OrderState, ReturnState};
use serde_json::{Value, json};
use tests::{Answer, Api, System, books, shop};
use uuid::Uuid;

/// `=`: in that state already; `+`: legal; `x`: refused.
const ORDERS: [(OrderState, [char; 6]); 6] = {
    use OrderState as S;
    [
        //                        PENDING  PAID PROCESSING SHIPPED DELIVERED CANCELLED
        (S::PendingPayment, /*        */ ['=', '+', 'x', 'x', 'x', '+']),
        (S::Paid, /*                  */ ['x', '=', '+', 'x', 'x', '+']),
        (S::ProcessingInWarehouse, /* */ ['x', 'x', '=', '+', 'x', 'x']),
        (S::Shipped, /*               */ ['x', 'x', 'x', '=', '+', 'x']),
        (S::Delivered, /*             */ ['x', 'x', 'x', 'x', '=', 'x']),
        (S::Cancelled, /*             */ ['x', 'x', 'x', 'x', 'x', '=']),
    ]
};

const RETURNS: [(ReturnState, [char; 6]); 6] = {
    use ReturnState as S;
    [
        //          REQUESTED APPROVED REJECTED IN_TRANSIT RECEIVED COMPLETED
        (S::Requested, /* */ ['=', '+', '+', 'x', 'x', 'x']),
        (S::Approved, /*  */ ['x', '=', 'x', '+', 'x', 'x']),
        (S::Rejected, /*  */ ['x', 'x', '=', 'x', 'x', 'x']),
        (S::InTransit, /* */ ['x', 'x', 'x', '=', '+', 'x']),
        (S::Received, /*  */ ['x', 'x', 'x', 'x', '=', '+']),
        (S::Completed, /* */ ['x', 'x', 'x', 'x', 'x', '=']),
    ]
};

const ORDER_NAMES: [&str; 6] =
    ["PENDING_PAYMENT", "PAID", "PROCESSING_IN_WAREHOUSE", "SHIPPED", "DELIVERED", "CANCELLED"];
const RETURN_NAMES: [&str; 6] = ["REQUESTED", "APPROVED", "REJECTED", "IN_TRANSIT", "RECEIVED", "COMPLETED"];

/// The command for each target state. None for the first: an order is placed and a return requested.
const ORDER_COMMANDS: [Option<&str>; 6] =
    [None, Some("pay"), Some("processing"), Some("ship"), Some("deliver"), Some("cancel")];
const RETURN_COMMANDS: [Option<&str>; 6] =
    [None, Some("approve"), Some("reject"), Some("in-transit"), Some("received"), Some("complete")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_state_meets_every_command_and_every_patch() -> Result<()> {
    let system = System::commands_only().await?;
    for (from, row) in ORDERS {
        let mut order = shop::order_in(&system.api, from).await?.id;
        for (target, verdict) in row.into_iter().enumerate() {
            for request in requests("orders", ORDER_COMMANDS[target], ORDER_NAMES[target]) {
                let seen = Attempt { machine: &ORDER_NAMES, row, from: from.as_str(), target, verdict };
                seen.check(&system, order, &request).await?;
                if verdict == '+' {
                    order = shop::order_in(&system.api, from).await?.id;
                }
            }
        }
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_return_state_meets_every_command_and_every_patch() -> Result<()> {
    let system = System::commands_only().await?;
    for (from, row) in RETURNS {
        let mut returned = shop::return_in(&system.api, from).await?.id;
        for (target, verdict) in row.into_iter().enumerate() {
            for request in requests("returns", RETURN_COMMANDS[target], RETURN_NAMES[target]) {
                let seen = Attempt { machine: &RETURN_NAMES, row, from: from.as_str(), target, verdict };
                seen.check(&system, returned, &request).await?;
                if verdict == '+' {
                    returned = shop::return_in(&system.api, from).await?.id;
                }
            }
        }
    }
    system.finish().await
}

/// The requests for one target state.
struct Request {
    plural: &'static str,
    /// `None` for the PATCH.
    command: Option<&'static str>,
    body: Value,
}

fn requests(plural: &'static str, command: Option<&'static str>, target: &str) -> Vec<Request> {
    let reasons = json!({ "reason": "As agreed on the phone" });
    let mut patch = reasons.clone();
    patch["new_state"] = target.into();
    let mut body = reasons;
    if target == "REJECTED" {
        patch["rejection_reason"] = "Worn".into();
    }
    if command == Some("reject") {
        body = json!({ "rejection_category": "WORN", "rejection_reason": "As agreed on the phone" });
    }
    let patch = Request { plural, command: None, body: patch };
    command.map(|command| Request { plural, command: Some(command), body }).into_iter().chain([patch]).collect()
}

impl Request {
    async fn send(&self, api: &Api, id: Uuid) -> Result<Answer> {
        match self.command {
            Some(command) => api.post(&format!("/{}/{id}/{command}", self.plural), &self.body).await,
            None => api.patch(&format!("/{}/{id}/state", self.plural), &self.body).await,
        }
    }
}

/// One cell of the matrix.
struct Attempt<'a> {
    machine: &'a [&'static str; 6],
    row: [char; 6],
    from: &'a str,
    target: usize,
    verdict: char,
}

impl Attempt<'_> {
    async fn check(&self, system: &System, id: Uuid, request: &Request) -> Result<()> {
        let wanted = self.machine[self.target];
        let what = format!("{} to {wanted} by {:?}", self.from, request.command);
        let pool = &system.database.pool;
        let before = books::rows_about(pool, id).await?;
        let all_before = books::row_counts(pool).await?;
        let answer = request.send(&system.api, id).await?;
        let (audit, outbox) = books::rows_about(pool, id).await?;
        match self.verdict {
            '+' => {
                let after = answer.expect(200).json();
                assert_eq!(after["state"], wanted, "{what}");
                assert_eq!(after["version"], before.0 + 1, "{what}");
                assert_eq!((audit, outbox), (before.0 + 1, before.1 + 1), "{what}: one row in each");
            }
            '=' => {
                let after = answer.expect(200).json();
                assert_eq!((&after["state"], &after["version"]), (&json!(self.from), &json!(before.0)), "{what}");
                assert_eq!(books::row_counts(pool).await?, all_before, "{what}: no further rows");
            }
            _ => {
                let error = answer.refused(409, "INVALID_STATE_TRANSITION");
                assert_eq!(error.details["current_state"], self.from, "{what}");
                assert_eq!(error.details["requested_state"], wanted, "{what}");
                assert_eq!(error.details["allowed_transitions"], json!(self.allowed()), "{what}");
                assert_eq!(books::row_counts(pool).await?, all_before, "{what}: no rows");
            }
        }
        Ok(())
    }

    fn allowed(&self) -> Vec<&'static str> {
        self.machine.iter().zip(self.row).filter(|(_, verdict)| *verdict == '+').map(|(name, _)| *name).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_that_says_something_else_is_refused_and_names_both() -> Result<()> {
    let system = System::commands_only().await?;
    let order = shop::order_in(&system.api, OrderState::PendingPayment).await?.id;
    let post = async |step: &str, body: &Value| system.api.post(&format!("/orders/{order}/{step}"), body).await;
    let conflict = |answer: Answer| answer.refused(409, "CONFLICTING_FACT").details;

    let paid = post("pay", &json!({ "payment_transaction_id": "UPI-111" })).await?.expect(200).order();
    let refused = conflict(post("pay", &json!({ "payment_transaction_id": "UPI-222" })).await?);
    assert_eq!(refused, json!({ "fact": "payment_transaction_id", "stored": "UPI-111", "given": "UPI-222" }));
    for same in [json!({ "payment_transaction_id": "UPI-111" }), json!({})] {
        assert_eq!(post("pay", &same).await?.expect(200).order().version, paid.version);
    }

    post("processing", &json!({})).await?.expect(200);
    let shipped = post("ship", &json!({ "carrier": "Blue Dart", "tracking_number": "BD1" })).await?.expect(200).order();
    let refused = conflict(post("ship", &json!({ "carrier": "Blue Dart", "tracking_number": "BD2" })).await?);
    assert_eq!(refused, json!({ "fact": "tracking_number", "stored": "BD1", "given": "BD2" }));
    assert_eq!(post("ship", &json!({ "tracking_number": "BD1" })).await?.expect(200).order().version, shipped.version);
    assert_eq!(books::rows_about(&system.database.pool, order).await?, (4, 4));

    let unnamed = shop::order_in(&system.api, OrderState::Paid).await?.id;
    let named = json!({ "payment_transaction_id": "UPI-333" });
    let refused = conflict(system.api.post(&format!("/orders/{unnamed}/pay"), &named).await?);
    assert_eq!(refused, json!({ "fact": "payment_transaction_id", "stored": null, "given": "UPI-333" }));
    system.finish().await
}
