//! The part of a request that all reports share: the period and the format.

use axum::http::HeaderMap;
use chrono::{Datelike, Days, NaiveDate};
use runtime::http::accept;
use runtime::{ApiError, FieldErrors};
use utoipa::ToSchema;

use crate::api::dates;
use crate::api::parameters::Parameters;

const EXPECTED: &str = "must be a date like 2026-01-31, from 1900 to 9999";
const BEFORE: &str = "must not be before from";

/// The longest period of a report: three years. A report of all time has no limits at all.
const MAX_DAYS: i64 = 1_096;

/// The days of a report: `from` and `to` are included, `None` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) from: Option<NaiveDate>,
    pub(crate) to: Option<NaiveDate>,
}

impl Period {
    /// How long it is; `None` without limits.
    fn days(self) -> Option<i64> {
        Some((self.to? - self.from?).num_days() + 1)
    }

    /// The first day to compare with in SQL: Postgres has fewer years than chrono.
    pub(crate) fn first(self) -> NaiveDate {
        self.from.or(NaiveDate::from_ymd_opt(1, 1, 1)).unwrap_or_default()
    }

    pub(crate) fn last(self) -> NaiveDate {
        self.to.or(NaiveDate::from_ymd_opt(9999, 12, 31)).unwrap_or_default()
    }

    /// Adds what is wrong with a period that a body names.
    pub(crate) fn check(self, errors: &mut FieldErrors) {
        for (name, day) in [("from", self.from), ("to", self.to)] {
            if day.is_some_and(|day| !is_asked_for(day)) {
                errors.add(name, EXPECTED);
            }
        }
        if self.from.zip(self.to).is_some_and(|(from, to)| to < from) {
            errors.add("to", BEFORE);
        }
    }

    /// The part of a file's name that says the period.
    pub(crate) fn suffix(self) -> String {
        let days: Vec<_> = [self.from, self.to].into_iter().flatten().map(|day| format!("_{day}")).collect();
        days.concat()
    }
}

/// The period of a request that names none.
#[derive(Debug, Clone, Copy)]
pub(super) enum DefaultPeriod {
    /// Today and the 29 days before it.
    LastThirtyDays,
    /// From the first of this month until today.
    ThisMonth,
    /// All days.
    Everything,
}

impl DefaultPeriod {
    /// Completes a period of which the client has named at most one day: with `from` alone it ends today, with `to` alone it
    /// is as long as the default.
    fn complete(self, from: Option<NaiveDate>, to: Option<NaiveDate>, today: NaiveDate) -> Period {
        let end = to.unwrap_or(today);
        let start = match self {
            Self::Everything => return Period { from, to },
            Self::LastThirtyDays => end.checked_sub_days(Days::new(29)),
            Self::ThisMonth => end.with_day(1),
        };
        Period { from: from.or(start), to: Some(end.max(from.unwrap_or(end))) }
    }
}

/// The format of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Format {
    Json,
    Csv,
}

impl Format {
    const EXPECTED: &str = "must be json or csv";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// The format that the `Accept` header asks for; the parameter `format` goes first.
    fn accepted(headers: &HeaderMap) -> Self {
        if accept::prefers(headers, "text/csv", "application/json") { Self::Csv } else { Self::Json }
    }
}

/// The parameters that every report has, parsed, with the errors so far.
#[derive(Debug)]
pub(super) struct ReportRequest {
    pub(super) parameters: Parameters,
    pub(super) format: Format,
    period: Period,
}

impl ReportRequest {
    pub(super) fn parse(
        headers: &HeaderMap,
        from: Option<&str>,
        to: Option<&str>,
        format: Option<&str>,
        today: NaiveDate,
        default: DefaultPeriod,
    ) -> Self {
        let mut parameters = Parameters::default();
        let from = parameters.parse("from", from, EXPECTED, parse_day);
        let to = parameters.parse("to", to, EXPECTED, parse_day);
        if from.zip(to).is_some_and(|(from, to)| to < from) {
            parameters.reject("to", BEFORE);
        }
        let period = default.complete(from, to, today);
        if period.days().is_some_and(|days| days > MAX_DAYS) {
            parameters.reject("to", format!("must be at most {MAX_DAYS} days after from; ask for a year at a time"));
        }
        let format = parameters.parse("format", format, Format::EXPECTED, Format::parse);
        let format = format.unwrap_or_else(|| Format::accepted(headers));
        Self { parameters, format, period }
    }

    /// 422 with every parameter that is wrong.
    pub(super) fn finish(self) -> Result<(Period, Format), ApiError> {
        self.parameters.finish()?;
        Ok((self.period, self.format))
    }
}

fn parse_day(text: &str) -> Option<NaiveDate> {
    dates::day(text).filter(|day| is_asked_for(*day))
}

fn is_asked_for(day: NaiveDate) -> bool {
    (1900..=9999).contains(&day.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    fn request(from: Option<&str>, to: Option<&str>, default: DefaultPeriod) -> Result<(Period, Format), ApiError> {
        ReportRequest::parse(&HeaderMap::new(), from, to, None, day("2026-03-15"), default).finish()
    }

    #[test]
    fn a_request_without_a_period_gets_the_default() {
        for (from, to, default, first, last) in [
            (None, None, DefaultPeriod::LastThirtyDays, Some("2026-02-14"), Some("2026-03-15")),
            (Some("2026-03-01"), None, DefaultPeriod::LastThirtyDays, Some("2026-03-01"), Some("2026-03-15")),
            (None, Some("2026-02-01"), DefaultPeriod::LastThirtyDays, Some("2026-01-03"), Some("2026-02-01")),
            (Some("2027-01-01"), None, DefaultPeriod::LastThirtyDays, Some("2027-01-01"), Some("2027-01-01")),
            (None, None, DefaultPeriod::ThisMonth, Some("2026-03-01"), Some("2026-03-15")),
            (None, Some("2026-02-28"), DefaultPeriod::ThisMonth, Some("2026-02-01"), Some("2026-02-28")),
            (None, None, DefaultPeriod::Everything, None, None),
            (Some("2026-01-01"), None, DefaultPeriod::Everything, Some("2026-01-01"), None),
        ] {
            let (period, _) = request(from, to, default).expect("valid");
            assert_eq!(period, Period { from: first.map(day), to: last.map(day) }, "{from:?} {to:?} {default:?}");
        }
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let wrong = ReportRequest::parse(
            &HeaderMap::new(),
            Some("2026-02-30"),
            Some("tomorrow"),
            Some("xml"),
            day("2026-03-15"),
            DefaultPeriod::Everything,
        );
        let error = wrong.finish().expect_err("all wrong");
        let fields = error.details["fields"].as_array().expect("a list");
        let names: Vec<_> = fields.iter().map(|field| field["field"].as_str().expect("a name")).collect();
        assert_eq!(names, ["from", "to", "format"]);
        assert!(request(Some("2026-02-02"), Some("2026-02-01"), DefaultPeriod::Everything).is_err());
        assert!(request(Some("1899-12-31"), None, DefaultPeriod::Everything).is_err());
    }

    #[test]
    fn a_client_that_accepts_csv_gets_it() {
        let headers = HeaderMap::from_iter([(axum::http::header::ACCEPT, "text/csv;q=0.9".parse().expect("a value"))]);
        let format = |format| {
            ReportRequest::parse(&headers, None, None, format, day("2026-03-15"), DefaultPeriod::Everything).finish()
        };
        assert_eq!(format(None).expect("valid").1, Format::Csv);
        assert_eq!(format(Some("json")).expect("valid").1, Format::Json);
    }
}
