//! The projector accepts events in any order and any number of times, and one bad event does not stop it.

mod events;

use anyhow::Result;
use contracts::OrderState;
use messaging::leases::Consumer;
use query::Projector;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use runtime::{Clock, Ids};
use serde_json::{Value, json};
use sqlx::PgPool;
use standalone::Part;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, eventually, shop};
use uuid::Uuid;

use super::operations::act;
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

/// A projector without a loop of its own.
async fn projector(database: &Database) -> Result<Projector> {
    Ok(Projector::new(database.pool_as("articurated_query").await?, None, Clock::system()))
}

/// Some of the events, in another order.
fn some(events: &[Uuid], random: &mut StdRng) -> Vec<Uuid> {
    let mut chosen: Vec<Uuid> = events.iter().filter(|_| random.random_bool(0.3)).copied().collect();
    chosen.shuffle(random);
    chosen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_in_any_order_and_any_number_make_the_same_read_models() -> Result<()> {
    let (database, mut events) = told_events().await?;
    let models: Vec<String> = sqlx::query_scalar("select 'read.' || read.models()").fetch_all(&database.pool).await?;
    let forget = format!("truncate {}", models.join(", "));
    let (one, other) = (projector(&database).await?, projector(&database).await?);
    let mut expected = None;
    for seed in 0..12_u32 {
        let mut random = StdRng::seed_from_u64(seed.into());
        sqlx::query(sqlx::AssertSqlSafe(forget.clone())).execute(&database.pool).await?;
        events.shuffle(&mut random);
        let mut done = 0;
        while done < events.len() {
            let now = done..events.len().min(done + random.random_range(1..=20));
            done = now.end;
            let (new, again) = (&events[now], some(&events[..done], &mut random));
            let dead = match random.random_range(0..3) {
                0 => one.apply_events(new).await? + one.apply_events(&again).await?,
                1 => other.apply_events(&again).await? + other.apply_events(new).await?,
                _ => {
                    let (dead, dead_again) = tokio::try_join!(one.apply_events(new), other.apply_events(&again))?;
                    dead + dead_again
                }
            };
            assert_eq!(dead, 0, "seed {seed}");
        }
        let mismatches: Vec<String> = sqlx::query_scalar(MISMATCHES).fetch_all(&database.pool).await?;
        assert!(mismatches.is_empty(), "seed {seed}: {mismatches:?}");
        // This includes the facts that reports add up.
        let made = books::read_models(&database.pool).await?;
        assert_eq!(made, *expected.get_or_insert_with(|| made.clone()), "seed {seed}");
    }
    let rows = books::count(&database.pool, "select count(*) from messaging.inbox").await?;
    assert_eq!(rows, 0, "an event that was applied leaves no job");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_that_restarts_goes_on_from_its_marks() -> Result<()> {
    let parts = || vec![Part::Command, Part::Query];
    let system = System::start(|options| options.parts = parts()).await?;
    shop::order_in(&system.api, OrderState::Delivered).await?;
    books::passed(&system.database.pool, Consumer::Projections, SOON).await?;
    let database = system.stop().await?;
    sqlx::query("truncate read.orders, read.history").execute(&database.pool).await?;

    let system = System::start_on(database, |options| options.parts = parts()).await?;
    let order = shop::order_in(&system.api, OrderState::PendingPayment).await?.id;
    system.api.read(&format!("/orders/{order}"), &format!("order:{order}@1")).await?.expect(200);
    let shown: Vec<Uuid> =
        sqlx::query_scalar("select aggregate_id from read.history").fetch_all(&system.database.pool).await?;
    assert_eq!(shown, [order], "it has not applied the first order's events again");
    // Not `finish`: the audit would miss the first order.
    system.abandon().await
}

/// An event that no command would write.
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
            "select messaging.append_events($1, array[$2], array[$3], array[2], array[$4], array[$5], array['{}'::jsonb], array[now()])",
        )
        .bind(self.aggregate_type)
        .bind(id)
        .bind(aggregate_id)
        .bind(self.event_type)
        .bind(&self.payload)
        .execute(pool)
        .await?;
        Ok(id)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_event_is_dead_lettered_with_its_reason_and_the_others_are_applied() -> Result<()> {
    // Without a relay, which would park some of these.
    let system = System::start(|options| options.parts = vec![Part::Command, Part::Query]).await?;
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
    // No command has written them, and the audit of `finish` would report that.
    let forged: Vec<Uuid> = sent.into_iter().map(|(id, _)| id).collect();
    for delete in [
        "delete from messaging.dead_letters where event_id = any($1)",
        "delete from messaging.inbox where event_id = any($1)",
        "delete from messaging.outbox where event_id = any($1)",
    ] {
        sqlx::query(delete).bind(&forged).execute(pool).await?;
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_event_that_is_repaired_and_retried_is_applied() -> Result<()> {
    let system = System::commands_only().await?;
    let order = shop::order_in(&system.api, OrderState::Paid).await?.id;
    let database = system.stop().await?;
    let damage =
        "update messaging.outbox set payload = jsonb_build_object('damaged', payload) where aggregate_version = 2";
    sqlx::query(damage).execute(&database.pool).await?;
    let system = System::start_on(database, |options| options.parts = vec![Part::Query, Part::Operations]).await?;
    let pool = &system.database.pool;
    let job = async || {
        let job = "select event_id, status from messaging.inbox where queue = 'projections'";
        anyhow::Ok(sqlx::query_as::<_, (Uuid, String)>(job).fetch_optional(pool).await?)
    };
    let (id, status) = eventually("the event is dead", SOON, job).await?;
    assert_eq!(status, "dead");
    let path = format!("/orders/{order}");
    assert_eq!(system.api.read(&path, &format!("order:{order}@1")).await?.expect(200).order().version, 1);

    sqlx::query("update messaging.outbox set payload = payload -> 'damaged' where aggregate_version = 2")
        .execute(pool)
        .await?;
    let retry = json!({ "reason": "the payload is repaired", "event_ids": [id] });
    act(&system.api, "/ops/jobs/retry", &retry).await?.expect(200);
    assert_eq!(system.api.read(&path, &format!("order:{order}@2")).await?.expect(200).order().state, OrderState::Paid);
    eventually_equal("its job is done", SOON, Some((id, "done".to_owned())), job).await?;
    system.finish().await
}
