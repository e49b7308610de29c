//! The projector accepts events in any order and any number of times, and one bad event does not stop it.

mod events;

use anyhow::Result;
use contracts::OrderState;
use query::{Outcome, Projector};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use runtime::{Clock, Ids};
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::waiting::SOON;
use tests::{Database, System, books, eventually, shop};
use uuid::Uuid;

use events::told_events;

/// Read models that differ from what the outbox's events add up to.
const MISMATCHES: &str = "
    with newest as (
        select distinct on (aggregate_type, aggregate_id)
               aggregate_type as kind, aggregate_id as id, aggregate_version as version, payload -> 'snapshot' as document
        from messaging.outbox order by aggregate_type, aggregate_id, aggregate_version desc
    ), shown as (
        select 'order' as kind, id, version, document::jsonb from read.orders
        union all select 'return', id, version, document::jsonb from read.returns
        union all select 'invoice', (document ->> 'id')::uuid, version, document::jsonb from read.invoices
        union all select 'refund', (document ->> 'id')::uuid, version, document::jsonb from read.refunds
    )
    select format('%s %s', kind, id) from newest full join shown using (kind, id)
    where (newest.version, newest.document) is distinct from (shown.version, shown.document)
    union all
    select format('%s %s@%s', aggregate_type, aggregate_id, version)
    from (select aggregate_type, aggregate_id, aggregate_version as version, payload -> 'transition' as entry from messaging.outbox) as told
    full join read.history using (aggregate_type, aggregate_id, version)
    where told.entry is distinct from history.entry::jsonb";

/// Inserts events of the outbox into the projector's inbox, one by one in this order.
async fn deliver(pool: &PgPool, events: &[Uuid]) -> Result<()> {
    sqlx::query(
        "insert into messaging.inbox (queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at, run_at)
         select 'projections', event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at,
                clock_timestamp() - interval '1 minute' + place * interval '1 microsecond'
         from unnest($1::uuid[]) with ordinality as wanted (event_id, place) join messaging.outbox using (event_id)",
    )
    .bind(events)
    .execute(pool)
    .await?;
    Ok(())
}

/// Delivers a share of the applied events a second time.
async fn deliver_again(pool: &PgPool, share: f64, seed: f64) -> Result<()> {
    let mut conn = pool.acquire().await?;
    sqlx::query("select setseed($1)").bind(seed).execute(&mut *conn).await?;
    sqlx::query(
        "update messaging.inbox set status = 'ready', finished_at = null where status = 'done' and random() < $1",
    )
    .bind(share)
    .execute(&mut *conn)
    .await?;
    Ok(())
}

/// Two projectors, one after the other or both at once.
struct Projectors(Projector, Projector);

impl Projectors {
    async fn start(database: &Database, batch: i64) -> Result<Self> {
        let pool = database.pool_as("articurated_query").await?;
        let settings = query::Settings { projection_batch: batch, ..query::Settings::default() };
        let projector = || Projector::new(pool.clone(), None, &settings, Clock::system());
        Ok(Self(projector(), projector()))
    }

