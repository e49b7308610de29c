//! Faults of Postgres.

use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use rand::rngs::StdRng;
use sqlx::PgPool;

use super::stage::{OURS, Stage};
use super::tally::Tally;

/// Customers whose events the inbox refuses, as if the data were invalid. A single row gets stuck in the Postgres queue
/// in no other way.
const REFUSAL: &str = "
    create schema faults;
    create table faults.refused (customer_id text primary key);
    grant usage on schema faults to public;
    grant select on faults.refused to public;
    create function faults.refuse() returns trigger language plpgsql as $$
    begin
        if exists (select from faults.refused join messaging.events on customer_id = payload -> 'snapshot' ->> 'customer_id'
                   where event_id = new.event_id) then
            raise exception 'refused by the fault harness' using errcode = 'check_violation';
        end if;
        return new;
    end $$;
    create trigger refuse before insert on messaging.inbox for each row execute function faults.refuse()";

/// Installs the trigger behind [`refuse`].
pub(super) async fn prepare(pool: &PgPool) -> Result<()> {
    sqlx::raw_sql(REFUSAL).execute(pool).await?;
    Ok(())
}

/// From now on the inbox refuses this customer's events.
pub(super) async fn refuse(pool: &PgPool, customer: &str) -> Result<()> {
    sqlx::query("insert into faults.refused values ($1)").bind(customer).execute(pool).await?;
    Ok(())
}

/// From now on the inbox accepts every event.
pub(super) async fn accept_all(pool: &PgPool) -> Result<()> {
    sqlx::query("delete from faults.refused").execute(pool).await?;
    Ok(())
}

/// The server ends connections of the processes: one, all listening ones (so that notifications are lost), or all.
pub(super) async fn terminate_backends(stage: &Stage, chance: &mut StdRng, tally: &Tally) -> Result<()> {
    let (what, whom) = match chance.random_range(0..6) {
        0..=2 => ("one backend terminated", "order by md5(pid::text || $2) limit 1"),
        3 | 4 => ("listening backends terminated", "and query ilike 'listen %' and $2 is not null"),
        _ => ("all backends terminated", "and $2 is not null"),
    };
    let statement = format!(
        "select pg_terminate_backend(pid) from (
             select pid from pg_stat_activity
             where backend_type = 'client backend' and application_name <> $1 and datname = current_database() {whom}) as theirs"
    );
    let salt = chance.random::<u32>().to_string();
    sqlx::query(sqlx::AssertSqlSafe(statement)).bind(OURS).bind(salt).execute(&stage.pool).await?;
    tally.did(what);
    Ok(())
}

/// The server crashes and restarts.
pub(super) async fn crash(stage: &mut Stage, tally: &Tally) -> Result<()> {
    stage.cluster.kill();
    stage.cluster.restart().await?;
    tally.did("Postgres crashed and restarted");
    Ok(())
}

/// The database's clock, in microseconds.
pub(super) async fn now(pool: &PgPool) -> Result<i64> {
    let now = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
    Ok(sqlx::query_scalar(now).fetch_one(pool).await?)
}

/// Time from a moment to the first event in an inbox; `None` while there is none.
pub(super) async fn first_delivery_after(pool: &PgPool, moment: i64) -> Result<Option<Duration>> {
    let first: Option<i64> = sqlx::query_scalar(
        "select (extract(epoch from min(received_at)) * 1000000)::bigint - $1 from messaging.inbox
         where received_at > to_timestamp($1 / 1000000.0)",
    )
    .bind(moment)
    .fetch_one(pool)
    .await?;
    Ok(first.map(|micros| Duration::from_micros(micros.unsigned_abs())))
}
