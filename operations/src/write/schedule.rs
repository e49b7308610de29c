//! Running a schedule at once: its next due time moves up to now, and the instance that leads it does the rest.

use chrono::{DateTime, Utc};
use runtime::Clock;
use runtime::database::in_transaction;
use schedules::Asked;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::record::{Action, Operator, record};
use crate::OperationError;

/// A run that was asked for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RunAsked {
    #[schema(example = "partition_maintenance")]
    pub schedule: String,
    /// The run has this due time, which is now. The times of the expression stay as they are.
    pub due_at: DateTime<Utc>,
}

/// Has a schedule run now. The instance that leads it starts within two seconds; without one, it runs when a process that has the
/// schedule starts.
///
/// # Errors
/// [`OperationError::ScheduleNotFound`], and [`OperationError::ScheduleNotRunnable`] for one that is off, due or running.
pub async fn run_now(
    pool: &PgPool,
    name: String,
    clock: &Clock,
    operator: Operator,
) -> Result<RunAsked, OperationError> {
    let now = clock.now();
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let why = match schedules::ask(conn, &name, now).await? {
                Asked::DueAt(due_at) => {
                    let asked = RunAsked { schedule: name, due_at };
                    record(conn, &operator, Action::RunSchedule, json!(asked), 1).await?;
                    return Ok(asked);
                }
                Asked::Unknown => return Err(OperationError::ScheduleNotFound(name)),
                Asked::SwitchedOff => "the settings of its process switch it off",
                Asked::Open => "its last run has not ended: it is running, or waits for its next attempt",
                Asked::Due => "it is due already, and runs as soon as an instance leads it",
            };
            Err(OperationError::ScheduleNotRunnable { name, why })
        })
    })
    .await
}
