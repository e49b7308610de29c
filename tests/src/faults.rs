//! The system while everything around it breaks, again and again, and the proof that nothing was lost or done twice.
//!
//! A *run* starts the real programs as processes on a private Postgres and, if it is to be, a private `RabbitMQ`, with a
//! [`proxy`] in front of each, lets customers order and return ([`load`]), and then goes through *rounds*: a storm, in
//! which processes are killed at named [`places`], stopped past their leases, and cut off, while database and broker
//! misbehave ([`trouble`]); and a calm, in which it measures how soon deliveries flow again after a crash of the
//! database and of the broker, and how soon a stuck row shows. At the end everything must drain, and the books, the
//! customers' memory, the files and the gateway's ledger must agree ([`verdict`]).
//!
//! Everything is drawn from one seed. Processes run in their own time, so a seed repeats the draws and not every
//! interleaving; in practice it finds the same mistake again.

pub mod proxy;
pub mod places;
mod process;
mod fleet;
mod stage;
mod load;
mod book;
mod trouble;
mod database;
mod broker;
mod operator;
mod verdict;
mod tally;
mod run;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

pub use run::run;
pub use tally::Report;

/// What varies between runs besides chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Events travel through a private `RabbitMQ`; otherwise through the Postgres queue.
    pub rabbitmq: bool,
    /// The read models have a database of their own.
    pub read_database: bool,
}

/// How long a run goes on, and how hard.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub setup: Setup,
    /// Rounds go on for at least so long,
    pub at_least: Duration,
    /// until so many processes have been killed,
    pub kills: u64,
    /// and so many returns completed;
    pub returns: u64,
    /// but not longer than this.
    pub at_most: Duration,
    /// Length of a storm.
    pub storm: Duration,
    /// Orders begun in a second.
    pub orders_per_second: f64,
}

/// Whether the processes are to be harmed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Calm,
    Storm,
}

/// A stream of chance of its own for everyone who draws, so that one who draws more does not change the others' luck.
fn chance(seed: u64, who: &str) -> StdRng {
    let mut hasher = DefaultHasher::new();
    (seed, who).hash(&mut hasher);
    StdRng::seed_from_u64(hasher.finish())
}
