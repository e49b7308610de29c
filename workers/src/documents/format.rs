//! How documents and e-mails write dates, addresses and names.

use chrono::{DateTime, Utc};
use chrono_tz::Asia::Kolkata;
use contracts::{Address, country_name};

/// A date in India: `8 April 2026`.
pub(crate) fn day(at: DateTime<Utc>) -> String {
    at.with_timezone(&Kolkata).format("%-d %B %Y").to_string()
}

/// Two values in one line: `upi · UPI-632514870011`. Missing and empty ones are left out.
pub(crate) fn together(one: Option<&str>, other: Option<&str>) -> Option<String> {
    let both: Vec<_> = [one, other].into_iter().flatten().filter(|text| !text.is_empty()).collect();
    (!both.is_empty()).then(|| both.join(" · "))
}

/// An address without its name, line by line. Fields that we have no place for follow with their labels.
pub(crate) fn address_lines(address: &Address) -> Vec<String> {
    let town = [&address.city, &address.state, &address.postal_code];
    let town = town.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut lines: Vec<String> = [&address.line1, &address.line2].into_iter().flatten().cloned().collect();
    lines.push(town);
    lines.extend(address.country.as_deref().map(country_name).map(str::to_owned));
    lines.extend(address.phone.as_ref().map(|phone| format!("Phone {phone}")));
    lines.extend(address.gstin.as_ref().map(|gstin| format!("GSTIN {gstin}")));
    lines.extend(address.other.iter().map(|(name, value)| format!("{}: {value}", label(name))));
    lines.retain(|line| !line.trim().is_empty());
    lines
}

/// `delivery_note` → `Delivery note`.
pub(crate) fn label(name: &str) -> String {
    capitalised(&name.replace(['_', '-'], " "))
}

pub(crate) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
