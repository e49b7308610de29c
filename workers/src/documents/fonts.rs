//! The fonts of a document, as `data:` URIs. Every font costs time in every document (100 KB about 3 ms), so a document
//! embeds only the fonts whose script occurs in its text.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

struct Face {
    family: &'static str,
    style: &'static str,
    /// The Unicode block of the script; `None`: always embedded.
    block: Option<RangeInclusive<char>>,
    woff2: &'static [u8],
}

macro_rules! face {
    ($family:literal, $style:literal, $block:expr, $file:literal) => {
        Face {
            family: $family,
            style: $style,
            block: $block,
            woff2: include_bytes!(concat!("../../assets/fonts/", $file, ".woff2")),
        }
    };
}

/// `assets/invoice.css` lists the families in the same order.
static FACES: [Face; 14] = [
    face!("Cormorant Garamond", "normal 600", None, "cormorant-garamond-latin-600"),
    face!("Cormorant Garamond", "italic 500", None, "cormorant-garamond-latin-500-italic"),
    face!("Mukta", "normal 400", None, "mukta-latin-400"),
    face!("Mukta", "normal 600", None, "mukta-latin-600"),
    face!("Mukta Devanagari", "normal 400", Some('\u{900}'..='\u{97f}'), "mukta-devanagari-400"),
    face!("Noto Sans Bengali", "normal 400", Some('\u{980}'..='\u{9ff}'), "noto-sans-bengali-400"),
    face!("Noto Sans Gurmukhi", "normal 400", Some('\u{a00}'..='\u{a7f}'), "noto-sans-gurmukhi-400"),
    face!("Noto Sans Gujarati", "normal 400", Some('\u{a80}'..='\u{aff}'), "noto-sans-gujarati-400"),
    face!("Noto Sans Oriya", "normal 400", Some('\u{b00}'..='\u{b7f}'), "noto-sans-oriya-400"),
    face!("Noto Sans Tamil", "normal 400", Some('\u{b80}'..='\u{bff}'), "noto-sans-tamil-400"),
    face!("Noto Sans Telugu", "normal 400", Some('\u{c00}'..='\u{c7f}'), "noto-sans-telugu-400"),
    face!("Noto Sans Kannada", "normal 400", Some('\u{c80}'..='\u{cff}'), "noto-sans-kannada-400"),
    face!("Noto Sans Malayalam", "normal 400", Some('\u{d00}'..='\u{d7f}'), "noto-sans-malayalam-400"),
    face!("Noto Sans Arabic", "normal 400", Some('\u{600}'..='\u{6ff}'), "noto-sans-arabic-400"),
];

static RULES: LazyLock<Vec<String>> = LazyLock::new(|| FACES.iter().map(Face::rule).collect());

/// The `@font-face` rules that a text needs.
pub(super) fn css_for(text: &str) -> String {
    let mut needed = FACES.each_ref().map(|face| face.block.is_none());
    for letter in text.chars().filter(|letter| !letter.is_ascii()) {
        for (face, needed) in FACES.iter().zip(&mut needed) {
            *needed |= face.block.as_ref().is_some_and(|block| block.contains(&letter));
        }
    }
    RULES.iter().zip(needed).filter_map(|(rule, needed)| needed.then_some(rule.as_str())).collect()
}

impl Face {
    fn rule(&self) -> String {
        let (style, weight) = self.style.split_once(' ').expect("a style and a weight");
        let data = BASE64_STANDARD.encode(self.woff2);
        format!(
            "@font-face{{font-family:\"{}\";font-style:{style};font-weight:{weight};\
             src:url(data:font/woff2;base64,{data}) format(\"woff2\")}}",
            self.family
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_scripts_that_occur_are_embedded() {
        let latin = css_for("Blue pottery, ₹1,23,456.00");
        assert!(latin.contains("\"Mukta\"") && !latin.contains("Devanagari"), "{} bytes", latin.len());
        let indic = css_for("நீலம் जयपुर");
        assert!(indic.contains("Noto Sans Tamil") && indic.contains("Mukta Devanagari"));
        assert!(!indic.contains("Bengali"));
    }

    #[test]
    fn the_style_names_every_family() {
        let style = include_str!("../../assets/invoice.css");
        for face in &FACES {
            assert!(style.contains(&format!("\"{}\"", face.family)), "{}", face.family);
        }
    }
}
