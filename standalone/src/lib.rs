//! All processes in one: `make run`, `make demo`, the tests and the benchmarks start it.
//!
//! - [`system`]: composes the processes: commands and queries under one address, the gateway under its own;
//! - [`private`]: the Postgres and the RabbitMQ that it runs on, unless the settings name others;
//! - [`openapi`]: the description of the whole API;
//! - [`demo`]: plays a file of orders, end to end.
//!
//! Invariant: this crate decides and stores nothing. The library of each process gets the same role and settings as in its own
//! process.

pub mod asyncapi;
pub mod demo;
pub mod openapi;
pub mod private;
pub mod settings;

mod site;
mod system;

pub use site::places;
pub use system::{Options, Part, Ports, Running, start, start_on};
