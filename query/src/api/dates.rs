//! Times in filters: an instant, or a business day.

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};

use utoipa::openapi::schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};

use crate::business_day;

/// What a filter accepts; completes a sentence that starts with the parameter's name.
pub(super) const EXPECTED: &str =
    "must be a time like 2026-01-31T18:30:00+05:30, or a date like 2026-01-31, from 1900 to 9999";

/// The start of a period: the instant itself, or the first instant of the day.
pub(super) fn parse_from(text: &str) -> Option<DateTime<Utc>> {
    instant(text).or_else(|| start_of(day(text)?))
}

/// The end of a period, which the period does not include: the instant itself, or the first instant of the next day.
pub(super) fn parse_to(text: &str) -> Option<DateTime<Utc>> {
    instant(text).or_else(|| start_of(day(text)?.checked_add_days(Days::new(1))?))
}

/// The same for the API description.
pub(super) fn time_or_day() -> Schema {
    let shaped = |format| {
        let text = ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)));
        text.pattern(Some("^(19|[2-9][0-9])"))
    };
    AnyOfBuilder::new().item(shaped(KnownFormat::DateTime)).item(shaped(KnownFormat::Date)).into()
}

/// A year that people use and Postgres can store.
pub(super) fn is_plausible(at: DateTime<Utc>) -> bool {
    (1900..=9999).contains(&at.year())
}

fn instant(text: &str) -> Option<DateTime<Utc>> {
    // In a query string an unescaped `+` means a space: `T18:30:00+05:30` arrives as `T18:30:00 05:30`.
    let at = DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok()?.to_utc();
    is_plausible(at).then_some(at)
}

/// A date without a time.
pub(super) fn day(text: &str) -> Option<NaiveDate> {
    let shaped = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if shaped { NaiveDate::parse_from_str(text, "%Y-%m-%d").ok() } else { None }
}

fn start_of(day: NaiveDate) -> Option<DateTime<Utc>> {
    business_day::start_of(day).filter(|start| is_plausible(*start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_date_is_a_whole_day_in_kolkata() {
        assert_eq!(parse_from("2026-01-31"), Some(utc("2026-01-30T18:30:00Z")));
        assert_eq!(parse_to("2026-01-31"), Some(utc("2026-01-31T18:30:00Z")));
        assert_eq!(parse_to("2024-02-28"), parse_from("2024-02-29"));
        assert!(parse_from("1970-01-01").is_some(), "clients use it for \"from the beginning\"");
    }

    #[test]
    fn an_instant_is_itself() {
        for text in ["2026-01-31T18:30:00+05:30", "2026-01-31T18:30:00 05:30", "2026-01-31T13:00:00Z"] {
            assert_eq!(parse_from(text), Some(utc("2026-01-31T13:00:00Z")), "{text}");
            assert_eq!(parse_to(text), parse_from(text));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-02-30",
            "2026-1-1",
            "31-01-2026",
            "20260131",
            "2026-01-31T18:30:00",
            "2026-01-31 ",
            "0001-01-01",
            "1899-12-31T00:00:00Z",
            "+12026-01-1",
            "9999-12-31T23:59:59-12:00",
        ] {
            assert_eq!(parse_from(text), None, "{text:?}");
        }
    }
}
