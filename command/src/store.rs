//! The SQL of the command service, as functions over a connection.
//!
//! A batch of commands is one statement. What depends on the order's returns and refunds takes a transaction, because it must sum
//! them under the order's lock.

mod placements;
mod transitions;
mod returns;
mod refunds;
mod audit;
mod idempotency_keys;
mod snapshots;
mod invoices;
mod backlog;

pub(crate) use backlog::events_waiting;
pub(crate) use idempotency_keys::{
    KnownAnswer, UnchangedAnswer, delete_answers, idempotency_key_bound, known_answer, remember_unchanged,
    store_idempotency_key_bound,
};
pub(crate) use invoices::{InvoiceNumber, invoice_number};
pub(crate) use placements::{NewOrder, NewOrderItem, PlacementOutcome, insert_orders};
pub(crate) use refunds::{insert_refund, known_refund, refund, retry_refund};
pub(crate) use returns::{
    NewReturn, OrderOf, OrderUnderLock, UnreviewedReturn, insert_return, items_elsewhere, lock_order, order_of,
    read_order, unreviewed_returns,
};
pub(crate) use snapshots::{current_orders, current_refunds, current_returns};
pub(crate) use transitions::{
    NewTransition, Stored, TransitionOutcome, correct_order, correct_return, transition_orders, transition_returns,
};
