//! Deletes the answers that are older than clients may ask for: by a schedule, which one process leads, and in small steps.
//!
//! A step starts where the last one ended, and the bound outlives the process. A deletion that began at the oldest entry of
//! the index would walk over all keys that were deleted since the oldest open snapshot, and one day take longer than a
//! statement may. A key that a process creates below the bound, because its clock is hours behind, stays and does no harm.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use messaging::BatchSize;
use runtime::Tasks;
use runtime::database::{limited, timed_out};
use schedules::{Due, Expression, Schedule};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{App, store};

const NAME: &str = "idempotency_keys";
const EVERY_TEN_MINUTES: &str = "*/10 * * * *";
/// Most keys that one statement deletes. A command that repeats one of these keys waits for the statement.
const BATCH: i64 = 1_000;
/// Between two statements, so that commands have the database to themselves most of the time.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the bound is stored during a run.
const STORE_EVERY: Duration = Duration::from_secs(5);
/// A run that has more to delete leaves it to the next one.
const RUN_WITHIN: Duration = Duration::from_mins(5);

/// `retention_hours`: how long an answer is kept.
pub(super) fn start(app: &App, retention_hours: u32, tasks: &Tasks) {
    let retention = TimeDelta::hours(retention_hours.into());
    let run = {
        let pool = app.pool.clone();
        move |due: Due| {
            let pool = pool.clone();
            async move { delete_old(&pool, due.at - retention).await }
        }
    };
    let schedule = Schedule::new(NAME, Expression::constant(EVERY_TEN_MINUTES), chrono_tz::UTC, run);
    let owner = format!("command-{}", app.ids.next());
    schedules::start(schedule, &app.pool, &app.clock, &owner, tasks);
}

/// Deletes the keys that were created before that time.
async fn delete_old(pool: &PgPool, before: DateTime<Utc>) -> sqlx::Result<Value> {
    let (started, mut stored_at) = (Instant::now(), Instant::now());
    let mut bound = limited(store::idempotency_key_bound(pool)).await?;
    let mut size = BatchSize::new("idempotency keys", BATCH);
    let (mut deleted, mut all) = (0, false);
    while !all && started.elapsed() < RUN_WITHIN {
        let rows = size.rows();
        match limited(store::delete_answers(pool, bound, before, rows)).await {
            Ok(step) => {
                size.succeeded(step.keys);
                deleted += step.keys;
                all = step.keys < rows;
                bound = step.last.filter(|_| !all).unwrap_or(before).max(bound);
            }
            Err(error) if timed_out(&error) && rows > 1 => size.failed(rows, &error),
            Err(error) => return Err(error),
        }
        if all || stored_at.elapsed() >= STORE_EVERY {
            limited(store::store_idempotency_key_bound(pool, bound)).await?;
            stored_at = Instant::now();
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(json!({ "deleted": deleted, "all": all }))
}
