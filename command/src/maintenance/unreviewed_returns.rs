//! Rejects, by a schedule, the returns that no manager has reviewed in time.

use chrono::{DateTime, Utc};
use domain::ReviewPolicy;
use futures_util::future::join_all;
use runtime::database::limited;
use runtime::{ApiError, Tasks};
use schedules::{Due, Schedule};
use serde_json::{Value, json};

use crate::context::CommandContext;
use crate::store::{self, UnreviewedReturn};
use crate::transition::reject_unreviewed;
use crate::{App, Settings};

const NAME: &str = "unreviewed_returns";
/// Rejections in flight at a time. They share batches with the commands of clients.
const PAGE: i64 = 500;

/// Why a run has not rejected every overdue return.
#[derive(Debug, thiserror::Error)]
enum ExpiryError {
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("{failed} returns could not be rejected, {rejected} were; the first error: {first}")]
    Incomplete { failed: usize, rejected: usize, first: ApiError },
}

/// Starts the schedule, or records that it is off.
pub(super) fn start(app: &App, settings: &Settings, tasks: &Tasks) {
    let Some(days) = settings.return_review_days else {
        return schedules::switch_off(NAME, &app.pool, &app.clock, tasks);
    };
    let policy = ReviewPolicy { days, timezone: settings.business_timezone };
    let run = {
        let app = app.clone();
        move |due: Due| {
            let app = app.clone();
            async move { reject_overdue(&app, policy, due.at).await }
        }
    };
    let schedule = Schedule::new(NAME, settings.return_review_cron.clone(), settings.business_timezone, run);
    let owner = format!("command-{}", app.ids.next());
    schedules::start(schedule, &app.pool, &app.clock, &owner, tasks);
}

/// Rejects the returns that were overdue at `due`. It can be repeated: a second run finds only what the first one left.
/// A return that cannot be rejected does not stop the others.
async fn reject_overdue(app: &App, policy: ReviewPolicy, due: DateTime<Utc>) -> Result<Value, ExpiryError> {
    let (before, days) = (policy.overdue_before(due), policy.days);
    let reason = format!("not reviewed within {days} {}", if days == 1 { "day" } else { "days" });
    let (mut rejected, mut decided_meanwhile, mut errors) = (0, 0, Vec::new());
    let mut last: Option<UnreviewedReturn> = None;
    loop {
        let page = limited(store::unreviewed_returns(&app.pool, before, last, PAGE)).await?;
        let context = CommandContext::of_schedule(reason.clone(), app.clock.now());
        for outcome in join_all(page.iter().map(|overdue| reject_unreviewed(app, &context, overdue.id))).await {
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
