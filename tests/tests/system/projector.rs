//! The projector accepts events in any order and any number of times, and one bad event does not stop it.

pub(crate) mod events;

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

use super::operations::{act, execute};
use events::told_events;

/// Read models that differ from what the outbox's events add up to.
const MISMATCHES: &str = "
    with newest as (
        select distinct on (aggregate_type, aggregate_id)
               aggregate_type as kind, aggregate_id as id, aggregate_version as version,
               payload::jsonb -> 'snapshot' as document
        from messaging.events order by aggregate_type, aggregate_id, aggregate_version desc
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
    from (select aggregate_type, aggregate_id, aggregate_version as version, payload::jsonb -> 'transition' as entry
          from messaging.events) as told
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
    system.api.read(&format!("/orders/{order}"), &system.token("order", order, 1).await?).await?.expect(200);
    let shown: Vec<Uuid> =
        sqlx::query_scalar("select aggregate_id from read.history").fetch_all(&system.database.pool).await?;
    assert_eq!(shown, [order], "it has not applied the first order's events again");
    // Not `finish`: the audit would miss the first order.
    system.abandon().await
}

/// The mark passes only what is applied: what Postgres could not write just then is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_could_not_be_applied_is_applied_later() -> Result<()> {
    const NOT_NOW: &str = "
        create table public.not_now ();
        insert into public.not_now default values;
        create sequence public.refused;
        grant select on public.not_now to public;
        grant usage on sequence public.refused to public;
        create function public.refuse() returns trigger language plpgsql as $$
        begin
            if new.version = 2 and exists (select from public.not_now) then
                perform nextval('public.refused');
                raise exception 'not now' using errcode = 'serialization_failure';
            end if;
            return new;
        end $$;
        create trigger refuse before insert or update on read.orders for each row execute function public.refuse()";
    let system = System::commands_only().await?;
    let order = shop::order_in(&system.api, OrderState::Paid).await?.id;
    let database = system.stop().await?;
    execute(&database.pool, NOT_NOW).await?;
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Query];
        // Then the second event is read when the mark can move.
        options.query.projection_batch = 1;
    })
    .await?;
    let pool = &system.database.pool;
    eventually("it is refused", SOON, async || {
        let refused = "select pg_sequence_last_value('public.refused')";
        Ok(sqlx::query_scalar::<_, Option<i64>>(refused).fetch_one(pool).await?)
    })
    .await?;
    execute(pool, "delete from public.not_now").await?;
    let seen = system
        .api
        .read(&format!("/orders/{order}"), &system.token("order", order, 2).await?)
        .await?
        .expect(200)
        .order();
    assert_eq!(seen.state, OrderState::Paid);
    system.finish().await
}

/// An event that no command would write, of an order that does not exist: its payload is the whole document.
struct Forged<'a> {
    event_type: &'a str,
    aggregate_type: &'a str,
    has_audit_row: bool,
    /// Of the document with this id.
    payload: &'a dyn Fn(Uuid) -> Value,
    /// Text that its error must contain.
    reason: &'a str,
}

