//! The words by which orders and returns are found: those of a document, and those that a search asks for.
//!
//! Both sides make the same of the same text: Unicode's compatibility forms (NFKC), lower case, and Latin letters without their
//! accents. Words end where Unicode says that they end (UAX 29).

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// Of a longer word only the beginning counts.
const MAX_WORD: usize = 64;
/// Words of one document; an order may have hundreds of lines. Whole SKUs do not count: each is found.
const MAX_WORDS: usize = 400;

/// The words of a document.
#[derive(Debug, Default)]
pub(crate) struct Words(BTreeSet<String>);

impl Words {
    /// Between two words where they are one text.
    pub(crate) const SEPARATOR: &str = "\u{1f}";

    /// Names that people copy: found whole, and by their parts.
    pub(crate) fn add_identifiers<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        for text in texts {
            let text = normal(text);
            self.add(&text);
            text.unicode_words().for_each(|word| self.add(word));
        }
    }

    /// SKUs: found as they are, by the list's `sku`, and as identifiers.
    pub(crate) fn add_skus<'a>(&mut self, skus: impl Iterator<Item = &'a str>) {
        for sku in skus {
            self.0.insert(exact_sku(sku));
            self.add_identifiers(std::iter::once(sku));
        }
    }

    /// Texts that people read.
    pub(crate) fn add_text<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        for text in texts {
            normal(text).unicode_words().for_each(|word| self.add(word));
        }
    }

    /// All of them as one text.
    pub(crate) fn joined(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(String::as_str).collect();
        words.join(Self::SEPARATOR)
    }

    fn add(&mut self, word: &str) {
        self.insert(word.chars().filter(|one| !one.is_control()).take(MAX_WORD).collect());
    }

    fn insert(&mut self, word: String) {
        if !word.is_empty() && self.0.len() < MAX_WORDS {
            self.0.insert(word);
        }
    }
}

/// The word that stands for a whole SKU. No text of a document is such a word: words begin with a letter or a digit, and
/// identifiers are in lower case.
pub(crate) fn exact_sku(sku: &str) -> String {
    format!("={sku}")
}

/// What a search asks for, as a `tsquery`: each of its words, or a longer one that begins with it. `None` without a word.
pub(crate) fn query(text: &str) -> Option<String> {
    let mut all = Vec::new();
    for piece in normal(text).split_whitespace() {
        let parts: Vec<_> = piece.unicode_words().map(prefix).collect();
        if parts.is_empty() {
            continue;
        }
        let parts = parts.join(" & ");
        let whole = prefix(piece);
        all.push(if whole == parts { whole } else { format!("({whole} | ({parts}))") });
    }
    if all.is_empty() { None } else { Some(all.join(" & ")) }
}

/// Exactly this word, as a `tsquery`.
pub(crate) fn exactly(word: &str) -> String {
    format!("'{}'", word.replace('\\', "\\\\").replace('\'', "''"))
}

fn prefix(word: &str) -> String {
    let word: String = word.chars().take(MAX_WORD).collect();
    format!("{}:*", exactly(&word))
}

fn normal(text: &str) -> String {
    let text: String = text.nfkd().filter(|one| !matches!(one, '\u{300}'..='\u{36f}')).nfc().collect();
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_found_by_names_and_their_parts() {
        let mut words = Words::default();
        words.add_identifiers(["AC-1001", "Asha.Rao@Example.in"].into_iter());
        words.add_text(["Ikat stole, José’s", "पश्मीना शॉल"].into_iter());
        words.add_skus(["STL-01"].into_iter());
        let words: Vec<_> = words.0.iter().map(String::as_str).collect();
        assert_eq!(
            words,
            [
                "01",
                "1001",
                "=STL-01",
                "ac",
                "ac-1001",
                "asha.rao",
                "asha.rao@example.in",
                "example.in",
                "ikat",
                "jose’s",
                "stl",
                "stl-01",
                "stole",
                "पश्मीना",
                "शॉल",
            ]
        );
    }

    #[test]
    fn a_search_has_all_of_its_words() {
        for (text, expected) in [
            ("stole", Some("'stole':*")),
            ("  Ikat  STOLE ", Some("'ikat':* & 'stole':*")),
            ("AC-1001", Some("('ac-1001':* | ('ac':* & '1001':*))")),
            ("O'Neil", Some("'o''neil':*")),
            ("José", Some("'jose':*")),
            ("", None),
            (" - ", None),
            ("\\' | !x", Some("('!x':* | ('x':*))")),
        ] {
            assert_eq!(query(text).as_deref(), expected, "{text}");
        }
        assert_eq!(exactly("a'b\\c"), "'a''b\\\\c'");
    }

    #[test]
    fn words_have_limits() {
        let mut words = Words::default();
        words.add_identifiers(["x".repeat(1_000).as_str()].into_iter());
        assert_eq!(words.joined().len(), MAX_WORD);
        words.add_text((0..1_000).map(|n| format!("w{n}")).collect::<Vec<_>>().iter().map(String::as_str));
        assert_eq!(words.0.len(), MAX_WORDS);
    }

    #[test]
    fn every_sku_of_a_large_order_is_found() {
        let skus: Vec<_> = (0..500).map(|n| format!("SKU-{n}-A{n}")).collect();
        let mut words = Words::default();
        words.add_skus(skus.iter().map(String::as_str));
        assert!(skus.iter().all(|sku| words.0.contains(&exact_sku(sku))));
    }
}
