//! The cursor of a list: where a page begins. Opaque to clients.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// First byte of every cursor; a new layout gets a new number.
const VERSION: u8 = 3;
const LENGTH: usize = 1 + 1 + 8 + 8 + 16;

/// Which way a page goes from its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Back,
}

/// A row of a list, next to which a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(super) direction: Direction,
    /// Of the filters and the order of the list: a cursor has a meaning with these only.
    pub(super) list: [u8; 8],
    pub(super) at: DateTime<Utc>,
    pub(super) id: Uuid,
    /// Whether the page has the row itself: on the way back from an empty page.
    pub(super) inclusive: bool,
}

impl Cursor {
    /// The way back, from the page at this cursor.
    pub(crate) fn turned(self, direction: Direction) -> Self {
        Self { direction, inclusive: direction != self.direction, ..self }
    }

    pub(crate) fn encode(self) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend([VERSION, u8::from(self.direction == Direction::Back) | u8::from(self.inclusive) << 1]);
        bytes.extend(self.list);
        bytes.extend(self.at.timestamp_micros().to_be_bytes());
        bytes.extend(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` for text that this service has not made. Times before 1900 or after 9999 are refused here because Postgres would
    /// refuse some of them later.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let bytes: [u8; LENGTH] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let ([version, direction], rest) = bytes.split_first_chunk::<2>()?;
        let (list, rest) = rest.split_first_chunk::<8>()?;
        let (micros, id) = rest.split_first_chunk::<8>()?;
        let at = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
        let (direction, inclusive) = match direction {
            0 => (Direction::Forward, false),
            1 => (Direction::Back, false),
            2 => (Direction::Forward, true),
            3 => (Direction::Back, true),
            _ => return None,
        };
        let plausible = *version == VERSION && super::dates::is_plausible(at);
        plausible.then_some(Self { direction, list: *list, at, id: Uuid::from_slice(id).ok()?, inclusive })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(micros: i64) -> Cursor {
        Cursor {
            direction: if micros % 2 == 0 { Direction::Forward } else { Direction::Back },
            list: *b"newest!!",
            at: DateTime::from_timestamp_micros(micros).expect("in range"),
            id: Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057),
            inclusive: micros % 3 == 0,
        }
    }

    #[test]
    fn a_cursor_survives_a_round_trip() {
        for micros in [-1, 0, 1, 1_767_225_600_123_456, 253_402_300_799_999_999] {
            let text = cursor(micros).encode();
            assert_eq!(Cursor::decode(&text), Some(cursor(micros)));
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        let good = cursor(1).encode();
        let of = |version: u8, direction: u8, micros: i64| {
            let start = [version, direction].into_iter().chain([0; 8]);
            let bytes: Vec<u8> = start.chain(micros.to_be_bytes()).chain([0; 16]).collect();
            URL_SAFE_NO_PAD.encode(bytes)
        };
        assert!(Cursor::decode(&of(VERSION, 1, 1)).is_some());
        for text in [
            String::new(),
            "garbage".to_owned(),
            good[1..].to_owned(),
            format!("{good}AA"),
            format!("{good}="),
            good.replace('A', "+"),
            of(VERSION + 1, 0, 1),
            of(VERSION, 4, 1),
            of(VERSION, 0, i64::MIN),
            of(VERSION, 0, i64::MAX),
            of(VERSION, 0, 253_402_300_800_000_000),
        ] {
            assert_eq!(Cursor::decode(&text), None, "{text:?}");
        }
    }
}
