//! The shop's days: those of Asia/Kolkata. India has kept one offset since 1945, so it needs no time zone tables.

use chrono::{DateTime, FixedOffset, NaiveDate, Utc};

const SECONDS_EAST: i32 = 5 * 3600 + 30 * 60;

fn kolkata() -> FixedOffset {
    FixedOffset::east_opt(SECONDS_EAST).expect("less than a day")
}

/// The day in which this instant is.
pub(crate) fn day_of(at: DateTime<Utc>) -> NaiveDate {
    at.with_timezone(&kolkata()).date_naive()
}

/// Its first instant; `None` where no time can be written.
pub(crate) fn start_of(day: NaiveDate) -> Option<DateTime<Utc>> {
    Some(day.and_hms_opt(0, 0, 0)?.and_local_timezone(kolkata()).single()?.to_utc())
}
