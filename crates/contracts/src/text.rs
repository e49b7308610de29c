//! What is wrong with a text, and what can be seen of it.

/// What is wrong with a text: the message says what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl InvalidValue {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Directions, marks of byte order, spaces without a width, selectors of variants, tags.
pub const fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether the character ends a line, rings a bell, controls a terminal in another way, or turns the direction of what follows, so that
/// a text reads as another one.
pub fn is_control(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether it is a blank, or a character that no font shows.
fn is_unseen(letter: char) -> bool {
    letter.is_whitespace() || is_invisible(letter) || matches!(letter, '\u{200c}' | '\u{200d}')
}

/// Whether nothing of the text can be seen.
fn is_blank(text: &str) -> bool {
    text.chars().all(is_unseen)
}

/// What [`check_text`] accepts of any length, as a regular expression of ECMA-262, for API descriptions. It is made of the same
/// functions, so the description cannot say anything else than the check.
pub fn pattern(allowed: fn(char) -> bool) -> String {
    let refused = |letter: char| is_control(letter) && !allowed(letter);
    let (refused, unseen) = (class(refused), class(|letter| refused(letter) || is_unseen(letter)));
    format!("^[^{refused}]*[^{unseen}][^{refused}]*$")
}

/// The inside of a character class.
fn class(contains: impl Fn(char) -> bool) -> String {
    let mut ranges: Vec<(char, char)> = Vec::new();
    for letter in ('\0'..=char::MAX).filter(|letter| contains(*letter)) {
        match ranges.last_mut() {
            Some((_, last)) if u32::from(*last) + 1 == u32::from(letter) => *last = letter,
            _ => ranges.push((letter, letter)),
        }
    }
    // Only engines in Unicode mode read `\u{…}`, and only others read two surrogates. All of them read the character.
    let written = |letter: char| match u32::from(letter) {
        code @ 0..=0xffff => format!("\\u{code:04x}"),
        _ => letter.to_string(),
    };
    let range = |(first, last): (char, char)| {
        if first == last { written(first) } else { format!("{}-{}", written(first), written(last)) }
    };
    ranges.into_iter().map(range).collect()
}

/// Refuses a text that is blank, longer than `max` characters, or has control characters that are not `allowed`.
pub fn check_text(text: &str, max: usize, allowed: fn(char) -> bool) -> Result<(), InvalidValue> {
    if is_blank(text) {
        Err(InvalidValue::new("must not be empty"))
    } else if text.chars().nth(max).is_some() {
        Err(InvalidValue::new(format!("must be at most {max} characters long")))
    } else if let Some(control) = text.chars().find(|letter| is_control(*letter) && !allowed(*letter)) {
        Err(InvalidValue::new(format!("must not contain the control character U+{:04X}", u32::from(control))))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_font_shows_is_blank() {
        for text in ["", " \t", "\u{200b}", "\u{feff}\u{200b}", "\u{a0}\u{200d}", "\u{202e}"] {
            assert!(is_blank(text), "{text:?}");
        }
        for text in ["a", "\u{202e}a", "क्\u{200d}ष", "."] {
            assert!(!is_blank(text), "{text:?}");
        }
    }

    #[test]
    fn the_pattern_names_what_is_refused() {
        assert_eq!(class(is_control), r"\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069");
        let line = pattern(|_| false);
        assert!(
            line.starts_with(
                r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*[^\u0000-\u0020\u007f-\u00a0\u00ad"
            ),
            "{line}"
        );
        let prose = pattern(|control| control == '\n');
        assert!(prose.starts_with(r"^[^\u0000-\u0009\u000b-\u001f"), "{prose}");
    }
}
