//! Names and addresses of an e-invoice, in the lengths that the portal takes.

use contracts::{Address, is_invisible};
use serde_json::{Map, Value, json};

/// The portal's PIN code for a place outside India.
const PIN_ABROAD: u32 = 999_999;

pub(super) fn party(members: &mut Map<String, Value>, address: &Address, abroad: bool) {
    put(members, "LglNm", address.name.as_deref(), 3, 100);
    lines_of(members, &[address.line1.as_deref(), address.line2.as_deref()]);
    put(members, "Loc", address.city.as_deref(), 3, 50);
    if abroad {
        members.insert("Pin".to_owned(), json!(PIN_ABROAD));
    } else {
        pin(members, address.postal_code.as_deref());
    }
}

/// The lines of an address in two members of 100 characters each.
pub(super) fn lines_of(members: &mut Map<String, Value>, lines: &[Option<&str>]) {
    let text =
        lines.iter().copied().flatten().map(plain).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
    let words: Vec<_> = text.split(' ').collect();
    let fits = |count: &usize| words[..*count].join(" ").chars().count() <= 100;
    let first = (1..=words.len()).take_while(fits).last().unwrap_or(0);
    if first == 0 {
        put(members, "Addr1", Some(&text), 1, 100);
        return;
    }
    put(members, "Addr1", Some(words[..first].join(" ").trim_end_matches(',')), 1, 100);
    put(members, "Addr2", Some(&words[first..].join(" ")), 3, 100);
}

/// Adds a text that is long enough. A longer one is cut.
pub(super) fn put(members: &mut Map<String, Value>, name: &str, text: Option<&str>, least: usize, most: usize) {
    let Some(text) = text.map(plain) else { return };
    if text.chars().count() >= least {
        members.insert(name.to_owned(), json!(text.chars().take(most).collect::<String>().trim_end()));
    }
}

pub(super) fn pin(members: &mut Map<String, Value>, postal_code: Option<&str>) {
    let digits: String = postal_code.unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
    if let Some(pin) = digits.parse::<u32>().ok().filter(|pin| (100_000..PIN_ABROAD).contains(pin)) {
        members.insert("Pin".to_owned(), json!(pin));
    }
}

/// Digits only.
pub(super) fn telephone(phone: &str) -> Option<String> {
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    (6..=12).contains(&digits.len()).then_some(digits)
}

/// Without the characters that the portal refuses: quotation marks, backslashes, line ends.
fn plain(text: &str) -> String {
    let kept = text.chars().filter(|c| !is_invisible(*c)).map(|c| match c {
        '"' => '\'',
        '\\' => '/',
        c if c.is_control() => ' ',
        c => c,
    });
    kept.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}
