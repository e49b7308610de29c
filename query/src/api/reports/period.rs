//! The days that a report is about.

use axum::http::HeaderMap;
use chrono::{Datelike, Days, NaiveDate};
use runtime::{ApiError, FieldError};

use super::super::dates;
use super::Format;

const EXPECTED: &str = "must be a date like 2026-01-31, from 1900 to 9999";

/// Both included; `None` for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from: Option<NaiveDate>,
    pub(super) to: Option<NaiveDate>,
}

/// What is meant by a request that names no day.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unless {
    /// Today and the 29 days before it.
    LastThirtyDays,
    /// From the first of this month.
    ThisMonth,
    Everything,
}

impl Period {
    /// The first day as SQL compares with it: Postgres has fewer years than chrono.
    pub(super) fn first(self) -> NaiveDate {
        self.from.or(NaiveDate::from_ymd_opt(1, 1, 1)).unwrap_or_default()
    }

    pub(super) fn last(self) -> NaiveDate {
        self.to.or(NaiveDate::from_ymd_opt(9999, 12, 31)).unwrap_or_default()
    }

    /// Part of a file's name.
    pub(super) fn suffix(self) -> String {
        let days: Vec<_> = [self.from, self.to].into_iter().flatten().map(|day| format!("_{day}")).collect();
        days.concat()
    }
}

/// Collects what is wrong with the parameters that every report has.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) wrong: Vec<FieldError>,
    pub(super) format: Format,
    period: Period,
}

impl Asked {
    pub(super) fn new(
        headers: &HeaderMap,
        from: Option<&str>,
        to: Option<&str>,
        format: Option<&str>,
        today: NaiveDate,
        unless: Unless,
    ) -> Self {
        let mut asked =
            Self { wrong: Vec::new(), period: Period { from: None, to: None }, format: Format::accepted(headers) };
        let from = asked.day("from", from);
        let to = asked.day("to", to);
        if from.zip(to).is_some_and(|(from, to)| to < from) {
            asked.wrong.push(FieldError::new("to", "must not be before from"));
        }
        if let Some(format) = format {
            match Format::parse(format) {
                Some(format) => asked.format = format,
                None => asked.wrong.push(FieldError::new("format", Format::EXPECTED)),
            }
        }
        // Who names one day means from then to today, or the days up to it.
        let until = to.unwrap_or(today);
        asked.period = match unless {
            Unless::Everything => Period { from, to },
            Unless::LastThirtyDays => Period {
                from: from.or(until.checked_sub_days(Days::new(29))),
                to: Some(until.max(from.unwrap_or(until))),
            },
            Unless::ThisMonth => {
                Period { from: from.or(until.with_day(1)), to: Some(until.max(from.unwrap_or(until))) }
            }
        };
        asked
    }

    /// 422 naming every parameter that is wrong.
    pub(super) fn finish(self) -> Result<(Period, Format), ApiError> {
        if self.wrong.is_empty() { Ok((self.period, self.format)) } else { Err(ApiError::validation(self.wrong)) }
    }

    fn day(&mut self, field: &str, text: Option<&str>) -> Option<NaiveDate> {
        let text = text?;
        let day = dates::day(text).filter(|day| (1900..=9999).contains(&day.year()));
        if day.is_none() {
            self.wrong.push(FieldError::new(field, EXPECTED));
        }
        day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    fn asked(from: Option<&str>, to: Option<&str>, unless: Unless) -> Result<(Period, Format), ApiError> {
        Asked::new(&HeaderMap::new(), from, to, None, day("2026-03-15"), unless).finish()
    }

    #[test]
    fn a_period_that_is_not_named_is_a_sensible_one() {
        for (from, to, unless, first, last) in [
            (None, None, Unless::LastThirtyDays, Some("2026-02-14"), Some("2026-03-15")),
            (Some("2026-03-01"), None, Unless::LastThirtyDays, Some("2026-03-01"), Some("2026-03-15")),
            (None, Some("2026-02-01"), Unless::LastThirtyDays, Some("2026-01-03"), Some("2026-02-01")),
            (Some("2027-01-01"), None, Unless::LastThirtyDays, Some("2027-01-01"), Some("2027-01-01")),
            (None, None, Unless::ThisMonth, Some("2026-03-01"), Some("2026-03-15")),
            (None, Some("2026-02-28"), Unless::ThisMonth, Some("2026-02-01"), Some("2026-02-28")),
            (None, None, Unless::Everything, None, None),
            (Some("2026-01-01"), None, Unless::Everything, Some("2026-01-01"), None),
        ] {
            let (period, _) = asked(from, to, unless).expect("fine");
            assert_eq!(period, Period { from: first.map(day), to: last.map(day) }, "{from:?} {to:?} {unless:?}");
        }
    }

    #[test]
    fn everything_wrong_is_named() {
        let wrong = Asked::new(
            &HeaderMap::new(),
            Some("2026-02-30"),
            Some("tomorrow"),
            Some("xml"),
            day("2026-03-15"),
            Unless::Everything,
        );
        let error = wrong.finish().expect_err("all wrong");
        let fields = error.details["fields"].as_array().expect("a list");
        let names: Vec<_> = fields.iter().map(|field| field["field"].as_str().expect("a name")).collect();
        assert_eq!(names, ["from", "to", "format"]);
        assert!(asked(Some("2026-02-02"), Some("2026-02-01"), Unless::Everything).is_err());
        assert!(asked(Some("1899-12-31"), None, Unless::Everything).is_err());
    }

    #[test]
    fn a_client_that_accepts_csv_gets_it() {
        let headers = HeaderMap::from_iter([(axum::http::header::ACCEPT, "text/csv;q=0.9".parse().expect("a value"))]);
        let format = |format| Asked::new(&headers, None, None, format, day("2026-03-15"), Unless::Everything).finish();
        assert_eq!(format(None).expect("fine").1, Format::Csv);
        assert_eq!(format(Some("json")).expect("fine").1, Format::Json);
    }
}
