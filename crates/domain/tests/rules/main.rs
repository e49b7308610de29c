//! The rules against the requirements (`states`, `vectors`, `tax` and the rest), and against the laws that hold for any
//! input (the `proptest!` blocks).

mod states;
mod money;
mod tax;
mod gst;
mod histories;
mod order_totals;
mod return_policy;
mod review_policy;
mod vectors;