impl Forged<'_> {
    async fn insert(&self, pool: &PgPool) -> Result<Uuid> {
        let (event_id, aggregate_id) = (Ids::system().next(), Ids::system().next());
        if self.has_audit_row {
            sqlx::query(
                "insert into command.state_transitions
                     (entity_type, entity_id, version, to_state, actor, actor_type, trigger, created_at, salt, hash)
                 values ('order', $1, 1, 'PENDING_PAYMENT', 'forger', 'USER', 'API_CALL', now(), '', '')",
            )
            .bind(aggregate_id)
            .execute(pool)
            .await?;
        }
        sqlx::query(
            "select messaging.append_events($1, array[$2], array[$3], array[1], array[$4], array[$5], array[null::text], array[now()])",
        )
        .bind(self.aggregate_type)
        .bind(event_id)
        .bind(aggregate_id)
        .bind(self.event_type)
        .bind((self.payload)(aggregate_id))
        .execute(pool)
        .await?;
        Ok(event_id)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_event_is_dead_lettered_with_its_reason_and_the_others_are_applied() -> Result<()> {
    // Without a relay, which would park some of these.
    let system = System::start(|options| options.parts = vec![Part::Command, Part::Query]).await?;
    let pool = &system.database.pool;
    let victim = shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let sound: Value =
        sqlx::query_scalar("select (payload -> 'snapshot')::jsonb from messaging.events where aggregate_id = $1")
            .bind(victim.id)
            .fetch_one(pool)
            .await?;
    let altered = |id: Uuid, change: &dyn Fn(&mut Value)| {
        let mut document = sound.clone();
        document["id"] = json!(id);
        change(&mut document);
        document
    };
    let like_another = |id| altered(id, &|_| ());
    // Postgres refuses this one: the key is too large for an index. It is random, because Postgres compresses repetitions.
    let with_long_number = |id| {
        altered(id, &|document| {
            let mut random = StdRng::seed_from_u64(1);
            let number: String = (0..40_000).map(|_| char::from(random.random_range(b'!'..b'~'))).collect();
            document["order_number"] = number.into();
        })
    };
    let paid = Forged {
        event_type: "order.paid",
        aggregate_type: "order",
        has_audit_row: true,
        payload: &like_another,
        reason: "",
    };
    let forged = [
        Forged { event_type: "order.eaten", reason: "order.eaten", ..paid },
        Forged { aggregate_type: "ghost", has_audit_row: false, reason: "ghost", ..paid },
        Forged { has_audit_row: false, reason: "undecodable", ..paid },
        Forged { payload: &|_| json!([]), reason: "not an object", ..paid },
        Forged { payload: &|_| json!({}), reason: "missing field", ..paid },
        Forged { payload: &|_| like_another(Uuid::from_u128(7)), reason: "snapshot", ..paid },
        Forged { payload: &with_long_number, reason: "index row", ..paid },
    ];
    let mut sent = Vec::new();
    for event in &forged {
        sent.push((event.insert(pool).await?, event.reason));
    }
    // The same batch has good events before and after the bad ones.
    let good = shop::order_in(&system.api, OrderState::Delivered).await?;
    let seen = system
        .api
        .read(&format!("/orders/{}", good.id), &system.token("order", good.id, 5).await?)
        .await?
        .expect(200)
        .order();
    assert_eq!(seen.state, OrderState::Delivered);

    for (id, reason) in &sent {
        // What a newer release may know is put off.
        let status = if ["order.eaten", "ghost"].contains(reason) { "ready" } else { "dead" };
        let error = eventually(&format!("{reason} is {status}"), SOON, async || {
            let error: Option<String> =
                sqlx::query_scalar("select last_error from messaging.inbox where event_id = $1 and status = $2")
                    .bind(id)
                    .bind(status)
                    .fetch_optional(pool)
                    .await?;
            Ok(error)
        })
        .await?;
        assert!(error.contains(*reason), "{reason}: {error}");
    }
    let shown: i64 = sqlx::query_scalar("select count(*) from read.orders").fetch_one(pool).await?;
    assert_eq!(shown, 2, "no forged event has changed anything");
    let next = shop::step(&system.api, victim.id, "pay").await?.expect(200);
    system.api.read(&format!("/orders/{}", victim.id), next.token()).await?.expect(200);
    // Not `finish`: no command has written the forged events, and the audit would report that.
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_event_that_is_repaired_and_retried_is_applied() -> Result<()> {
    let system = System::commands_only().await?;
    let order = shop::order_in(&system.api, OrderState::Paid).await?.id;
    let database = system.stop().await?;
    let damage = "with event as (select event_id, payload from messaging.outbox where aggregate_version = 2)
                  update messaging.outbox set payload = '[]' from event where outbox.event_id = event.event_id returning event.payload";
    let sound: Value = sqlx::query_scalar(damage).fetch_one(&database.pool).await?;
    let system = System::start_on(database, |options| options.parts = vec![Part::Query, Part::Operations]).await?;
    let pool = &system.database.pool;
    let job = async || {
        let job = "select event_id, status from messaging.inbox where queue = 'projections'";
        anyhow::Ok(sqlx::query_as::<_, (Uuid, String)>(job).fetch_optional(pool).await?)
    };
    let (id, status) = eventually("the event is dead", SOON, job).await?;
    assert_eq!(status, "dead");
    let path = format!("/orders/{order}");
    assert_eq!(system.api.read(&path, &system.token("order", order, 1).await?).await?.expect(200).order().version, 1);

    sqlx::query("update messaging.outbox set payload = $1 where aggregate_version = 2")
        .bind(sound)
        .execute(pool)
        .await?;
    let retry = json!({ "reason": "the payload is repaired", "event_ids": [id] });
    act(&system.api, "/ops/jobs/retry", &retry).await?.expect(200);
    assert_eq!(
        system.api.read(&path, &system.token("order", order, 2).await?).await?.expect(200).order().state,
        OrderState::Paid
    );
    eventually_equal("its job is done", SOON, Some((id, "done".to_owned())), job).await?;
    system.finish().await
}
