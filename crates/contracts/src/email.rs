//! The address of a customer's mailbox.

use std::fmt;

use lettre::Address;
use serde::{Deserialize, Serialize, Serializer};

use crate::text::InvalidValue;

/// RFC 5321, section 4.5.3.1.3: a path has at most 256 octets, two of which are the angle brackets.
const MAX_LENGTH: usize = 254;

/// An e-mail address that the mailer can write to. The rule is lettre's, which also sends the e-mails, so an address that
/// the API accepts is never refused when the e-mail is due.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Email(Address);

impl Email {
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        Self::try_from(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// The address as the mailer needs it.
    pub fn address(&self) -> &Address {
        &self.0
    }
}

impl TryFrom<String> for Email {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let address = if text.len() <= MAX_LENGTH { Address::try_from(text).ok() } else { None };
        address.map(Self).ok_or_else(|| {
            InvalidValue::new(format!(
                "must be an e-mail address of at most {MAX_LENGTH} characters, like name@example.com"
            ))
        })
    }
}

impl Serialize for Email {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Without the address: it is personal data, and debug output ends up in logs.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_the_mailer_can_write_to() {
        let longest_name = format!("{}@example.com", "n".repeat(64));
        for good in [
            "a@b",
            "name.surname+tag@example.com",
            "meera@mail.example.co.in",
            "o'brien@example.com",
            "नाम@उदाहरण.भारत",
            "\"meera k\"@example.com",
            "\"a@b\"@example.com",
            "meera@[192.0.2.1]",
            &longest_name,
        ] {
            assert_eq!(Email::parse(good).as_ref().map(Email::as_str), Ok(good));
        }
        let name_too_long = format!("{}@example.com", "n".repeat(65));
        let too_long = format!("a@{}.com", ["x".repeat(60), "y".repeat(60), "z".repeat(60), "w".repeat(67)].join("."));
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b\n",
            "a@b\r\nBcc: c@d",
            "meera..k@example.com",
            ".meera@example.com",
            "meera@example.com.",
            "meera@-x.com",
            "x@-",
            "Meera <meera@example.com>",
            &name_too_long,
            &too_long,
        ] {
            let refusal = Email::parse(bad).expect_err(bad).to_string();
            assert!(refusal.starts_with("must be an e-mail address"), "{refusal}");
        }
    }

    #[test]
    fn debug_output_does_not_show_the_address() {
        let email = Email::parse("meera@example.com").expect("an address");
        assert_eq!(format!("{email:?}"), "Email(…)");
    }
}
