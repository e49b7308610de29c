//! What operators see and do: one library behind the command line, the REST API, the console and the tools of assistants.
//!
//! - [`read`]: how things stand; nothing is changed;
//! - [`write`](mod@write): operator actions, each recorded in the transaction that carries it out;
//! - [`audit`]: checks everything that must hold after any fault;
//! - [`seal`]: seals the audit outside of the database;
//! - [`doctor`]: names what keeps events from arriving, and the remedy;
//! - [`figures`]: how long jobs took, rolled up minute by minute;
//! - [`cli`], [`api`], [`console`] and [`mcp`]: arguments, requests, tables, JSON, pages and tools around all of these.
//!
//! Invariant: `cli`, `api`, `console` and `mcp` hold no SQL and do not know each other.

pub mod read;
pub mod write;
pub mod audit;
pub mod seal;
pub mod doctor;
pub mod figures;
pub mod cli;
pub mod api;
pub mod console;
pub mod mcp;

mod error;
mod format;
mod reach;
mod shared;
mod values;

pub use error::OperationError;
pub use shared::Shared;

/// The database role of operators: it reads everything, and changes the bookkeeping of outbox, inbox and queues.
pub const ROLE: &str = "articurated_operator";
