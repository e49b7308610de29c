//! Texts that name something, each with a type of its own. A text is checked once, where it enters the system, and
//! every later step takes the type: what the API accepts, no later step refuses.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::text::{InvalidValue, check_text};

/// A type around a text that its `check` has passed, once it was brought into its usual form.
macro_rules! value {
    ($(#[$doc:meta])* $name:ident: $check:expr) => {
        value! { $(#[$doc])* $name: $check, usually: std::convert::identity }
    };
    ($(#[$doc:meta])* $name:ident: $check:expr, usually: $usual:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            pub fn parse(text: &str) -> Result<Self, InvalidValue> {
                Self::try_from(text.to_owned())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                let text = $usual(text);
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

value! {
    /// What customers call an order by: 1 to 32 letters, digits, `.`, `_` or `-`, the first a letter or digit. It is part
    /// of file names (`invoice_<order_number>.pdf`), so it must be harmless in one. It must not be a UUID, or it could be taken for
    /// the id of another order.
    OrderNumber: order_number
}

value! {
    /// The shop's own id of a customer: 1 to 64 characters.
    CustomerId: short_text::<64>
}

value! {
    /// The shop's own code of an article (stock keeping unit): 1 to 64 characters.
    Sku: short_text::<64>
}

value! {
    /// A code of the Harmonised System of Nomenclature: a chapter, heading or tariff item of 4, 6 or 8 digits, for goods. Blanks and
    /// dots, as in `6913 90 00`, are left out.
    Hsn: hsn, usually: without_gaps
}

fn order_number(text: &str) -> Result<(), InvalidValue> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let accepted = (1..=32).contains(&text.len())
        && text.chars().all(harmless)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if Uuid::try_parse(text).is_ok() {
        return Err(InvalidValue::new("must not be a UUID, because it could be taken for the id of another order"));
    }
    if accepted {
        return Ok(());
    }
    Err(InvalidValue::new("must be 1 to 32 letters, digits, '.', '_' or '-', and begin with a letter or digit"))
}

/// Longest code as people write it, with gaps between all digits. A longer text stays as it is, and is refused.
const MAX_WITH_GAPS: usize = 16;

fn without_gaps(mut code: String) -> String {
    if code.len() <= MAX_WITH_GAPS {
        code.retain(|c| !matches!(c, ' ' | '.'));
    }
    code
}

/// Chapter 77 is reserved, 98 is for projects and baggage, and 99 for services.
fn hsn(code: &str) -> Result<(), InvalidValue> {
    let is_long_enough = matches!(code.len(), 4 | 6 | 8) && code.bytes().all(|digit| digit.is_ascii_digit());
    let chapter = code.get(..2).and_then(|chapter| chapter.parse::<u8>().ok());
    if is_long_enough && chapter.is_some_and(|chapter| matches!(chapter, 1..=76 | 78..=97)) {
        return Ok(());
    }
    Err(InvalidValue::new("must be an HSN code of 4, 6 or 8 digits that begins with the chapter of goods, 01 to 97"))
}

/// Not blank, at most `MAX` characters, and no control characters.
fn short_text<const MAX: usize>(text: &str) -> Result<(), InvalidValue> {
    check_text(text, MAX, |_| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_number_is_harmless_in_a_file_name() {
        for good in ["AC-1", "2026.11_x", "A", &"X".repeat(32), &"9".repeat(31)] {
            assert_eq!(OrderNumber::parse(good).map(String::from).as_deref(), Ok(good));
        }
        for bad in ["", "../x", "a/b", ".hidden", "a b", "é", "-x", "AC\r\nX", &"X".repeat(33), &"9".repeat(32)] {
            assert!(OrderNumber::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_text_is_neither_blank_nor_too_long() {
        let refusal = |text: &str| CustomerId::parse(text).map(String::from).map_err(|error| error.to_string());
        let longest = "क".repeat(64);
        for good in [" a ", longest.as_str()] {
            assert_eq!(refusal(good).as_deref(), Ok(good));
        }
        for (bad, message) in [
            ("", "must not be empty"),
            (" \t\n", "must not be empty"),
            ("a\0", "must not contain the control character U+0000"),
            ("a\nb", "must not contain the control character U+000A"),
            ("\u{200b}", "must not be empty"),
            (&"क".repeat(65), "must be at most 64 characters long"),
        ] {
            assert_eq!(refusal(bad).as_ref().map_err(String::as_str), Err(message), "{bad:?}");
        }
        assert!(Sku::parse(&"x".repeat(64)).is_ok() && Sku::parse(&"x".repeat(65)).is_err());
        for (written, code) in [("6912", "6912"), ("6913 90 00", "69139000"), ("6913.90", "691390")] {
            assert_eq!(Hsn::parse(written).map(String::from).as_deref(), Ok(code));
        }
        for bad in [
            "",
            "69",
            "69139",
            "RET191349",
            "=1+1",
            "SKU-5703",
            "7701",
            "9987",
            "0001",
            "691390000",
            "६९१२",
            "6912.............",
        ] {
            assert!(Hsn::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn in_json_a_value_is_its_text_and_a_bad_one_is_refused() {
        let sku: Sku = serde_json::from_str(r#""JBP-1""#).expect("a code");
        assert_eq!(serde_json::to_string(&sku).expect("JSON"), r#""JBP-1""#);
        let refusal = serde_json::from_str::<Sku>(r#""""#).expect_err("empty").to_string();
        assert!(refusal.starts_with("must not be empty"), "{refusal}");
    }
}
