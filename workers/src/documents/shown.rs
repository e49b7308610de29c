//! Text that the embedded fonts can show. A character that none of them has would be an empty box in the PDF, so it is written in
//! letters that they have: 北京 becomes Bei Jing. The data keep the original.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use contracts::is_invisible;
use unicode_normalization::UnicodeNormalization;

/// What the files in `assets/fonts` cover, made by `scripts/font_coverage.py`: hexadecimal ranges.
const COVERAGE: &str = include_str!("../../assets/fonts/coverage.txt");
/// Stands for a character that has no letters.
const UNKNOWN: &str = "?";

static COVERED: LazyLock<BTreeMap<u32, u32>> = LazyLock::new(|| ranges().map(RangeInclusive::into_inner).collect());

fn ranges() -> impl Iterator<Item = RangeInclusive<u32>> {
    COVERAGE.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let code = |hex| u32::from_str_radix(hex, 16).expect("a hexadecimal number");
        code(first)..=code(last)
    })
}

fn is_covered(letter: char) -> bool {
    let code = u32::from(letter);
    COVERED.range(..=code).next_back().is_some_and(|(_, last)| code <= *last)
}

/// HTML whose every character is shown. What changes the direction of the text around it, or hides in it, is left out.
pub(super) fn shown(html: &str) -> String {
    if html.is_ascii() {
        return html.to_owned();
    }
    let mut shown = String::with_capacity(html.len());
    for letter in html.nfc() {
        match letter {
            // Before the fonts are asked: some have a glyph for it.
            _ if is_invisible(letter) => {}
            _ if letter.is_ascii() || is_joiner(letter) || is_covered(letter) => shown.push(letter),
            _ => shown.push_str(&escaped(&in_other_letters(letter))),
        }
    }
    shown
}

/// Indic and Arabic scripts need them between letters, and no font draws them.
const fn is_joiner(letter: char) -> bool {
    matches!(letter, '\u{200c}' | '\u{200d}')
}

/// Compatible characters that the fonts have (Ａ is A), or else the sound of the character in Latin letters.
fn in_other_letters(letter: char) -> String {
    let compatible: String = std::iter::once(letter).nfkc().collect();
    if compatible.chars().all(|letter| letter.is_ascii() || is_covered(letter)) {
        return compatible;
    }
    match deunicode::deunicode_char(letter) {
        Some(letters) => letters.to_owned(),
        None => UNKNOWN.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fonts_have_stays() {
        for text in [
            "Blue pottery ₹1,23,456.00 – “fine”",
            "जयपुर की नीली मिट्टी",
            "தஞ்சாவூர்",
            "মধুবনী",
            "نیلا",
            "<p class=\"a\">a</p>",
        ] {
            assert_eq!(shown(text), text.nfc().collect::<String>());
        }
        // Devanagari with a joiner.
        assert_eq!(shown("क्\u{200d}ष"), "क्\u{200d}ष");
    }

    #[test]
    fn what_they_lack_is_transliterated() {
        assert_eq!(shown("北京"), "Bei Jing ");
        assert_eq!(shown("こけし"), "kokesi");
        assert_eq!(shown("도자기"), "dojagi");
        assert_eq!(shown("Ｆｕｌｌ"), "Full");
        assert_eq!(shown("Москва"), "Moskva");
        assert_eq!(shown("≪"), "&lt;&lt;", "and stays text");
        assert_eq!(shown("\u{e000}"), "?");
    }

    #[test]
    fn what_hides_in_a_text_is_left_out() {
        assert_eq!(shown("Vase\u{202e}gnp.exe\u{feff}\u{200b}"), "Vasegnp.exe");
        assert_eq!(shown("soft\u{ad}hyphen\u{61c}"), "softhyphen", "a font has these");
        // e and an accent are one letter that the font has.
        assert_eq!(shown("Caf\u{65}\u{301}"), "Caf\u{e9}");
    }
}
