//! What it costs to ask who calls: commands and reads with an API key against the same without.

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
use standalone::Part;

use crate::Plan;
use crate::load::Script;
use crate::report::Row;
use crate::requests::{self, Stock};
use crate::system::{Database, System};
use crate::turns::{self, Turns};

const CONNECTIONS: u32 = 64;
const AIM: f64 = 0.95;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let database = system.database("ours").await?;
    let orders = turns::orders(plan);
    database.seed_orders(&sample, orders).await?;
    database.seed_read_model(&sample, plan.orders).await?;
    database.settle().await?;
    let key = key(&database).await?;
    let options = |auth| {
        let mut options = system.options(&database, &[Part::Command, Part::Query]);
        options.access.auth = Some(auth);
        options.access.rate_limit_per_caller = NonZeroU32::new(10_000_000);
        options
    };
    let (stock, turn) = (Stock::new(1, orders), Arc::new(AtomicU64::new(0)));
    let rows = System::run(options(Auth::Required), async |ours| {
        System::run(options(Auth::None), async |limit| {
            let turns = Turns { ours, limit, connections: CONNECTIONS };
            let limit = ("the same with AUTH=none", AIM);
            let what = |what: &str| format!("{what} with AUTH=required, {CONNECTIONS} connections");
            let commands =
                turns.measure(plan, what("transitions"), limit, |_| with_key(requests::walking(&stock), &key)).await?;
            let reads = turns
                .measure(plan, what("GET /orders/{id}"), limit, |_| {
                    with_key(requests::reading(&turn, plan.orders), &key)
                })
                .await?;
            Ok(vec![commands, reads])
        })
        .await
    })
    .await?;
    system.drop(database).await?;
    Ok(rows)
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

/// Each request carries the key, also where it is not looked at: the load generator does the same work in both.
fn with_key(script: Script, key: &str) -> Script {
    requests::with_header(script, &format!("authorization: Bearer {key}"))
}
