//! Makes the report of each day in the night after it.

mod figures;
mod store;

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Asia::Kolkata;
use runtime::database::limited;
use runtime::{Clock, Ids, Tasks};
use schedules::{Due, Expression, Missed, Schedule};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::business_day::day_of;

const NAME: &str = "daily_report";
const MIDNIGHT: &str = "0 0 * * *";
/// After an outage each day of the last month still gets its report.
const MISSED: Missed = Missed::Each { at_most: 31 };

/// How long a run waits for the last events of the day before it is put off, and how often it checks.
const MAX_WAIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_secs(1);
/// Days back for which a run makes a missing report, after the run of that night has failed.
const LOOK_BACK_DAYS: i32 = 31;

/// Why a report was not made.
#[derive(Debug, thiserror::Error)]
enum NightlyReportError {
    #[error("{0} events of the day or of an earlier one are not in the read models yet")]
    EventsMissing(i64),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Starts the schedule. Its state is in the database of the events.
pub(crate) fn start(messaging: &PgPool, read: &PgPool, clock: &Clock, tasks: &Tasks) {
    let run = {
        let (messaging, read, clock) = (messaging.clone(), read.clone(), clock.clone());
        move |due: Due| {
            let (messaging, read, clock) = (messaging.clone(), read.clone(), clock.clone());
            async move { make_reports(&messaging, &read, due, &clock).await }
        }
    };
    let schedule = Schedule::new(NAME, Expression::constant(MIDNIGHT), Kolkata, run).missed(MISSED);
    let owner = format!("query-{}", Ids::system().next());
    schedules::start(schedule, messaging, clock, &owner, tasks);
}

/// Makes the report of the day that has ended, and the missing reports of earlier days. A report that exists is not changed.
async fn make_reports(messaging: &PgPool, read: &PgPool, due: Due, clock: &Clock) -> Result<Value, NightlyReportError> {
    wait_for_projector(messaging, due.at).await?;
    // An operator may have it run in the middle of a day, which has not ended.
    let ended = day_of(due.at) - Days::new(1);
    let days = limited(store::days_without_report(read, ended, LOOK_BACK_DAYS)).await?;
    for day in &days {
        let figures = limited(make_report(read, *day, clock.now())).await?;
        tracing::info!(%day, figures, "daily report made");
    }
    Ok(json!({ "days": days }))
}

/// Returns once the events from before midnight are in the read models.
async fn wait_for_projector(messaging: &PgPool, midnight: DateTime<Utc>) -> Result<(), NightlyReportError> {
    let started = Instant::now();
    loop {
        match limited(store::unprojected_before(messaging, midnight)).await? {
            0 => return Ok(()),
            missing if started.elapsed() > MAX_WAIT => return Err(NightlyReportError::EventsMissing(missing)),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Returns the number of figures.
async fn make_report(read: &PgPool, day: NaiveDate, made_at: DateTime<Utc>) -> sqlx::Result<usize> {
    let figures = figures::of_day(read, day).await?;
    store::insert(read, day, made_at, &figures).await?;
    Ok(figures.len())
}
