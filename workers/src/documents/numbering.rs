//! The series of numbers that a document's number comes from. `contracts` defines their form.

use chrono::{DateTime, Utc};
use contracts::{InvalidNumber, Series, day_in_india, financial_year};

/// The series of the financial year in India.
pub(super) fn series_at(prefix: &str, at: DateTime<Utc>) -> Result<Series, InvalidNumber> {
    Series::new(prefix, &financial_year(day_in_india(at)))
}

/// The value parser of `INVOICE_PREFIX`.
pub(crate) fn check_invoice_prefix(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("must have at least one character".to_owned());
    }
    Series::new(text, "99-00").map(|_| text.to_owned()).map_err(|error| error.to_string())
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
    use serde_json::Value;

    use super::*;

    fn series(instant: &str) -> String {
        let at = instant.parse::<DateTime<Utc>>().expect("an instant");
        series_at("AC", at).expect("a valid series").name().to_owned()
    }

    /// Independent figures; the file names the source of each.
    #[test]
    fn a_series_belongs_to_the_financial_year_in_india() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../../crates/domain/tests/vectors/money.json")).expect("JSON");
        let vectors = vectors["invoice_number"]["financial_year"].as_array().expect("a list");
        assert!(!vectors.is_empty());
        for vector in vectors {
            let year = vector["financial_year"].as_str().expect("a text");
            assert_eq!(series(vector["instant_utc"].as_str().expect("a text")), format!("AC/{year}"));
        }
        assert_eq!(series("2026-03-31T18:29:59Z"), "AC/25-26");
        assert_eq!(series("2026-03-31T18:30:00Z"), "AC/26-27");
    }

    #[test]
    fn a_prefix_leaves_room_for_six_digits() {
        assert_eq!(check_invoice_prefix("A/1").as_deref(), Ok("A/1"));
        assert_eq!(check_credit_note_prefix("CN1").as_deref(), Ok("CN1"));
        for bad in ["", "ABCD", "A C", "A_C"] {
            assert!(check_invoice_prefix(bad).is_err() && check_credit_note_prefix(bad).is_err(), "{bad}");
        }
        assert!(check_credit_note_prefix("A/1").is_err());
    }
}
