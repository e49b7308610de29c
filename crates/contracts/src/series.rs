//! Numbers of invoices and credit notes, as rule 46(b) of the CGST Rules requires them: consecutive, unique in a financial
//! year, at most 16 characters of letters, digits, `-` and `/`. This is the only definition of their form.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, Utc};
use thiserror::Error;

const MAX_LENGTH: usize = 16;
/// A series has numbers of seven digits, or of six where its name leaves no room for the seventh.
const DIGITS: [usize; 2] = [7, 6];
const APRIL: u32 = 4;
const SECONDS_EAST: i32 = 5 * 3600 + 30 * 60;

/// Why a text cannot be the number of a document.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidNumber {
    #[error("document number {0:?} must have 1 to {MAX_LENGTH} characters")]
    Length(String),
    #[error("document number {number:?} must not contain {character:?}: only letters, digits, - and / are allowed")]
    Character { number: String, character: char },
    #[error("the series {series} has ended: its last number is {last}; the next one needs another prefix")]
    Ended { series: String, last: u32 },
}

/// A series of consecutive numbers: those of one prefix in one financial year.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    name: String,
    digits: usize,
}

impl Series {
    /// `AC` and `26-27` are the series `AC/26-27`.
    ///
    /// # Errors
    /// Rule 46(b) does not allow its numbers.
    pub fn new(prefix: &str, financial_year: &str) -> Result<Self, InvalidNumber> {
        Self::named(format!("{prefix}/{financial_year}"))
    }

    /// A series by its name, as in `AC/26-27`.
    ///
    /// # Errors
    /// Rule 46(b) does not allow its numbers.
    pub fn named(name: String) -> Result<Self, InvalidNumber> {
        let room = MAX_LENGTH.saturating_sub(name.len() + 1);
        let [most, least] = DIGITS;
        let series = Self { digits: room.clamp(least, most), name };
        check_number(&series.written(1))?;
        Ok(series)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last number. All numbers of a series have the same length, so they sort as text.
    pub fn last(&self) -> u32 {
        u32::try_from(self.digits).map_or(u32::MAX, |digits| 10_u32.pow(digits) - 1)
    }

    /// The `n`th number: `AC/26-27/0000001`.
    ///
    /// # Errors
    /// [`InvalidNumber::Ended`]: the series has no such number.
    pub fn number(&self, n: u32) -> Result<String, InvalidNumber> {
        if (1..=self.last()).contains(&n) {
            return Ok(self.written(n));
        }
        Err(InvalidNumber::Ended { series: self.name.clone(), last: self.last() })
    }

    fn written(&self, n: u32) -> String {
        format!("{}/{n:0width$}", self.name, width = self.digits)
    }
}

/// The day in India. What the law dates, it dates there: documents, their financial years, rates and returns. India has kept one
/// offset since 1945, so no time zone tables are needed.
pub fn day_in_india(at: DateTime<Utc>) -> NaiveDate {
    at.with_timezone(&india()).date_naive()
}

/// Five and a half hours ahead of UTC.
pub fn india() -> FixedOffset {
    FixedOffset::east_opt(SECONDS_EAST).expect("less than a day")
}

/// The Indian financial year (1 April to 31 March) of a day: `26-27`.
pub fn financial_year(day: NaiveDate) -> String {
    let start = if day.month() >= APRIL { day.year() } else { day.year() - 1 };
    format!("{:02}-{:02}", start.rem_euclid(100), (start + 1).rem_euclid(100))
}

fn check_number(number: &str) -> Result<(), InvalidNumber> {
    if let Some(character) = number.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '/'))) {
        return Err(InvalidNumber::Character { number: number.to_owned(), character });
    }
    if number.is_empty() || number.len() > MAX_LENGTH {
        return Err(InvalidNumber::Length(number.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn array(value: &Value) -> Vec<&str> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text")).collect()
    }

    /// Independent figures; the file names the source of each.
    #[test]
    fn numbers_keep_to_rule_46() {
        let vectors: Value = serde_json::from_str(include_str!("../../domain/tests/vectors/money.json")).expect("JSON");
        let (good, bad) = (array(&vectors["invoice_number"]["good"]), array(&vectors["invoice_number"]["bad"]));
        assert!(!good.is_empty() && !bad.is_empty());
        for good in good {
            assert_eq!(check_number(good), Ok(()), "{good}");
        }
        for bad in bad {
            assert!(check_number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_series_has_seven_digits_where_16_characters_allow_it() {
        for (prefix, first, last) in [
            ("A", "A/26-27/0000001", "A/26-27/9999999"),
            ("AC", "AC/26-27/0000001", "AC/26-27/9999999"),
            ("ABC", "ABC/26-27/000001", "ABC/26-27/999999"),
        ] {
            let series = Series::new(prefix, "26-27").expect("a valid series");
            assert_eq!(series.number(1).as_deref(), Ok(first));
            assert_eq!(series.number(series.last()).as_deref(), Ok(last));
            for beyond in [0, series.last() + 1] {
                let name = series.name().to_owned();
                assert_eq!(series.number(beyond), Err(InvalidNumber::Ended { series: name, last: series.last() }));
            }
            assert_eq!(Series::named(series.name().to_owned()), Ok(series));
        }
        let refusal = |prefix| Series::new(prefix, "26-27").expect_err("no valid series").to_string();
        assert_eq!(refusal("ABCD"), "document number \"ABCD/26-27/000001\" must have 1 to 16 characters");
        assert_eq!(
            refusal("A C"),
            "document number \"A C/26-27/000001\" must not contain ' ': only letters, digits, - and / are allowed",
        );
    }

    #[test]
    fn the_financial_year_begins_on_the_first_of_april() {
        let year = |day: &str| financial_year(day.parse().expect("a day"));
        assert_eq!(year("2026-03-31"), "25-26");
        assert_eq!(year("2026-04-01"), "26-27");
        assert_eq!(year("2027-01-01"), "26-27");
        assert_eq!(year("2099-06-01"), "99-00");
    }
}
