//! When a schedule is due. Daylight saving and the ends of months are left to croner.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// Missed due times are counted up to here; a larger number would tell an operator nothing more.
const COUNTED: i32 = 1_000;

/// A cron expression of five fields: minute, hour, day of month, month, day of week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    text: String,
    cron: Cron,
}

/// Why a text is not an [`Expression`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a cron expression of minute, hour, day of month, month and day of week, such as 0 0 * * * for every midnight: {0}"
)]
pub struct ExpressionError(String);

impl Expression {
    /// An expression that is written in the program.
    ///
    /// # Panics
    /// When it is wrong.
    pub fn constant(text: &'static str) -> Self {
        text.parse().expect("a cron expression")
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Expression {
    type Err = ExpressionError;

    /// Refuses seconds, because a runner looks for due times only every few seconds, and refuses what is never due.
    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|error| ExpressionError(error.to_string()))?;
        if cron.find_next_occurrence(&DateTime::UNIX_EPOCH, false).is_err() {
            return Err(ExpressionError("there is no such time".to_owned()));
        }
        Ok(Self { text, cron })
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An expression, and the time zone in which it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) expression: Expression,
    pub(crate) timezone: Tz,
}

impl Timing {
    /// The first due time after `after`; `None` once the calendar of the cron library ends, in the year 5000.
    pub(crate) fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self.expression.cron.find_next_occurrence(&after.with_timezone(&self.timezone), false);
        next.ok().map(|at| at.to_utc())
    }

    fn previous(&self, before: DateTime<Utc>, inclusive: bool) -> Option<DateTime<Utc>> {
        let previous = self.expression.cron.find_previous_occurrence(&before.with_timezone(&self.timezone), inclusive);
        previous.ok().map(|at| at.to_utc())
    }

    /// Of the due times from `first` to `now`: the oldest among the newest `at_most`, and how many came before it. `None`
    /// when none is due yet.
    pub(crate) fn catch_up(
        &self,
        first: DateTime<Utc>,
        now: DateTime<Utc>,
        at_most: u16,
    ) -> Option<(DateTime<Utc>, i32)> {
        if now < first {
            return None;
        }
        // `first` counts even if the expression does not yield it any more (the time zone's rules have changed).
        let mut due = self.previous(now, true).map_or(first, |newest| newest.max(first));
        for _ in 1..at_most {
            match self.previous(due, false) {
                Some(earlier) if earlier >= first => due = earlier,
                _ => break,
            }
        }
        let (mut missed, mut at) = (0, first);
        while at < due && missed < COUNTED {
            missed += 1;
            let Some(next) = self.next(at) else { break };
            at = next;
        }
        Some((due, missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(expression: &'static str, timezone: Tz) -> Timing {
        Timing { expression: Expression::constant(expression), timezone }
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn the_next_due_time_follows_the_time_zone() {
        use chrono_tz::{America::New_York, Asia::Kolkata, UTC};

        for (expression, timezone, after, next) in [
            ("0 0 * * *", Kolkata, "2026-01-10T18:29:59.999999Z", "2026-01-10T18:30:00Z"),
            ("0 0 * * *", Kolkata, "2026-01-10T18:30:00Z", "2026-01-11T18:30:00Z"),
            ("0 0 * * *", Kolkata, "2026-01-10T18:30:00.5Z", "2026-01-11T18:30:00Z"),
            ("0 0 1 * *", Kolkata, "2026-02-01T00:00:00Z", "2026-02-28T18:30:00Z"),
            ("0 9 L * *", UTC, "2028-02-01T00:00:00Z", "2028-02-29T09:00:00Z"),
            ("0 0 31 * *", UTC, "2026-01-31T00:00:00Z", "2026-03-31T00:00:00Z"),
            // The clocks go forward at 2:00, so 2:30 does not exist, and back at 2:00, so 1:30 comes twice.
            ("30 2 * * *", New_York, "2026-03-08T05:00:00Z", "2026-03-08T07:00:00Z"),
            ("30 1 * * *", New_York, "2026-11-01T04:00:00Z", "2026-11-01T05:30:00Z"),
            ("30 1 * * *", New_York, "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"),
        ] {
            let found = timing(expression, timezone).next(utc(after));
            assert_eq!(found, Some(utc(next)), "{expression} in {timezone} after {after}");
        }
    }

    #[test]
    fn missed_runs_are_caught_up_as_far_as_the_schedule_asks() {
        let daily = timing("0 0 * * *", chrono_tz::Asia::Kolkata);
        let first = "2026-01-10T18:30:00Z";
        for (now, at_most, expected) in [
            ("2026-01-10T18:29:59Z", 1, None),
            ("2026-01-10T18:30:00Z", 1, Some(("2026-01-10T18:30:00Z", 0))),
            ("2026-01-11T18:29:59Z", 9, Some(("2026-01-10T18:30:00Z", 0))),
            ("2026-01-13T20:00:00Z", 1, Some(("2026-01-13T18:30:00Z", 3))),
            ("2026-01-13T20:00:00Z", 2, Some(("2026-01-12T18:30:00Z", 2))),
            ("2026-01-13T20:00:00Z", 4, Some(("2026-01-10T18:30:00Z", 0))),
            ("2026-01-13T20:00:00Z", 400, Some(("2026-01-10T18:30:00Z", 0))),
        ] {
            let found = daily.catch_up(utc(first), utc(now), at_most);
            assert_eq!(found, expected.map(|(due, missed)| (utc(due), missed)), "at {now}, at most {at_most}");
        }
        let minutely = timing("* * * * *", chrono_tz::UTC);
        let found = minutely.catch_up(utc("2020-01-01T00:00:00Z"), utc("2026-01-01T00:00:07Z"), 1);
        assert_eq!(found, Some((utc("2026-01-01T00:00:00Z"), COUNTED)), "the minutes of six years are not counted");
    }

    #[test]
    fn an_invalid_expression_is_refused_in_a_sentence() {
        for wrong in ["", "midnight", "0 0 * *", "60 0 * * *", "0 0 0 * * *", "0 0 30 2 *", "0 0 * * * 2026"] {
            let error = wrong.parse::<Expression>().expect_err(wrong).to_string();
            assert!(error.starts_with("expected a cron expression"), "{wrong}: {error}");
        }
        assert_eq!(Expression::constant(" 0  0 * * MON-FRI ").to_string(), "0 0 * * MON-FRI");
        assert_eq!(Expression::constant("@daily").to_string(), "@daily");
    }
}
