//! The rules of orders and returns: which state may follow which, what an order costs, what may be returned and
//! what each return refunds.
//!
//! In reading order: the states, the amounts, the GST on them, and the rules that use them.
//!
//! Invariants: no IO, no async, no clock, no randomness, and no serde on any type. A rule gets everything it needs as
//! an argument (the time, the policy, what was returned before), so it can be tested at any instant and gives the same
//! result everywhere. Nothing here knows JSON, SQL or HTTP: `contracts` says how states look in JSON, and SQL gets their
//! names from `as_str`.

mod state_machine;
mod order_state;
mod return_state;
mod refund_status;
mod names;
mod money;
mod allocation;
mod tax;
mod gst_rates;
mod gstin;
mod order_totals;
mod return_policy;
mod review_policy;

pub use allocation::{Returned, UnitShares, allocate};
pub use gst_rates::default_rate;
pub use gstin::{BadGstin, Gstin, IndianState, RecipientNumber};
pub use money::{MAX_MINOR, Money};
pub use names::Named;
pub use order_state::OrderState;
pub use order_totals::{DraftLine, LineAmounts, MAX_LINES, MAX_QUANTITY, OrderDraft, OrderTotals, PlacementError};
pub use refund_status::RefundStatus;
pub use return_policy::{
    ExceedingItem, OrderForReturn, RefundShipping, RequestedItem, ReturnLine, ReturnPolicy, ReturnRefusal,
    ReturnableItem, decide_refund, decide_return,
};
pub use return_state::ReturnState;
pub use review_policy::ReviewPolicy;
pub use state_machine::{Decision, InvalidTransition, State, UnknownState, decide};
pub use tax::{BadRate, Charge, GstRate, Supply, TaxTerms, Taxed, Taxes, assess};
