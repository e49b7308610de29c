//! Millions of events that have gone through the real forward, claim and complete, and are all settled.
//!
//! Rows inserted as settled would leave no dead versions and prove nothing. So the events are appended as commands append them,
//! and relay, projector and workers of this process do the rest. The handlers do nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use sqlx::Connection;

use crate::settled::until_settled;
use crate::slice::jobs_done;
use crate::system::{Database, append_events};

/// Events that one statement appends.
const CHUNK: u64 = 10_000;
/// No more events are appended while so many jobs are open.
const MOST_OPEN: u64 = 200_000;
/// The events are spread over this time, like those of a system that has run for most of its retention of 90 days.
const SPREAD: Duration = Duration::from_secs(60 * 86_400);
const PATIENCE: Duration = Duration::from_secs(120);
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Brings the database to so many settled events. Returns how many an earlier run has left.
pub(crate) async fn make(database: &Database, sample: &Value, events: u64) -> Result<u64> {
    until_settled(database).await?;
    let (left, started) = (appended(database).await?, Instant::now());
    let (mut told, jobs_before) = (Instant::now(), jobs_done()?);
    let mut first = left + 1;
    while first <= events {
        let last = events.min(first + CHUNK - 1);
        append(database, sample, (first, last), age(first, events)).await?;
        first = last + 1;
        let (mut seen, mut moved) = (jobs_done()?, Instant::now());
        while (last - left).saturating_sub(seen - jobs_before) > MOST_OPEN {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = jobs_done()?;
            if now > seen {
                (seen, moved) = (now, Instant::now());
            }
            ensure!(moved.elapsed() < PATIENCE, "no job was done for {PATIENCE:?}");
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!("{last} of {events} events appended, {:.0} s", started.elapsed().as_secs_f64());
        }
    }
    until_settled(database).await?;
    if events > left {
        println!("{} events settled in {:.0} s", events - left, started.elapsed().as_secs_f64());
    }
    Ok(left)
}

/// Every event was one job, and every job is done.
pub(crate) async fn check(database: &Database) -> Result<()> {
    let events = appended(database).await?;
    let (done, others): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where status = 'done'), count(*) filter (where status <> 'done') from messaging.inbox",
    )
    .fetch_one(&database.pool)
    .await?;
    ensure!(others == 0 && u64::try_from(done)? >= events, "{events} events, {done} jobs done, {others} not done");
    Ok(())
}

/// Events that all runs have appended to this database.
pub(crate) async fn appended(database: &Database) -> Result<u64> {
    sqlx::raw_sql("create table if not exists public.appended (last bigint not null)").execute(&database.pool).await?;
    let last: i64 =
        sqlx::query_scalar("select coalesce(max(last), 0) from public.appended").fetch_one(&database.pool).await?;
    Ok(u64::try_from(last)?)
}

/// Appends events, and remembers it in the same commit: a run that is interrupted can be continued.
async fn append(database: &Database, sample: &Value, range: (u64, u64), age: Duration) -> Result<()> {
    let mut connection = database.pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    append_events(&mut transaction, sample, range, age).await?;
    remember(&mut transaction, range.1).await?;
    Ok(transaction.commit().await?)
}

/// Notes that events up to this one are appended.
pub(crate) async fn remember(connection: &mut sqlx::PgConnection, last: u64) -> Result<()> {
    sqlx::query(
        "insert into public.appended select $1 where $1 > coalesce((select max(last) from public.appended), 0)",
    )
    .bind(i64::try_from(last)?)
    .execute(connection)
    .await?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "event numbers stay far below 2^53")]
fn age(event: u64, of: u64) -> Duration {
    SPREAD.mul_f64(1.0 - event as f64 / of as f64)
}
