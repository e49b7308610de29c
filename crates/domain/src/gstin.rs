//! GST identification numbers, and the states that their first two digits name.

use thiserror::Error;

/// The characters of a GSTIN; the value of each is its index.
const ALPHABET: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A GST identification number: state, PAN, entity, `Z`, check digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gstin(String);

/// What is wrong with a GSTIN: the message says what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadGstin {
    #[error("must be 15 characters: a state's code, a PAN, an entity's digit or letter, Z and a check digit")]
    Form,
    #[error("has a check digit that does not fit the rest: one of its characters is wrong")]
    CheckDigit,
    #[error("begins with {0:02}, which is the code of no state")]
    State(u8),
}

impl Gstin {
    /// Reads a GSTIN in capital letters.
    pub fn parse(text: &str) -> Result<Self, BadGstin> {
        let bytes: &[u8; 15] = text.as_bytes().try_into().map_err(|_| BadGstin::Form)?;
        let digit = |place: usize| bytes[place].is_ascii_digit();
        let letter = |place: usize| bytes[place].is_ascii_uppercase();
        let formed = (0..2).chain(7..11).all(digit)
            && (2..7).chain([11, 13]).all(letter)
            && [12, 14].into_iter().all(|place| digit(place) || letter(place));
        if !formed {
            return Err(BadGstin::Form);
        }
        if check_digit(&bytes[..14]) != Some(bytes[14]) {
            return Err(BadGstin::CheckDigit);
        }
        let code = (bytes[0] - b'0') * 10 + (bytes[1] - b'0');
        IndianState::from_code(code).ok_or(BadGstin::State(code))?;
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The state in which its holder is registered.
    pub fn state(&self) -> IndianState {
        self.0[..2].parse().ok().and_then(IndianState::from_code).expect("checked when it was read")
    }
}

/// Who receives goods, by the number that was given: a registered person, or a body of the United Nations or an embassy, which has
/// a unique identity number (UIN) of its own form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientNumber {
    Registered(Gstin),
    Uin { number: String, state: IndianState },
}

impl RecipientNumber {
    /// Reads a GSTIN or UIN. Blanks are left out, and letters may be small.
    pub fn parse(text: &str) -> Result<Self, BadGstin> {
        let number: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_uppercase();
        if is_uin(number.as_bytes()) {
            let code = number[..2].parse().map_err(|_| BadGstin::Form)?;
            let state = IndianState::from_code(code).ok_or(BadGstin::State(code))?;
            return Ok(Self::Uin { number, state });
        }
        Gstin::parse(&number).map(Self::Registered)
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Registered(gstin) => gstin.as_str(),
            Self::Uin { number, .. } => number,
        }
    }

    pub fn state(&self) -> IndianState {
        match self {
            Self::Registered(gstin) => gstin.state(),
            Self::Uin { state, .. } => *state,
        }
    }
}

/// State and year, the letters of a country or body, a number, `UN` or `ON`, and a check character: `0717USA12345UNO`.
fn is_uin(number: &[u8]) -> bool {
    let all = |from: usize, to: usize, of: fn(&u8) -> bool| number[from..to].iter().all(of);
    number.len() == 15
        && all(0, 4, u8::is_ascii_digit)
        && all(4, 7, u8::is_ascii_uppercase)
        && all(7, 12, u8::is_ascii_digit)
        && matches!(number[12], b'U' | b'O')
        && number[13] == b'N'
        && number[14].is_ascii_alphanumeric()
}

/// Every second character counts double, the two base-36 digits of each product are added, and the check digit
/// completes the sum to a multiple of 36.
fn check_digit(characters: &[u8]) -> Option<u8> {
    let mut sum = 0;
    for (place, character) in characters.iter().enumerate() {
        let value = ALPHABET.iter().position(|known| known == character)?;
        let product = value * (1 + place % 2);
        sum += product / 36 + product % 36;
    }
    Some(ALPHABET[(36 - sum % 36) % 36])
}

/// A state or union territory of India, as GST counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndianState {
    /// 1 to 38, or 97.
    pub code: u8,
    pub name: &'static str,
}

/// The codes of the GST portal. 25 became part of 26 on 26 January 2020; 28 was Andhra Pradesh before Telangana left it.
const STATES: [IndianState; 37] = {
    const fn state(code: u8, name: &'static str) -> IndianState {
        IndianState { code, name }
    }
    [
        state(1, "Jammu and Kashmir"),
        state(2, "Himachal Pradesh"),
        state(3, "Punjab"),
        state(4, "Chandigarh"),
        state(5, "Uttarakhand"),
        state(6, "Haryana"),
        state(7, "Delhi"),
        state(8, "Rajasthan"),
        state(9, "Uttar Pradesh"),
        state(10, "Bihar"),
        state(11, "Sikkim"),
        state(12, "Arunachal Pradesh"),
        state(13, "Nagaland"),
        state(14, "Manipur"),
        state(15, "Mizoram"),
        state(16, "Tripura"),
        state(17, "Meghalaya"),
        state(18, "Assam"),
        state(19, "West Bengal"),
        state(20, "Jharkhand"),
        state(21, "Odisha"),
        state(22, "Chhattisgarh"),
        state(23, "Madhya Pradesh"),
        state(24, "Gujarat"),
        state(26, "Dadra and Nagar Haveli and Daman and Diu"),
        state(27, "Maharashtra"),
        state(29, "Karnataka"),
        state(30, "Goa"),
        state(31, "Lakshadweep"),
        state(32, "Kerala"),
        state(33, "Tamil Nadu"),
        state(34, "Puducherry"),
        state(35, "Andaman and Nicobar Islands"),
        state(36, "Telangana"),
        state(37, "Andhra Pradesh"),
        state(38, "Ladakh"),
        state(97, "Other Territory"),
    ]
};

