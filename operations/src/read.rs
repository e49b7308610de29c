//! How things stand. Nothing here changes anything.
//!
//! - [`status`]: everything on one screen;
//! - [`stuck`]: events and jobs that make no progress;
//! - [`show`]: one event, or all events of an order, return, document or refund;
//! - [`story`]: an order from its first command on, and what came of each step;
//! - [`find`]: orders by e-mail address, customer, parcel or payment;
//! - [`jobs`] and [`queues`]: the inbox;
//! - [`actions`]: what operators did, and [`outcome`]: what came of it;
//! - [`investigations`]: who looks into what;
//! - [`processes`]: what is connected, reads and works;
//! - [`bulk`]: acts on all that a filter matches;
//! - [`schedules`]: what runs by the clock;
//! - [`keys`]: the keys of callers;
//! - [`webhooks`]: where events are sent to, and what came of it.

pub mod status;
pub mod stuck;
pub mod show;
pub mod story;
pub mod find;
pub mod jobs;
pub mod queues;
pub mod actions;
pub mod outcome;
pub mod investigations;
pub mod bulk;
pub mod processes;
pub mod schedules;
pub mod keys;
pub mod webhooks;

pub(crate) mod redacted;
