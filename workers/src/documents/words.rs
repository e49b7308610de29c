//! Amounts in words, as invoices in India print them: lakh and crore.

const BELOW_TWENTY: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const CRORE: u64 = 10_000_000;

/// Paise as `one lakh, eighteen thousand rupees and five paise`.
pub(super) fn rupees_in_words(paise: i64) -> String {
    let (rupees, rest) = (paise.unsigned_abs() / 100, paise.unsigned_abs() % 100);
    let sign = if paise < 0 { "minus " } else { "" };
    let rupees = format!("{} {}", words(rupees), if rupees == 1 { "rupee" } else { "rupees" });
    match rest {
        0 => format!("{sign}{rupees}"),
        1 => format!("{sign}{rupees} and one paisa"),
        rest => format!("{sign}{rupees} and {} paise", words(rest)),
    }
}

fn words(number: u64) -> String {
    let mut parts = Vec::new();
    // Beyond a crore the names repeat: a lakh crore.
    if number >= CRORE {
        parts.push(format!("{} crore", words(number / CRORE)));
    }
    for (unit, name) in [(100_000, "lakh"), (1_000, "thousand")] {
        let count = number % CRORE / unit % 100;
        if count > 0 {
            parts.push(format!("{} {name}", below_hundred(count)));
        }
    }
    let rest = number % 1_000;
    if rest > 0 || parts.is_empty() {
        parts.push(below_thousand(rest));
    }
    parts.join(", ")
}

fn below_thousand(number: u64) -> String {
    let (hundreds, rest) = (number / 100, number % 100);
    match (hundreds, rest) {
        (0, rest) => below_hundred(rest),
        (hundreds, 0) => format!("{} hundred", below_hundred(hundreds)),
        (hundreds, rest) => format!("{} hundred and {}", below_hundred(hundreds), below_hundred(rest)),
    }
}

fn below_hundred(number: u64) -> String {
    let place = |number: u64| usize::try_from(number).expect("below a hundred");
    match (number / 10, number % 10) {
        (0 | 1, _) => BELOW_TWENTY[place(number)].to_owned(),
        (tens, 0) => TENS[place(tens)].to_owned(),
        (tens, ones) => format!("{}-{}", TENS[place(tens)], BELOW_TWENTY[place(ones)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Independent figures; the file names the source of each.
    #[test]
    fn amounts_read_as_in_the_vectors() {
        let all: serde_json::Value =
            serde_json::from_str(include_str!("../../../crates/domain/tests/vectors/money.json")).expect("JSON");
        let vectors = all["words_en_IN"].as_object().expect("amounts with their words");
        assert!(!vectors.is_empty());
        for (minor, words) in vectors {
            assert_eq!(rupees_in_words(minor.parse().expect("minor units")), words.as_str().expect("a text"));
        }
    }

    #[test]
    fn amounts_of_every_size_have_words() {
        for (paise, text) in [
            (0, "zero rupees"),
            (1, "zero rupees and one paisa"),
            (100, "one rupee"),
            (2_105, "twenty-one rupees and five paise"),
            (10_000, "one hundred rupees"),
            (9_999_999, "ninety-nine thousand, nine hundred and ninety-nine rupees and ninety-nine paise"),
            (1_000_000_000, "one crore rupees"),
            (10_000_000_100, "ten crore, one rupees"),
            (-5_000, "minus fifty rupees"),
            (
                9_007_199_254_740_991,
                "ninety lakh, seven thousand, one hundred and ninety-nine crore, twenty-five lakh, forty-seven thousand, \
                 four hundred and nine rupees and ninety-one paise",
            ),
        ] {
            assert_eq!(rupees_in_words(paise), text);
        }
    }
}
