//! The shop's days: midnight to midnight in India.

use chrono::{DateTime, NaiveDate, Utc};
use contracts::india;

pub(crate) use contracts::day_in_india as day_of;

/// The first instant of a day; `None` when chrono cannot represent it.
pub(crate) fn start_of(day: NaiveDate) -> Option<DateTime<Utc>> {
    Some(day.and_hms_opt(0, 0, 0)?.and_local_timezone(india()).single()?.to_utc())
}
