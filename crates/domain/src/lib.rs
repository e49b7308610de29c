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
mod order_line;
mod return_policy;
mod give_back;
mod review_policy;

pub use allocation::{Returned, UnitShares, allocate};
pub use give_back::{ExceedingAmount, Goodwill, GoodwillRefusal, decide_goodwill};
pub use gst_rates::{default_rate, last_rate_change};
pub use gstin::{BadGstin, Gstin, IndianState, RecipientNumber};
pub use money::{MAX_MINOR, Money};
pub use names::Named;
pub use order_line::{Part, ReturnLine, ReturnableItem};
pub use order_state::OrderState;
pub use order_totals::{DraftLine, LineAmounts, MAX_LINES, MAX_QUANTITY, OrderDraft, OrderTotals, PlacementError};
pub use refund_status::RefundStatus;
pub use return_policy::{
    ExceedingItem, OrderForReturn, RefundShipping, RequestedItem, ReturnPolicy, ReturnRefusal, decide_refund,
    decide_return, returnable_units,
};
pub use return_state::ReturnState;
pub use review_policy::ReviewPolicy;
pub use state_machine::{Decision, InvalidTransition, State, UnknownState, decide};
pub use tax::{BadRate, Charge, GstRate, Supply, TaxTerms, Taxed, Taxes, assess, last_day_to_reduce_tax};
