//! All processes in one: what `make run`, `make demo`, tests and benchmarks start.
//!
//! - [`system`]: the composition: commands and queries under one address, the gateway under its own;
//! - [`private`]: the Postgres and the RabbitMQ it runs on when nobody names others;
//! - [`openapi`]: the description of all of it;
//! - [`demo`]: the main job, played end to end.
//!
//! Invariant: nothing here decides or stores anything. Each process's library gets the pool, the role and the
//! settings that it has when it runs alone.

pub mod demo;
pub mod openapi;
pub mod private;
pub mod settings;

mod site;
mod system;

pub use site::places;
pub use system::{Options, Part, Ports, Running, start, start_on};
