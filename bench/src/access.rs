//! What it costs to ask who calls: commands and reads with an API key against the same without.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use access::Role;
use access::settings::Auth;
use anyhow::Result;
use operations::write::keys::{NewKey, create};
use operations::write::{Operator, Source};
use runtime::config::DatabaseConfig;
use secrecy::ExposeSecret;
use serde_json::json;
use standalone::Part;

use crate::Plan;
use crate::load::{self, Load, Script};
use crate::report::{Limit, Row, mean};
use crate::requests::{self, Stock};
use crate::system::{Database, System};

const CONNECTIONS: u32 = 64;
/// Without and with the check, in turns: A B B A, because the database grows meanwhile.
const ROUNDS: u64 = 2;
const AIM: f64 = 0.95;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let database = system.database("ours").await?;
    database.seed_orders(&sample, plan.orders).await?;
    database.seed_read_model(&sample, plan.orders).await?;
    database.settle().await?;
    let key = key(&database).await?;
    let (mut without, mut with) = (Rates::default(), Rates::default());
    for round in 0..ROUNDS {
        let mut turns = [Auth::None, Auth::Required];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (turn, auth) in turns.into_iter().enumerate() {
            let share = plan.orders / (2 * ROUNDS);
            let first = (2 * round + turn as u64) * share + 1;
            let mut options = system.options(&database, &[Part::Command, Part::Query]);
            options.access.auth = Some(auth);
            options.access.rate_limit_per_caller = NonZeroU32::new(10_000_000);
            let stock = Stock::new(first, first + share - 1);
            let rates = if auth == Auth::None { &mut without } else { &mut with };
            System::run(options, async |address| rates.measure(address, plan, &stock, &key).await).await?;
        }
    }
    system.drop(database).await?;
    let row = |what: &str, with: &[f64], without: Vec<f64>| {
        let limit = Limit::new("the same with AUTH=none".to_owned(), without, AIM);
        Row::ratio(
            format!("{what} with AUTH=required, {CONNECTIONS} connections"),
            mean(with),
            limit,
            json!({ "runs": with }),
        )
    };
    Ok(vec![row("transitions", &with.commands, without.commands), row("GET /orders/{id}", &with.reads, without.reads)])
}

/// A key of the shop's front end.
async fn key(database: &Database) -> Result<String> {
    let config = DatabaseConfig { database_url: database.url.clone().into(), ..DatabaseConfig::default() };
    let pool = runtime::database::connect(&config, Some(operations::ROLE), "bench").await?;
    let new = NewKey::new("shop-front", Role::Staff, None, Vec::new(), None)?;
    let made = create(&pool, new, Operator::new("bench", Source::Cli, "a measurement", None)?).await?;
    pool.close().await;
    Ok(made.key.expose_secret().to_owned())
}

/// Requests per second, of each run.
#[derive(Debug, Default)]
struct Rates {
    commands: Vec<f64>,
    reads: Vec<f64>,
}

impl Rates {
    async fn measure(&mut self, address: SocketAddr, plan: &Plan, stock: &Arc<Stock>, key: &str) -> Result<()> {
        let load = Load::closed(address, CONNECTIONS, plan);
        let turn = Arc::new(AtomicU64::new(0));
        let commands = load::run(load, || with_key(requests::walking(stock), key)).await?;
        let reads = load::run(load, || with_key(requests::reading(&turn, plan.orders), key)).await?;
        self.commands.push(commands.per_second);
        self.reads.push(reads.per_second);
        Ok(())
    }
}

/// Each request carries the key, also where it is not looked at: the load generator does the same work in both.
fn with_key(mut script: Script, key: &str) -> Script {
    let header = format!("authorization: Bearer {key}\r\n").into_bytes();
    Box::new(move |into| {
        let start = into.len();
        let expected = script(into)?;
        let line = into[start..].windows(2).position(|two| two == b"\r\n").map_or(into.len(), |at| start + at + 2);
        into.splice(line..line, header.iter().copied());
        Some(expected)
    })
}
