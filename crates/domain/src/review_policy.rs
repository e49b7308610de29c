//! How long a requested return waits for a manager.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// How long a request may go unreviewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReviewPolicy {
    /// Days after the day of the request; the last one counts to its end.
    pub days: u32,
    /// Where a day begins and ends.
    pub timezone: Tz,
}

impl ReviewPolicy {
    /// Returns requested before this instant are overdue at `now`.
    pub fn overdue_before(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let today = now.with_timezone(&self.timezone).date_naive();
        today.checked_sub_days(Days::new(self.days.into())).map_or(DateTime::<Utc>::MIN_UTC, |day| self.begin_of(day))
    }

    /// The first instant of a local day. It is later than 0:00 where daylight saving starts at midnight, and two days later
    /// where a country moved across the date line and skipped a day.
    fn begin_of(self, day: NaiveDate) -> DateTime<Utc> {
        const QUARTERS_OF_TWO_DAYS: i32 = 2 * 24 * 4;
        let midnight = day.and_time(NaiveTime::MIN);
        (0..QUARTERS_OF_TWO_DAYS)
            .filter_map(|quarters| midnight.checked_add_signed(TimeDelta::minutes(15) * quarters))
            .find_map(|local| self.timezone.from_local_datetime(&local).earliest())
            .map_or(DateTime::<Utc>::MIN_UTC, |begin| begin.to_utc())
    }
}
