//! Countries, as people write them.

use std::str::FromStr;

use celes::Country;

/// Common names that the table of ISO 3166 does not have, without blanks and accents.
const ALIASES: [(&str, &str); 18] = [
    ("भारत", "IN"),
    ("भारतगणराज्य", "IN"),
    ("bharat", "IN"),
    ("hindustan", "IN"),
    ("republicofindia", "IN"),
    ("uk", "GB"),
    ("uae", "AE"),
    ("hongkongsarchina", "HK"),
    ("macaosarchina", "MO"),
    ("macau", "MO"),
    ("northmacedonia", "MK"),
    ("myanmar", "MM"),
    ("burma", "MM"),
    ("korea", "KR"),
    ("republicofkorea", "KR"),
    ("czechrepublic", "CZ"),
    ("palestinianterritories", "PS"),
    ("drcongo", "CD"),
];
const ACCENTS: [(char, char); 6] = [('é', 'e'), ('ç', 'c'), ('ã', 'a'), ('å', 'a'), ('ô', 'o'), ('í', 'i')];

/// The code of ISO 3166-1 (`US`) of a country that is given by its code or its English name, with or without blanks, points,
/// accents and capitals. `None`: there is no such country.
pub fn country_code(text: &str) -> Option<&'static str> {
    let letters = text.to_lowercase();
    let letters = letters.chars().filter(|c| !matches!(c, ' ' | '.' | ',' | '\'' | '’' | '-' | '(' | ')'));
    let plain = |letter| ACCENTS.iter().find(|(accented, _)| *accented == letter).map_or(letter, |(_, plain)| *plain);
    let name: String = letters.map(plain).collect();
    let known = |name: &str| Country::from_str(name).ok().map(|country| country.alpha2);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, code)| *code);
    alias.or_else(|| known(&name)).or_else(|| known(name.strip_prefix("the")?)).or_else(|| known(&format!("the{name}")))
}

/// What an address calls its country, with its name in place of a code: `US` is `The United States Of America`.
pub fn country_name(text: &str) -> &str {
    let is_code = text.trim().len() <= 3;
    let known = country_code(text).filter(|_| is_code).and_then(|code| Country::from_alpha2(code).ok());
    known.map_or(text, |country| country.long_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_english_names_are_countries() {
        for (text, code) in [
            ("India", "IN"),
            ("IND", "IN"),
            ("356", "IN"),
            ("Republic of India", "IN"),
            ("भारत", "IN"),
            ("us", "US"),
            ("U.S.A.", "US"),
            ("United States", "US"),
            ("The United States of America", "US"),
            ("United Kingdom", "GB"),
            ("UK", "GB"),
            ("Germany", "DE"),
            ("United Arab Emirates", "AE"),
            ("UAE", "AE"),
            ("Sri Lanka", "LK"),
            ("Netherlands", "NL"),
            ("South Korea", "KR"),
            ("Singapore", "SG"),
            ("Hong Kong", "HK"),
            ("Russia", "RU"),
            ("Türkiye", "TR"),
            ("Turkey", "TR"),
            ("Côte d’Ivoire", "CI"),
            ("Curaçao", "CW"),
            ("Czechia", "CZ"),
            ("Iran", "IR"),
            ("Taiwan", "TW"),
        ] {
            assert_eq!(country_code(text), Some(code), "{text}");
        }
        for (alias, code) in ALIASES {
            assert_eq!(Country::from_str(code).map(|country| country.alpha2), Ok(code), "{alias}");
        }
        for text in ["Indai", "Bharatt", "Karnataka", "", "Mars"] {
            assert_eq!(country_code(text), None, "{text}");
        }
    }
}
