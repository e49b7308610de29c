//! A batch that the database refuses is forwarded event by event, and what becomes visible meanwhile takes no event's place.

use anyhow::{Context, Result};
use standalone::Part;
use tests::books::count;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, shop};
use uuid::Uuid;

/// The inbox refuses the second event. The first one waits for our lock when it comes for the second time: in the batch it did not.
const REFUSAL: &str = "
    create schema faults;
    create table faults.events (event_id uuid primary key, is_refused boolean not null);
    create sequence faults.turns;
    grant usage on schema faults to public;
    grant select on faults.events to public;
    grant usage on sequence faults.turns to public;
    create function faults.refuse() returns trigger language plpgsql as $$
    declare
        refused boolean := (select is_refused from faults.events where event_id = new.event_id);
    begin
        if not refused and nextval('faults.turns') = 2 then
            perform pg_advisory_xact_lock(4711);
        end if;
        if refused then
            raise exception 'refused by the test' using errcode = 'check_violation';
        end if;
        return new;
    end $$;
    create trigger refuse before insert on messaging.inbox for each row execute function faults.refuse()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_event_pushes_none_out_of_the_window() -> Result<()> {
    let system = System::start(|options| {
        options.parts = vec![Part::Command];
        options.relay.batch = 3;
        options.relay.shard_groups = 1;
    })
    .await?;
    let pool = &system.database.pool;
    sqlx::raw_sql(REFUSAL).execute(pool).await?;

    // It draws the first position, and commits late.
    let mut late = pool.begin().await?;
    sqlx::query(
        "select messaging.append_events('order', array[messaging.new_id()], array[gen_random_uuid()], array[1], array['order.created'],
                                        array['{}'::jsonb], array[null::text], array[now()])",
    )
    .execute(&mut *late)
    .await?;
    for _ in 0..3 {
        shop::place(&system.api, &shop::order()).await?;
    }
    let placed = "select event_id from messaging.outbox order by position";
    let events: Vec<Uuid> = sqlx::query_scalar(placed).fetch_all(pool).await?;
    assert_eq!(events.len(), 3);
    for (event_id, is_refused) in [(events[0], false), (events[1], true)] {
        let named = "insert into faults.events values ($1, $2)";
        sqlx::query(named).bind(event_id).bind(is_refused).execute(pool).await?;
    }
    let mut lock = pool.acquire().await?;
    sqlx::query("select pg_advisory_lock(4711)").execute(&mut *lock).await?;

    let relay = system.another_relay("relay").await?;
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and not granted";
    eventually_equal("the relay forwards one by one", SOON, 1, async || count(pool, waits).await).await?;
    late.commit().await?;
    sqlx::query("select pg_advisory_unlock(4711)").execute(&mut *lock).await?;

    let delivered = "select count(distinct event_id) from messaging.inbox where queue = 'notifications'";
    eventually_equal("all but the refused one arrive", SOON, 3, async || count(pool, delivered).await).await?;
    sqlx::query("delete from faults.events").execute(pool).await?;
    eventually_equal("the refused one arrives", SOON, 4, async || count(pool, delivered).await).await?;
    relay.drain(SOON).await.context("the relay stops")?;
    system.abandon().await
}