/// Other spellings: older names, and the letters of ISO 3166-2 and of number plates.
const ALIASES: [(&str, u8); 64] = [
    ("jk", 1),
    ("j and k", 1),
    ("j k", 1),
    ("jammu kashmir", 1),
    ("hp", 2),
    ("pb", 3),
    ("ch", 4),
    ("uk", 5),
    ("ut", 5),
    ("ua", 5),
    ("uttaranchal", 5),
    ("hr", 6),
    ("dl", 7),
    ("new delhi", 7),
    ("nct of delhi", 7),
    ("national capital territory of delhi", 7),
    ("rj", 8),
    ("up", 9),
    ("br", 10),
    ("bh", 10),
    ("sk", 11),
    ("ar", 12),
    ("nl", 13),
    ("mn", 14),
    ("mz", 15),
    ("tr", 16),
    ("ml", 17),
    ("as", 18),
    ("wb", 19),
    ("jh", 20),
    ("od", 21),
    ("or", 21),
    ("orissa", 21),
    ("cg", 22),
    ("ct", 22),
    ("chattisgarh", 22),
    ("mp", 23),
    ("gj", 24),
    ("dh", 26),
    ("dd", 26),
    ("dn", 26),
    ("daman and diu", 26),
    ("dadra and nagar haveli", 26),
    ("mh", 27),
    ("ka", 29),
    ("kn", 29),
    ("ga", 30),
    ("ld", 31),
    ("lakshadweep islands", 31),
    ("kl", 32),
    ("tn", 33),
    ("tamilnadu", 33),
    ("py", 34),
    ("pondicherry", 34),
    ("an", 35),
    ("andaman and nicobar", 35),
    ("andaman", 35),
    ("ts", 36),
    ("tg", 36),
    ("telengana", 36),
    ("ap", 37),
    ("ad", 37),
    ("la", 38),
    ("other", 97),
];

/// Union territories without a legislature: they have no state tax, but a union territory tax (UTGST Act, section 7).
const WITHOUT_LEGISLATURE: [u8; 6] = [4, 26, 31, 35, 38, 97];

/// The states whose postal circles have postal codes (PIN) that begin so. Left out is what says no state for certain: codes that
/// two states share, and the enclaves of union territories.
const POSTAL_CIRCLES: [(&str, u8); 62] = [
    ("11", 7),
    ("12", 6),
    ("13", 6),
    ("141", 3),
    ("142", 3),
    ("143", 3),
    ("144", 3),
    ("145", 3),
    ("146", 3),
    ("147", 3),
    ("148", 3),
    ("151", 3),
    ("152", 3),
    ("171", 2),
    ("172", 2),
    ("173", 2),
    ("174", 2),
    ("175", 2),
    ("176", 2),
    ("180", 1),
    ("190", 1),
    ("194", 38),
    ("201", 9),
    ("208", 9),
    ("221", 9),
    ("226", 9),
    ("30", 8),
    ("31", 8),
    ("32", 8),
    ("33", 8),
    ("34", 8),
    ("37", 24),
    ("38", 24),
    ("390", 24),
    ("395", 24),
    ("400", 27),
    ("403", 30),
    ("411", 27),
    ("412", 27),
    ("413", 27),
    ("414", 27),
    ("415", 27),
    ("416", 27),
    ("42", 27),
    ("43", 27),
    ("44", 27),
    ("45", 23),
    ("46", 23),
    ("48", 23),
    ("49", 22),
    ("50", 36),
    ("56", 29),
    ("57", 29),
    ("58", 29),
    ("600", 33),
    ("641", 33),
    ("75", 21),
    ("76", 21),
    ("78", 18),
    ("700", 19),
    ("800", 10),
    ("834", 20),
];

impl IndianState {
    /// Whether its own tax is called UTGST, and not SGST.
    pub fn has_union_territory_tax(self) -> bool {
        WITHOUT_LEGISLATURE.contains(&self.code)
    }

    /// The state of a postal code (PIN), where the code says it for certain.
    pub fn from_postal_code(text: &str) -> Option<Self> {
        let code: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if code.len() != 6 || !code.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let circle = POSTAL_CIRCLES.iter().find(|(prefix, _)| code.starts_with(prefix))?;
        Self::from_code(circle.1)
    }

    pub fn from_code(code: u8) -> Option<Self> {
        STATES.into_iter().find(|state| state.code == code)
    }

    /// Finds a state by its name, an older name, its code or its letters.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.to_lowercase().replace('&', " and ");
        let text =
            text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let text = text.strip_prefix("in ").unwrap_or(&text);
        if let Ok(code) = text.parse() {
            return Self::from_code(code);
        }
        let alias = || ALIASES.iter().find(|(alias, _)| *alias == text).and_then(|(_, code)| Self::from_code(*code));
        STATES.into_iter().find(|state| state.name.to_lowercase() == text).or_else(alias)
    }
}
