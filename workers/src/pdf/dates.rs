//! The same document is the same file, whenever it is printed.

use chrono::{DateTime, Utc};

/// How Chromium begins the two times that it writes into every PDF, in UTC; fourteen digits follow.
const TIMES: [&[u8]; 2] = [b"/CreationDate (D:", b"/ModDate (D:"];
const DIGITS: usize = 14;

/// Puts `at` in the place of the times of printing, which are all that differs between two prints of a document.
///
/// A worker that was frozen may put its print into the store long after another one has stored, recorded and announced
/// its own. Like this both have put the same bytes there.
pub(crate) fn dated(mut pdf: Vec<u8>, at: DateTime<Utc>) -> Vec<u8> {
    let stamp = at.format("%Y%m%d%H%M%S").to_string();
    debug_assert_eq!(stamp.len(), DIGITS, "a year of four digits");
    for key in TIMES {
        let Some(start) = pdf.windows(key.len()).position(|window| window == key) else { continue };
        let Some(digits) = pdf.get_mut(start + key.len()..start + key.len() + DIGITS) else { continue };
        if digits.iter().all(u8::is_ascii_digit) {
            digits.copy_from_slice(stamp.as_bytes());
        }
    }
    pdf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_are_replaced_and_nothing_else() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        let printed =
            b"1 0 obj <</CreationDate (D:20261121171156+00'00')\n/ModDate (D:20261121171157+00'00')>> (D:2026)";
        let expected =
            b"1 0 obj <</CreationDate (D:20231114221320+00'00')\n/ModDate (D:20231114221320+00'00')>> (D:2026)";
        assert_eq!(dated(printed.to_vec(), at), expected);
        for odd in ["", "/ModDate (D:", "/ModDate (D:2026)", "/CreationDate (D:2026112117115x+00'00')"] {
            assert_eq!(dated(odd.as_bytes().to_vec(), at), odd.as_bytes());
        }
    }
}