    async fn work(&mut self, random: &mut StdRng) -> Result<()> {
        match random.random_range(0..3) {
            0 => drop(self.0.tick().await?),
            1 => drop(self.1.tick().await?),
            _ => drop(tokio::try_join!(self.0.tick(), self.1.tick())?),
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        while tokio::try_join!(self.0.tick(), self.1.tick())? != (Outcome::Idle, Outcome::Idle) {}
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_in_any_order_and_any_number_make_the_same_read_models() -> Result<()> {
    let (database, mut events) = told_events().await?;
    let models: Vec<String> = sqlx::query_scalar("select 'read.' || read.models()").fetch_all(&database.pool).await?;
    let forget = format!("truncate messaging.inbox, {}", models.join(", "));
    let mut expected = None;
    for seed in 0..12_u32 {
        let mut random = StdRng::seed_from_u64(seed.into());
        sqlx::query(sqlx::AssertSqlSafe(forget.clone())).execute(&database.pool).await?;
        events.shuffle(&mut random);
        let mut projectors = Projectors::start(&database, random.random_range(1..12)).await?;
        let mut rest = &events[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(random.random_range(1..=rest.len().min(20)));
            deliver(&database.pool, now).await?;
            projectors.work(&mut random).await?;
            deliver_again(&database.pool, 0.3, f64::from(seed) / 100.0).await?;
            rest = later;
        }
        projectors.finish().await?;
        let mismatches: Vec<String> = sqlx::query_scalar(MISMATCHES).fetch_all(&database.pool).await?;
        assert!(mismatches.is_empty(), "seed {seed}: {mismatches:?}");
        let open = books::count(&database.pool, "select count(*) from messaging.inbox where status <> 'done'").await?;
        assert_eq!(open, 0, "seed {seed}");
        // This includes the facts that reports add up.
        let made = books::read_models(&database.pool).await?;
        assert_eq!(made, *expected.get_or_insert_with(|| made.clone()), "seed {seed}");
    }
    Ok(())
}

/// A row of the inbox that no relay would write.
struct Forged<'a> {
    event_type: &'a str,
    aggregate_type: &'a str,
    payload: Value,
    /// Text that its error must contain.
    reason: &'a str,
}

impl Forged<'_> {
    async fn insert(&self, pool: &PgPool, aggregate_id: Uuid) -> Result<Uuid> {
        let id = Ids::system().next();
        sqlx::query(
            "insert into messaging.inbox (queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, occurred_at)
             values ('projections', $1, $2, $3, $4, 2, $5, now())",
        )
        .bind(id)
        .bind(self.event_type)
        .bind(self.aggregate_type)
        .bind(aggregate_id)
        .bind(&self.payload)
        .execute(pool)
        .await?;
        Ok(id)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_event_is_dead_lettered_with_its_reason_and_the_others_are_applied() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let pool = &system.database.pool;
    let victim = shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let token = format!("order:{}@1", victim.id);
    let before = system.api.read(&format!("/orders/{}", victim.id), &token).await?.expect(200).json();

    let sound: Value = sqlx::query_scalar("select payload from messaging.outbox where aggregate_id = $1")
        .bind(victim.id)
        .fetch_one(pool)
        .await?;
    let altered = |change: &dyn Fn(&mut Value)| {
        let mut payload = sound.clone();
        payload["snapshot"]["version"] = 2.into();
        payload["transition"]["version"] = 2.into();
        change(&mut payload);
        payload
    };
    let other = Uuid::from_u128(7);
    let forged = [
        Forged { event_type: "order.eaten", aggregate_type: "order", payload: altered(&|_| ()), reason: "order.eaten" },
        Forged { event_type: "order.paid", aggregate_type: "ghost", payload: altered(&|_| ()), reason: "ghost" },
        Forged {
            event_type: "order.paid",
            aggregate_type: "order",
            payload: json!({ "snapshot": 5 }),
            reason: "undecodable",
        },
        Forged {
            event_type: "order.paid",
            aggregate_type: "order",
            payload: altered(&|p| p["snapshot"] = json!([])),
            reason: "not an object",
        },
        Forged {
            event_type: "order.paid",
            aggregate_type: "order",
            payload: altered(&|p| p["snapshot"]["id"] = json!(other)),
            reason: "snapshot",
        },
        Forged {
            event_type: "order.paid",
            aggregate_type: "order",
            payload: altered(&|p| p["transition"]["entity_id"] = json!(other)),
            reason: "transition",
        },
        // Postgres refuses this one: the key is too large for an index. It is random, because Postgres compresses repetitions.
        Forged {
            event_type: "order.paid",
            aggregate_type: "order",
            payload: altered(&|p| {
                let mut random = StdRng::seed_from_u64(1);
                p["snapshot"]["order_number"] =
                    (0..40_000).map(|_| char::from(random.random_range(b'!'..b'~'))).collect::<String>().into();
            }),
            reason: "index row",
        },
    ];
    let mut sent = Vec::new();
    for event in &forged {
        sent.push((event.insert(pool, victim.id).await?, event.reason));
    }
    // The same batch has good events before and after the bad ones.
    let good = shop::order_in(&system.api, OrderState::Delivered).await?;
    let seen =
        system.api.read(&format!("/orders/{}", good.id), &format!("order:{}@5", good.id)).await?.expect(200).order();
    assert_eq!(seen.state, OrderState::Delivered);

    for (id, reason) in &sent {
        let error = eventually(&format!("{reason} is dead"), SOON, async || {
            let error: Option<String> =
                sqlx::query_scalar("select last_error from messaging.inbox where event_id = $1 and status = 'dead'")
                    .bind(id)
                    .fetch_optional(pool)
                    .await?;
            Ok(error)
        })
        .await?;
        assert!(error.contains(*reason), "{reason}: {error}");
    }
    let after = system.api.get(&format!("/orders/{}", victim.id)).await?.expect(200).json();
    assert_eq!(after, before, "no forged event has changed anything");
    let next = shop::step(&system.api, victim.id, "pay").await?.expect(200);
    system.api.read(&format!("/orders/{}", victim.id), next.token()).await?.expect(200);
    // The outbox has no such events, and the audit of `finish` would report that.
    let forged: Vec<Uuid> = sent.into_iter().map(|(id, _)| id).collect();
    sqlx::query("delete from messaging.inbox where event_id = any($1)").bind(forged).execute(pool).await?;
    system.finish().await
}
