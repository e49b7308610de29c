//! The shop's days: midnight to midnight in Asia/Kolkata. India has kept one offset since 1945, so no time zone tables are
//! needed.

use chrono::{DateTime, FixedOffset, NaiveDate, Utc};

const SECONDS_EAST: i32 = 5 * 3600 + 30 * 60;

fn offset() -> FixedOffset {
    FixedOffset::east_opt(SECONDS_EAST).expect("less than a day")
}

/// The day that contains this instant.
pub(crate) fn day_of(at: DateTime<Utc>) -> NaiveDate {
    at.with_timezone(&offset()).date_naive()
}

/// The first instant of a day; `None` when chrono cannot represent it.
pub(crate) fn start_of(day: NaiveDate) -> Option<DateTime<Utc>> {
    Some(day.and_hms_opt(0, 0, 0)?.and_local_timezone(offset()).single()?.to_utc())
}
