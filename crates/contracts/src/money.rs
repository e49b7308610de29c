//! Money as an Indian customer reads it.

use std::fmt::Write;

/// An amount in minor units of an ISO 4217 currency: `₹1,23,456.00` in rupees, `USD 123,456.00` in others.
pub fn money(minor: i64, currency: &str) -> String {
    let digits = minor_digits(currency);
    let unit = 10_u64.pow(digits);
    let (whole, rest) = (minor.unsigned_abs() / unit, minor.unsigned_abs() % unit);
    let mut text = String::new();
    if minor < 0 {
        text.push('-');
    }
    if currency == "INR" {
        text.push('₹');
        text.push_str(&grouped(whole, 2));
    } else {
        text.push_str(currency);
        // No line break between a currency and its amount.
        text.push('\u{a0}');
        text.push_str(&grouped(whole, 3));
    }
    if digits > 0 {
        write!(text, ".{rest:0width$}", width = digits as usize).expect("writing to a String cannot fail");
    }
    text
}

/// The last three digits, then groups of `size`: 3 in the West, 2 in India (lakh, crore).
fn grouped(number: u64, size: usize) -> String {
    let digits = number.to_string();
    let (head, tail) = digits.split_at(digits.len().saturating_sub(3));
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in head.chars().enumerate() {
        text.push(digit);
        if (head.len() - index - 1).is_multiple_of(size) {
            text.push(',');
        }
    }
    text + tail
}

/// ISO 4217, table A.1, column "minor unit".
fn minor_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::money;

    #[test]
    fn rupees_are_grouped_by_lakh_and_crore() {
        for (paise, text) in [
            (0, "₹0.00"),
            (5, "₹0.05"),
            (99_900, "₹999.00"),
            (100_000, "₹1,000.00"),
            (9_999_999, "₹99,999.99"),
            (12_345_600, "₹1,23,456.00"),
            (1_234_567_890, "₹1,23,45,678.90"),
            (-12_345_600, "-₹1,23,456.00"),
            (i64::MIN, "-₹92,23,37,20,36,85,47,758.08"),
        ] {
            assert_eq!(money(paise, "INR"), text);
        }
    }

    /// Independent figures; the file names the source of each.
    #[test]
    fn rupees_are_grouped_as_in_the_vectors() {
        let all: serde_json::Value =
            serde_json::from_str(include_str!("../../domain/tests/vectors/money.json")).expect("JSON");
        let vectors = all["digit_grouping_en_IN"].as_object().expect("amounts with their texts");
        assert!(!vectors.is_empty());
        for (minor, text) in vectors {
            assert_eq!(money(minor.parse().expect("minor units"), "INR"), text.as_str().expect("a text"));
        }
    }

    #[test]
    fn other_currencies_keep_their_code_and_their_own_minor_unit() {
        for (minor, currency, text) in [
            (12_345_600, "USD", "USD\u{a0}123,456.00"),
            (123_456, "JPY", "JPY\u{a0}123,456"),
            (123_456_789, "KWD", "KWD\u{a0}123,456.789"),
            (12_345, "CLF", "CLF\u{a0}1.2345"),
            (-50, "EUR", "-EUR\u{a0}0.50"),
        ] {
            assert_eq!(money(minor, currency), text);
        }
    }
}
