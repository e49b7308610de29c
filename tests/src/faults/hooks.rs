//! An endpoint of webhooks. It answers some of them with an error, and remembers in which order the versions of each entity came first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use contracts::EventDocument;
use rand::RngExt;
use rand::rngs::StdRng;
use sqlx::PgPool;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::tally::Tally;
use super::{Plan, chance};

/// One in so many is answered with an error.
const FAILS: u32 = 10;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The endpoint.
#[derive(Debug, Clone)]
pub(super) struct Hooks(Arc<Mutex<Got>>);

#[derive(Debug)]
struct Got {
    chance: StdRng,
    events: BTreeSet<Uuid>,
    /// Versions in the order in which they came for the first time.
    versions: BTreeMap<Uuid, Vec<i32>>,
    received: u64,
    unsigned: u64,
}

impl Hooks {
    /// Starts it and registers it, before anything happens.
    pub(super) async fn start(pool: &PgPool, plan: &Plan) -> Result<Self> {
        let got = Got {
            chance: chance(plan.seed, "hooks"),
            events: BTreeSet::new(),
            versions: BTreeMap::new(),
            received: 0,
            unsigned: 0,
        };
        let hooks = Self(Arc::new(Mutex::new(got)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let router = Router::new().route("/", post(receive)).with_state(hooks.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        sqlx::query(
            "insert into messaging.webhook_endpoints (id, url, secret, created_at, updated_at) values (messaging.new_id(), $1, $2, now(), now())",
        )
        .bind(url)
        .bind(SECRET)
        .execute(pool)
        .await?;
        Ok(hooks)
    }

    /// Makes everything due that waits for its next attempt, and returns how much is open: nothing, if there is no endpoint.
    pub(super) async fn open(pool: &PgPool) -> Result<i64> {
        sqlx::query(
            "update messaging.webhook_deliveries set due_at = clock_timestamp()
             where due_at > clock_timestamp() and claim_id is null and status = 'PENDING'",
        )
        .execute(pool)
        .await?;
        let open = sqlx::query_scalar(
            "select case when exists (select from messaging.webhook_endpoints) then
                        (select count(*) from messaging.webhook_deliveries where status <> 'DELIVERED')
                        + (select count(*) from messaging.outbox where event_type <> 'snapshot.taken')
                        - (select count(*) from messaging.webhook_deliveries)
                    else 0 end",
        );
        Ok(open.fetch_one(pool).await?)
    }

    /// Every event has come, and those of an entity in order.
    pub(super) async fn check(&self, pool: &PgPool, tally: &Tally) -> Result<()> {
        let events = sqlx::query_scalar("select event_id from messaging.outbox where event_type <> 'snapshot.taken'");
        let events: Vec<Uuid> = events.fetch_all(pool).await?;
        let got = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = events.iter().filter(|event| !got.events.contains(event)).count();
        if lost > 0 {
            tally.violated(format!("{lost} events were never sent to the endpoint of webhooks"));
        }
        for (entity, versions) in got.versions.iter().filter(|(_, versions)| !versions.is_sorted()) {
            tally.violated(format!("the endpoint of webhooks got the versions of {entity} as {versions:?}"));
        }
        if got.unsigned > 0 {
            tally.violated(format!("{} webhooks had a wrong signature", got.unsigned));
        }
        tally.did_often("webhooks received", got.received);
        tally.did_often("webhooks received again", got.received.saturating_sub(got.events.len() as u64));
        Ok(())
    }
}

async fn receive(State(hooks): State<Hooks>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut got = hooks.0.lock().unwrap_or_else(PoisonError::into_inner);
    if got.chance.random_range(0..FAILS) == 0 {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    got.received += 1;
    let is_signed = Webhook::new(SECRET).and_then(|webhook| webhook.verify(&body, &headers)).is_ok();
    let Ok(event) = serde_json::from_slice::<EventDocument>(&body) else {
        got.unsigned += 1;
        return StatusCode::BAD_REQUEST;
    };
    got.unsigned += u64::from(!is_signed);
    if got.events.insert(event.id) {
        got.versions.entry(event.data.entity_id).or_default().push(event.data.version);
    }
    StatusCode::NO_CONTENT
}
