//! Private services: a Postgres and a `RabbitMQ` of our own, for `standalone`, the demo, tests and benchmarks.
//!
//! Invariants: they listen on 127.0.0.1 only and want a password; they are durable (nothing is switched off to be
//! quicker); and none of their processes outlives the program that started them, not even after `kill -9`.

pub mod postgres;
pub mod rabbitmq;
pub mod child;

mod folder;
mod ports;
mod programs;

pub use ports::free_port;
