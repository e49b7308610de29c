//! Rejects the requests for returns that no manager has reviewed in time, by the clock.

use chrono::{DateTime, Utc};
use domain::ReviewPolicy;
use futures_util::future::join_all;
use runtime::database::limited;
use runtime::{ApiError, Tasks};
use schedules::{Due, Schedule};
use serde_json::{Value, json};

use crate::intent::Origin;
use crate::store::{self, Waiting};
use crate::transitions::reject_unreviewed;
use crate::{App, Settings};

const NAME: &str = "unreviewed_returns";
/// Rejections on their way at a time; they share slices with whatever else arrives.
const PAGE: i64 = 500;

/// Why a run has not rejected all that it should have.
#[derive(Debug, thiserror::Error)]
enum ExpiryError {
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("{failed} returns could not be rejected, {rejected} were; the first of them: {first}")]
    Incomplete { failed: usize, rejected: usize, first: ApiError },
}

/// Starts the schedule, or says that it is off.
pub(crate) fn start(app: &App, settings: &Settings, owner: &str, tasks: &Tasks) {
    let Some(days) = settings.return_review_days else {
        return schedules::switch_off(NAME, &app.pool, &app.clock, tasks);
    };
    let policy = ReviewPolicy { days, timezone: settings.business_timezone };
    let run = {
        let app = app.clone();
        move |due: Due| {
            let app = app.clone();
            async move { expire(&app, policy, due.at).await }
        }
    };
    let schedule = Schedule::new(NAME, settings.return_review_cron.clone(), settings.business_timezone, run);
    schedules::start(schedule, &app.pool, &app.clock, owner, tasks);
}

/// Rejects what was overdue at `due`. Whoever repeats it finds only what is left, and one return that cannot be rejected does
/// not keep the others.
async fn expire(app: &App, policy: ReviewPolicy, due: DateTime<Utc>) -> Result<Value, ExpiryError> {
    let (before, days) = (policy.overdue_before(due), policy.days);
    let reason = format!("not reviewed within {days} {}", if days == 1 { "day" } else { "days" });
    let (mut rejected, mut decided_meanwhile, mut errors) = (0, 0, Vec::new());
    let mut last: Option<Waiting> = None;
    loop {
        let page = limited(store::unreviewed(&app.pool, before, last, PAGE)).await?;
        let origin = Origin::scheduled(reason.clone(), app.clock.now());
        for outcome in join_all(page.iter().map(|waiting| reject_unreviewed(app, waiting.id, &origin))).await {
            match outcome {
                Ok(true) => rejected += 1,
                Ok(false) => decided_meanwhile += 1,
                Err(error) => errors.push(error),
            }
        }
        last = page.last().copied();
        if page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
            break;
        }
    }
    let failed = errors.len();
    match errors.into_iter().next() {
        None => Ok(json!({ "rejected": rejected, "decided_meanwhile": decided_meanwhile, "requested_before": before })),
        Some(first) => Err(ExpiryError::Incomplete { failed, rejected, first }),
    }
}
