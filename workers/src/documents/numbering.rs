//! Numbers of invoices and credit notes, as rule 46(b) of the CGST Rules requires them: consecutive, unique in a financial
//! year, at most 16 characters of letters, digits, `-` and `/`.

use chrono::{DateTime, Datelike, Utc};
use chrono_tz::Tz;
use thiserror::Error;

const MAX_LENGTH: usize = 16;
const APRIL: u32 = 4;

/// Why a text cannot be the number of a document.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum InvalidNumber {
    #[error("document number {0:?} must have 1 to {MAX_LENGTH} characters")]
    Length(String),
    #[error("document number {number:?} must not contain {character:?}: only letters, digits, - and / are allowed")]
    Character { number: String, character: char },
}

/// The Indian financial year (1 April to 31 March) of the local day of `at`: "26-27".
pub(super) fn financial_year(at: DateTime<Utc>, timezone: Tz) -> String {
    let day = at.with_timezone(&timezone).date_naive();
    let start = if day.month() >= APRIL { day.year() } else { day.year() - 1 };
    format!("{:02}-{:02}", start.rem_euclid(100), (start + 1).rem_euclid(100))
}

/// The `n`th number of a series: `AC/25-26/000001`. Six digits, so that numbers sort as text. A seventh digit is valid
/// where the prefix leaves room for it.
pub(super) fn document_number(series_prefix: &str, financial_year: &str, n: u32) -> Result<String, InvalidNumber> {
    let number = format!("{series_prefix}/{financial_year}/{n:06}");
    check_number(&number)?;
    Ok(number)
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

/// The value parser of `INVOICE_PREFIX`.
pub(crate) fn check_invoice_prefix(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("must have at least one character".to_owned());
    }
    document_number(text, "99-00", 999_999).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// The value parser of `CREDIT_NOTE_PREFIX`. Stricter than that of invoices, because a credit note's number becomes part
/// of a file name.
pub(crate) fn check_credit_note_prefix(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err("must be 1 to 3 letters and digits".to_owned());
    }
    check_invoice_prefix(text)
}

#[cfg(test)]
mod tests {
    use chrono_tz::Asia::Kolkata;
    use serde_json::Value;

    use super::*;

    /// Independent figures; the file names the source of each.
    fn vectors() -> Value {
        let all: Value =
            serde_json::from_str(include_str!("../../../crates/domain/tests/vectors/money.json")).expect("JSON");
        all["invoice_number"].clone()
    }

    fn array(value: &Value) -> &Vec<Value> {
        value.as_array().filter(|values| !values.is_empty()).expect("a list with something in it")
    }

    fn text(value: &Value) -> &str {
        value.as_str().expect("a text")
    }

    #[test]
    fn numbers_keep_to_rule_46() {
        let vectors = vectors();
        for good in array(&vectors["good"]) {
            assert_eq!(check_number(text(good)), Ok(()), "{good}");
        }
        for bad in array(&vectors["bad"]) {
            assert!(check_number(text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_financial_year_begins_on_the_first_of_april_in_india() {
        let year = |instant: &str| financial_year(instant.parse::<DateTime<Utc>>().expect("an instant"), Kolkata);
        let vectors = vectors();
        for vector in array(&vectors["financial_year"]) {
            assert_eq!(year(text(&vector["instant_utc"])), text(&vector["financial_year"]));
        }
        assert_eq!(year("2026-03-31T18:29:59Z"), "25-26");
        assert_eq!(year("2026-03-31T18:30:00Z"), "26-27");
        assert_eq!(year("2026-12-31T18:30:00Z"), "26-27");
        assert_eq!(year("2099-06-01T00:00:00Z"), "99-00");
    }

    #[test]
    fn a_series_counts_on_until_its_numbers_no_longer_fit() {
        assert_eq!(document_number("AC", "25-26", 1).as_deref(), Ok("AC/25-26/000001"));
        assert_eq!(document_number("AC", "25-26", 9_999_999).as_deref(), Ok("AC/25-26/9999999"));
        let refusal = |prefix, n| document_number(prefix, "25-26", n).expect_err("no valid number");
        assert_eq!(refusal("AC", 10_000_000), InvalidNumber::Length("AC/25-26/10000000".into()));
        assert_eq!(
            refusal("A C", 1).to_string(),
            "document number \"A C/25-26/000001\" must not contain ' ': only letters, digits, - and / are allowed",
        );
        assert_eq!(
            check_number("").expect_err("empty").to_string(),
            "document number \"\" must have 1 to 16 characters",
        );
    }
}
