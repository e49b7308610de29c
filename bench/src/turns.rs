//! Two servers in turns of half a second. The machine is now faster, now slower by more than a check of a caller costs; so it is to
//! both.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::Plan;
use crate::load::{self, Load, Pace, Script};
use crate::report::{Limit, Row};

const PAIRS: usize = 120;
const WARM_UP: Duration = Duration::from_millis(100);
const MEASURE: Duration = Duration::from_millis(500);

/// Orders to begin with, where both take orders through their steps: each turn begins with other ones, and none may run out.
pub(crate) const fn orders(plan: &Plan) -> u64 {
    4 * plan.orders
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Ours,
    Limit,
}

/// The addresses of the two, and how many connections each gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turns {
    pub(crate) ours: SocketAddr,
    pub(crate) limit: SocketAddr,
    pub(crate) connections: u32,
}

impl Turns {
    /// Sends the requests to both: A B B A, because the database grows meanwhile. `of_limit` says what the limit is.
    pub(crate) async fn measure(
        self,
        plan: &Plan,
        what: String,
        of_limit: (&str, f64),
        script: impl Fn(Server) -> Script,
    ) -> Result<Row> {
        let (mut ours, mut limit) = (Vec::new(), Vec::new());
        for pair in 0..if plan.quick { PAIRS / 10 } else { PAIRS } {
            let mut turns = [Server::Ours, Server::Limit];
            if pair % 2 == 1 {
                turns.reverse();
            }
            for server in turns {
                let (address, rates) = match server {
                    Server::Ours => (self.ours, &mut ours),
                    Server::Limit => (self.limit, &mut limit),
                };
                let connections = self.connections;
                let load = Load { address, connections, pace: Pace::Closed, warm_up: WARM_UP, measure: MEASURE };
                rates.push(load::run(load, || script(server)).await?.per_second);
            }
        }
        let (name, aim) = of_limit;
        Ok(Row::in_turns(what, &ours, Limit::new(name, limit, aim)))
    }
}
