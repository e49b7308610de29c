//! A line of text, which goes on below itself where the terminal ends.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::paint::{Look, Tone, clean, paint};

/// A text in one colour.
#[derive(Debug, Clone)]
struct Span {
    text: String,
    tone: Option<Tone>,
}

/// What stands together on a line if it can.
type Piece = Vec<Span>;

/// A line: what it begins with, and pieces that follow below one another where the terminal ends.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Line {
    lead: Span,
    pieces: Vec<Piece>,
    /// Blanks between pieces.
    gap: usize,
    /// Where it goes on below.
    hang: usize,
}

impl Line {
    /// A text as it is. Its words go on below where it begins.
    pub(in crate::cli) fn plain(text: &str) -> Self {
        let (lead, text) = text.split_at(text.len() - text.trim_start_matches(' ').len());
        Self::after(lead, None).text(text, None)
    }

    /// A line that begins with this.
    pub(in crate::cli) fn after(lead: &str, tone: Option<Tone>) -> Self {
        let lead = Span::new(lead, tone);
        Self { hang: lead.width(), lead, pieces: Vec::new(), gap: 1 }
    }

    /// Pieces have two blanks between them, and go on below at this column.
    pub(in crate::cli) fn in_pieces(self, hang: usize) -> Self {
        Self { gap: 2, hang, ..self }
    }

    /// Adds a text. It is one piece, broken where it is longer than a line.
    pub(in crate::cli) fn text(mut self, text: &str, tone: Option<Tone>) -> Self {
        self.pieces.push(vec![Span::new(text, tone)]);
        self
    }

    /// Adds a value with its name before it.
    pub(in crate::cli) fn named(mut self, name: &str, value: &str, tone: Option<Tone>) -> Self {
        self.pieces.push(vec![Span::new(name, Some(Tone::Quiet)), Span::new(value, tone)]);
        self
    }

    pub(super) fn lay_out(&self, look: Look) -> String {
        let room = look.width.map_or(usize::MAX, |width| width.saturating_sub(self.hang).max(1));
        let mut left = look.width.map_or(usize::MAX, |width| width.saturating_sub(self.lead.width()));
        let mut lines = vec![vec![self.lead.clone()]];
        let mut starts = true;
        for piece in &self.pieces {
            let units = if width(piece) <= room { vec![piece.clone()] } else { words(piece, room) };
            for (word, unit) in units.into_iter().enumerate() {
                let gap = if word > 0 { 1 } else { self.gap };
                let gap = if starts { 0 } else { gap };
                if !starts && gap + width(&unit) > left {
                    lines.push(vec![Span { text: " ".repeat(self.hang), tone: None }]);
                    left = room.saturating_sub(width(&unit));
                } else {
                    left = left.saturating_sub(gap + width(&unit));
                    add(&mut lines, gap, None);
                }
                for (index, span) in unit.into_iter().enumerate() {
                    add(&mut lines, usize::from(index > 0), Some(span));
                }
                starts = false;
            }
        }
        let lines = lines.iter().map(|line| {
            let line: String = line.iter().map(|span| paint(&span.text, span.tone, look)).collect();
            line.trim_end_matches(' ').to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Adds blanks and a text to the last line. Words of one colour are painted together.
fn add(lines: &mut [Piece], blanks: usize, span: Option<Span>) {
    let Some(line) = lines.last_mut() else { return };
    match (line.last_mut(), span) {
        (Some(last), Some(span)) if last.tone == span.tone => last.text += &(" ".repeat(blanks) + &span.text),
        (Some(last), span) => {
            last.text += &" ".repeat(blanks);
            line.extend(span);
        }
        (None, span) => line.extend(span),
    }
}

impl Span {
    fn new(text: &str, tone: Option<Tone>) -> Self {
        Self { text: clean(text).into_owned(), tone }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

fn width(piece: &Piece) -> usize {
    piece.iter().map(Span::width).sum::<usize>() + piece.len().saturating_sub(1)
}

/// The words of a piece, and of a word that is longer than a line its parts.
fn words(piece: &Piece, room: usize) -> Vec<Piece> {
    let word = |text: String, tone| vec![Span { text, tone }];
    let split = piece.iter().flat_map(|span| span.text.split(' ').map(move |text| (text, span.tone)));
    split
        .flat_map(|(text, tone)| {
            let mut parts = vec![String::new()];
            let mut taken = 0;
            for letter in text.chars() {
                let wide = letter.width().unwrap_or(0);
                if taken + wide > room && taken > 0 {
                    parts.push(String::new());
                    taken = 0;
                }
                taken += wide;
                if let Some(part) = parts.last_mut() {
                    part.push(letter);
                }
            }
            parts.into_iter().map(move |text| word(text, tone))
        })
        .collect()
}
