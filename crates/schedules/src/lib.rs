//! What is done by the clock: a schedule is a name, a cron expression, a time zone, and a handler.
//!
//! - [`timing`]: when a schedule is due, and which of the due times that nobody was there for are still run;
//! - [`schedule`]: what a process says about one;
//! - [`runner`]: leads it, runs it, and records that;
//! - [`store`]: the SQL over `messaging.schedules` and `messaging.schedule_runs`.
//!
//! A process starts the schedules that belong to it, as many times as there are instances of it; of these one leads, by a
//! lease on the database's clock. Due times come from the process's [`runtime::Clock`]. How one is added is seen in
//! `outbox-relay/src/upkeep.rs`.
//!
//! Invariant: a due time is recorded as settled by one run. It may be *begun* more than once, since a leader can die in the
//! middle: a handler must come to the same when it is run again for the same due time.

mod timing;
mod schedule;
mod runner;
mod store;

pub use runner::{ATTEMPTS, Runner, Turn, start, switch_off};
pub use schedule::{Due, Missed, Schedule};
pub use store::sweep;
pub use timing::{Expression, ExpressionError};
