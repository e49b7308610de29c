//! The rules of orders and returns: which state may follow which, what an order costs, what may be returned and
//! what each return refunds.
//!
//! Invariants: no IO, no async, no clock, no randomness, and no serde on any type. What a rule needs to know (the
//! time, the policy, what was already returned) is an argument, so every rule can be tested at any instant and
//! runs the same wherever it is called. Nothing here knows JSON, SQL or HTTP; `contracts` says how states stand in JSON,
//! and SQL gets their names from `as_str`.

mod names;
mod transition;
mod order;
mod returns;
mod money;
mod allocation;
mod tax;
mod gst_rates;
mod gstin;
mod placing;
mod return_rules;
mod review;

pub use allocation::{Returned, UnitShares, allocate};
pub use gst_rates::default_rate;
pub use gstin::{BadGstin, Gstin, IndianState};
pub use money::{MAX_MINOR, Money};
pub use names::Named;
pub use order::OrderState;
pub use placing::{DraftLine, LineAmounts, MAX_LINES, MAX_QUANTITY, OrderDraft, OrderTotals, PlacementError};
pub use return_rules::{
    ExceedingItem, OrderForReturn, RefundShipping, RequestedItem, ReturnLine, ReturnPolicy, ReturnRefusal,
    ReturnableItem, decide_return,
};
pub use returns::ReturnState;
pub use review::ReviewPolicy;
pub use tax::{BadRate, Charge, GstRate, Supply, TaxTerms, Taxed, Taxes, assess};
pub use transition::{Decision, InvalidTransition, State, UnknownState, decide};
