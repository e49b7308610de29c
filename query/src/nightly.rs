//! The report of each day, in the night after it.

use std::time::Duration;

use chrono_tz::Asia::Kolkata;
use runtime::database::limited;
use runtime::{Clock, Ids, Tasks};
use schedules::{Due, Expression, Missed, Schedule};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::api::reports::daily;
use crate::kolkata::day_of;

const NAME: &str = "daily_report";
const MIDNIGHT: &str = "0 0 * * *";
/// After a rest of everything each day of the last month still gets its report.
const MISSED: Missed = Missed::Each { at_most: 31 };

/// How long the last events of the day are waited for before the run is put off, and how often they are looked for.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Days for which a report is made late, where the run of their own night has failed.
const LOOK_BACK_DAYS: i32 = 31;

/// Why a report was not made.
#[derive(Debug, thiserror::Error)]
enum NightlyError {
    #[error("{0} events of the day, or of an earlier one, are not in the read models yet")]
    EventsMissing(i64),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Starts the schedule, which stands in the database of the events.
pub(crate) fn start(messaging: &PgPool, read: &PgPool, clock: &Clock, tasks: &Tasks) {
    let run = {
        let (messaging, read, clock) = (messaging.clone(), read.clone(), clock.clone());
        move |due: Due| {
            let (messaging, read, clock) = (messaging.clone(), read.clone(), clock.clone());
            async move { report(&messaging, &read, due, &clock).await }
        }
    };
    let schedule = Schedule::new(NAME, Expression::constant(MIDNIGHT), Kolkata, run).missed(MISSED);
    let owner = format!("query-{}", Ids::system().next());
    schedules::start(schedule, messaging, clock, &owner, tasks);
}

/// The report of the day that ended when it was due, and of those before it that have none. What is made again stays as it is.
async fn report(messaging: &PgPool, read: &PgPool, due: Due, clock: &Clock) -> Result<Value, NightlyError> {
    let begun = Instant::now();
    loop {
        match limited(unprojected_before(messaging, due)).await? {
            0 => break,
            missing if begun.elapsed() > PATIENCE => return Err(NightlyError::EventsMissing(missing)),
            _ => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
    let ended = day_of(due.at - chrono::Duration::microseconds(1));
    let missing = limited(daily::missing(read, ended, LOOK_BACK_DAYS)).await?;
    for day in &missing {
        let figures = limited(daily::make(read, *day, clock.now())).await?;
        tracing::info!(%day, figures, "daily report made");
    }
    Ok(json!({ "days": missing }))
}

/// Events from before midnight that the projector has not applied, wherever on their way they are. What an operator has to
/// deal with first (parked, dead), and what waits behind it, is not waited for. Nor is what is older than two days.
async fn unprojected_before(messaging: &PgPool, due: Due) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        with recent as (select messaging.lowest_event_id(now() - interval '2 days') as first)
        select count(*) as "missing!"
        from messaging.outbox as event
        where event_id >= (select first from recent) and occurred_at < $1 and parked_at is null
          and not exists (
              select from messaging.inbox as job
              where job.queue = 'projections' and job.event_id = event.event_id and job.status in ('done', 'dead'))
          and not exists (
              select from messaging.outbox as earlier
              where earlier.aggregate_id = event.aggregate_id and earlier.aggregate_version < event.aggregate_version
                and earlier.published_at is null and earlier.attempts > 0 and earlier.parked_at is not null
                and earlier.parked_reason <> 'SKIPPED')
        "#,
        due.at
    )
    .fetch_one(messaging)
    .await
}
