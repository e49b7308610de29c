//! The fault harness: breaks everything around the system, again and again, and proves that no event was lost and no
//! effect happened twice.
//!
//! A *run* starts the real programs as processes on a private Postgres and, if the setup says so, a private `RabbitMQ`,
//! with a [`proxy`] in front of each. Customers order and return goods ([`load`]). The run then goes through *rounds* of
//! storm and calm. In a storm the harness kills processes at named [`places`], freezes them past their leases and cuts
//! them off, while database and broker misbehave ([`trouble`]): the database crashes, fails over to its replica
//! ([`standby`]), and has old snapshots held open ([`snapshot`]). In the calm it measures how soon deliveries continue after a crash of
//! the database, a failover and a crash of the broker, and how soon an operator sees a stuck row. At the end every queue must
//! drain, and the database, the customers' memory, the files and the gateway's ledger must agree ([`verdict`]).
//!
//! All random decisions come from one seed. A seed repeats the decisions but not every interleaving, because the processes
//! run in their own time. In practice it finds the same bug again.

pub mod proxy;
pub mod places;
mod process;
mod fleet;
mod stage;
mod standby;
mod snapshot;
mod load;
mod book;
mod trouble;
mod database;
mod broker;
mod operator;
mod hooks;
mod verdict;
mod tally;
mod run;
pub mod upgrade;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

pub use run::run;
pub use tally::Report;

/// How runs differ, apart from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Events travel through a private `RabbitMQ` instead of the Postgres queue.
    pub rabbitmq: bool,
    /// The read models are in a separate database.
    pub read_database: bool,
}

/// How long a run lasts, and how much load it has.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub setup: Setup,
    /// Rounds continue for at least this long,
    pub at_least: Duration,
    /// until this many processes have been killed,
    pub kills: u64,
    /// and this many returns completed;
    pub returns: u64,
    /// but not longer than this.
    pub at_most: Duration,
    /// Length of a storm.
    pub storm: Duration,
    /// Orders placed per second.
    pub orders_per_second: f64,
}

/// Whether the harness harms the processes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Calm,
    Storm,
}

/// One random stream per part of the harness, so that more draws in one part do not change the others' decisions.
fn chance(seed: u64, who: &str) -> StdRng {
    let mut hasher = DefaultHasher::new();
    (seed, who).hash(&mut hasher);
    StdRng::seed_from_u64(hasher.finish())
}
