//! What the chain of the audit costs a transition, and how long it takes to check a million rows of it.

use std::time::Instant;

use anyhow::{Result, ensure};
use contracts::audit::ChainLink;
use contracts::{ActorType, EntityType, Transition, Trigger};
use operations::audit::{Sources, Verdict, audit_chain};
use operations::seal::{SealKey, make};
use runtime::Clock;
use runtime::config::DatabaseConfig;
use serde_json::json;
use sqlx::PgPool;
use standalone::Part;
use uuid::Uuid;

use crate::Plan;
use crate::report::{Figure, Row};
use crate::requests::{self, Stock};
use crate::system::System;
use crate::turns::{Server, Turns};

const CONNECTIONS: u32 = 256;
const AIM: f64 = 0.97;
/// Rows of the audit to check, and how long that may take.
const ROWS: u64 = 1_000_000;
const SECONDS: f64 = 30.0;
const STEPS: [&str; 4] = ["PENDING_PAYMENT", "PAID", "PROCESSING_IN_WAREHOUSE", "SHIPPED"];
/// Orders whose rows are appended at a time.
const CHUNK: u64 = 5_000;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let (with, without) = (system.database("ours").await?, system.database("unchained").await?);
    let orders = plan.orders.max(50_000);
    for database in [&with, &without] {
        database.seed_orders(&sample, orders).await?;
    }
    sqlx::raw_sql(include_str!("../sql/without_chain.sql")).execute(&without.pool).await?;
    for database in [&with, &without] {
        database.settle().await?;
    }
    let options = |database| system.options(database, &[Part::Command]);
    let stocks = [Stock::new(1, orders), Stock::new(1, orders)];
    let cost = System::run(options(&with), async |ours| {
        System::run(options(&without), async |limit| {
            let turns = Turns { ours, limit, connections: CONNECTIONS };
            let what = format!("transitions over HTTP with the chain of the audit, {CONNECTIONS} connections");
            let script = |server| requests::walking(&stocks[usize::from(server == Server::Limit)]);
            turns.measure(plan, what, ("the same without it", AIM), script).await
        })
        .await
    })
    .await?;
    system.drop(without).await?;
    system.drop(with).await?;
    Ok(vec![cost, checked(system, plan).await?])
}

/// How long an audit of the chain takes, with its seals.
async fn checked(system: &System, plan: &Plan) -> Result<Row> {
    let (database, rows) = (system.database("audited").await?, plan.share(ROWS));
    for first in (0..rows / 4).step_by(usize::try_from(CHUNK)?) {
        for version in 1..=4 {
            append(&database.pool, first..(first + CHUNK).min(rows / 4), version).await?;
        }
    }
    sqlx::raw_sql("vacuum analyze").execute(&database.pool).await?;
    let config = DatabaseConfig { database_url: database.url.clone().into(), ..DatabaseConfig::default() };
    let pool = runtime::database::connect(&config, Some(operations::ROLE), "bench").await?;
    let url = system.folder("seals").display().to_string();
    let key = SealKey::parse(&"5a".repeat(32))?;
    let started = Instant::now();
    let made = make::seal(&pool, &storage::open(&url).await?, &key, &Clock::system()).await?;
    let sealed_in = started.elapsed().as_secs_f64();
    ensure!(made.rows == rows, "{} rows were sealed, of {rows}", made.rows);
    let sources = Sources { seal_store_url: Some(url), seal_public_keys: vec![key.public()], ..Sources::default() };
    let started = Instant::now();
    let report = audit_chain(&pool, &sources).await?;
    let checked_in = started.elapsed().as_secs_f64();
    ensure!(report.verdict == Verdict::Holds, "{report:?}");
    pool.close().await;
    system.drop(database).await?;
    let figures = vec![Figure::new("checked in", checked_in).at_most(SECONDS), Figure::new("sealed in", sealed_in)];
    Ok(Row::figures(
        format!("the chain of {rows} rows of the audit, with its seals"),
        "s",
        figures,
        json!({ "seals": made.seals }),
    ))
}

/// Appends the rows with which orders reach a version, as the service writes them.
async fn append(pool: &PgPool, orders: std::ops::Range<u64>, version: usize) -> Result<()> {
    let (mut ids, mut metadata, mut salts, mut digests) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let now = Clock::system().now();
    for n in orders {
        let transition = Transition {
            entity_type: EntityType::Order,
            entity_id: Uuid::from_u128(n.into()),
            version: i32::try_from(version)?,
            from_state: version.checked_sub(2).map(|before| STEPS[before].to_owned()),
            to_state: STEPS[version - 1].to_owned(),
            actor: "warehouse.jaipur".to_owned(),
            actor_type: ActorType::User,
            trigger: Trigger::ApiCall,
            reason: None,
            metadata: json!({ "tracking_number": format!("BD{n}IN"), "carrier": "BlueDart" }),
            ip_address: Some("203.0.113.7".to_owned()),
            request_id: Some("019aa6d2-5c1b-7c31-9d3f-2f4e6a7b8c9d".to_owned()),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
            created_at: now,
        };
        let link = ChainLink::of(&transition);
        ids.push(transition.entity_id);
        metadata.push(transition.metadata);
        salts.push(link.salt.to_vec());
        digests.push(link.digest.to_vec());
    }
    sqlx::query(
        "select command.append_transitions(array_agg(row(
                    'order', id, $5, $6, $7, 'warehouse.jaipur', 'USER', 'API_CALL', null, metadata, '203.0.113.7',
                    '019aa6d2-5c1b-7c31-9d3f-2f4e6a7b8c9d', '4bf92f3577b34da6a3ce929d0e0e4736', $8, salt, digest)::command.new_transition))
         from unnest($1::uuid[], $2::jsonb[], $3::bytea[], $4::bytea[]) as made (id, metadata, salt, digest)",
    )
    .bind(ids)
    .bind(metadata)
    .bind(salts)
    .bind(digests)
    .bind(i32::try_from(version)?)
    .bind(version.checked_sub(2).map(|before| STEPS[before]))
    .bind(STEPS[version - 1])
    .bind(now)
    .execute(pool)
    .await?;
    Ok(())
}
