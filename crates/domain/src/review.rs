//! How long the request for a return waits for a manager.

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
    /// What was requested before this instant has gone unreviewed for too long by `now`.
    pub fn overdue_before(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let today = now.with_timezone(&self.timezone).date_naive();
        today.checked_sub_days(Days::new(self.days.into())).map_or(DateTime::<Utc>::MIN_UTC, |day| self.begin_of(day))
    }

    /// The first instant of a local day. Where clocks are put forward at midnight it is later than 0:00, and some places
    /// have skipped a whole day by moving across the date line.
    fn begin_of(self, day: NaiveDate) -> DateTime<Utc> {
        const QUARTERS_OF_TWO_DAYS: i32 = 2 * 24 * 4;
        let midnight = day.and_time(NaiveTime::MIN);
        (0..QUARTERS_OF_TWO_DAYS)
            .filter_map(|quarters| midnight.checked_add_signed(TimeDelta::minutes(15) * quarters))
            .find_map(|local| self.timezone.from_local_datetime(&local).earliest())
            .map_or(DateTime::<Utc>::MIN_UTC, |begin| begin.to_utc())
    }
}
