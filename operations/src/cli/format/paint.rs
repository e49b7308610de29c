//! Colours for states, and texts of others made harmless.

use std::borrow::Cow;

use contracts::is_control;
use crossterm::style::{Attribute, Color, ContentStyle, force_color_output};

/// What the reader's side can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Look {
    /// Columns of the terminal. None: a pipe or a file, where lines may be of any length.
    pub(in crate::cli) width: Option<usize>,
    pub(in crate::cli) colours: bool,
}

impl Look {
    #[cfg(test)]
    pub(in crate::cli) const PLAIN: Self = Self { width: None, colours: false };
}

/// What a word means for the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Tone {
    /// A person is needed.
    Bad,
    /// It waits for something.
    Doubtful,
    /// It has ended well.
    Good,
    /// It is under way.
    Busy,
    /// It names what stands beside it, or is given up.
    Quiet,
    /// What the page is about.
    Strong,
}

impl Tone {
    /// Of a state: of an event, a job, a queue, a refund, an e-mail, a delivery or a run. The first word tells it.
    pub(in crate::cli) fn of(state: &str) -> Option<Self> {
        let word = state.split([' ', ':', ',', ';']).next().unwrap_or_default().to_ascii_lowercase();
        Some(match &*word {
            "dead" | "parked" | "failed" | "refused" | "problem" | "unroutable" | "too_large" | "attempts_spent"
            | "undecodable" | "lease_expired" => Self::Bad,
            "in_doubt" | "paused" | "outage" | "blocked" | "back_off" | "waiting" | "held" | "overdue" | "pending"
            | "warning" | "revoked" | "expired" | "rotated" => Self::Doubtful,
            "done" | "published" | "out" | "processed" | "delivered" | "sent" | "logged" | "ok" | "valid" => Self::Good,
            "ready" | "running" | "sending" => Self::Busy,
            "discarded" | "skipped" | "off" | "-" => Self::Quiet,
            _ => return None,
        })
    }

    pub(super) const fn colour(self) -> Option<Color> {
        match self {
            Self::Bad => Some(Color::DarkRed),
            Self::Doubtful => Some(Color::DarkYellow),
            Self::Good => Some(Color::DarkGreen),
            Self::Busy => Some(Color::DarkCyan),
            Self::Quiet | Self::Strong => None,
        }
    }

    pub(super) const fn attribute(self) -> Option<Attribute> {
        match self {
            Self::Quiet => Some(Attribute::Dim),
            Self::Strong | Self::Bad => Some(Attribute::Bold),
            Self::Doubtful | Self::Good | Self::Busy => None,
        }
    }
}

/// The text, in the colour of its tone if the reader's side shows colours.
pub(in crate::cli) fn paint(text: &str, tone: Option<Tone>, look: Look) -> String {
    let Some(tone) = tone.filter(|_| look.colours && !text.is_empty()) else { return text.to_owned() };
    enforce();
    let mut style = ContentStyle { foreground_color: tone.colour(), ..ContentStyle::new() };
    if let Some(attribute) = tone.attribute() {
        style.attributes.set(attribute);
    }
    style.apply(text).to_string()
}

/// crossterm looks at `NO_COLOR` too, and we have decided already.
pub(super) fn enforce() {
    force_color_output(true);
}

/// A text of others, without what controls a terminal: an escape is shown as `\u{1b}`, and so are the marks that turn the direction of a
/// line. Line ends stay.
pub(in crate::cli) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let shown = |letter| match letter {
        '\t' => " ".to_owned(),
        letter if is_harmful(letter) => letter.escape_unicode().to_string(),
        letter => letter.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

fn is_harmful(letter: char) -> bool {
    letter != '\n' && is_control(letter)
}
