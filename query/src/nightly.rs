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
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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

/// The report of the day that ended when it was due. One that is made again stays as it is.
async fn report(messaging: &PgPool, read: &PgPool, due: Due, clock: &Clock) -> Result<Value, NightlyError> {
    let begun = Instant::now();
    loop {
        match limited(unprojected_before(messaging, due)).await? {
            0 => break,
            missing if begun.elapsed() > PATIENCE => return Err(NightlyError::EventsMissing(missing)),
            _ => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
    let day = day_of(due.at - chrono::Duration::microseconds(1));
    let figures = limited(daily::make(read, day, clock.now())).await?;
    tracing::info!(%day, figures, "daily report made");
    Ok(json!({ "day": day, "figures": figures }))
}

/// Events from before midnight that the projector has not applied. What an operator has to deal with first (parked, dead) is
/// not waited for.
async fn unprojected_before(messaging: &PgPool, due: Due) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        select (select count(*) from messaging.outbox
                where published_at is null and parked_at is null and occurred_at < $1)
             + (select count(*) from messaging.inbox
                where queue = 'projections' and status in ('ready', 'in_doubt') and occurred_at < $1) as "missing!"
        "#,
        due.at
    )
    .fetch_one(messaging)
    .await
}
