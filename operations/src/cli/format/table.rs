//! Tables without lines, easy to paste into a message.

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement};
use unicode_width::UnicodeWidthStr;

use super::line::Line;
use super::paint::{Look, Tone, clean, enforce};

/// A column of texts is not made narrower than this; then it goes below its row.
const NARROWEST_TEXT: usize = 24;
/// Blanks between columns, and before the first one.
const GAP: usize = 2;
const INDENT: usize = 1;
/// What goes below a row is indented by this.
const BELOW: usize = 4;

/// A value of a table.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Cell {
    text: String,
    tone: Option<Tone>,
}

/// A table: how wide it is shown depends on the terminal.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

pub(in crate::cli) fn table<const N: usize, C: Into<Cell>>(
    header: [&'static str; N],
    rows: impl IntoIterator<Item = [C; N]>,
) -> Table {
    let rows = rows.into_iter().map(|row| row.into_iter().map(Into::into).collect());
    Table { header: header.to_vec(), rows: rows.collect() }
}

impl Cell {
    /// A state, in its colour.
    pub(in crate::cli) fn state(text: impl Into<String>) -> Self {
        let cell = Self::from(text.into());
        Self { tone: Tone::of(&cell.text), ..cell }
    }

    /// What its row is about.
    pub(in crate::cli) fn strong(text: String) -> Self {
        Self { tone: Some(Tone::Strong), ..Self::from(text) }
    }

    /// A number, in this colour unless it is zero.
    pub(in crate::cli) fn count(number: i64, tone: Tone) -> Self {
        Self { tone: (number > 0).then_some(tone), ..Self::from(number.to_string()) }
    }

    /// A text in this colour, if there is one; else a dash.
    pub(in crate::cli) fn maybe(text: Option<String>, tone: Tone) -> Self {
        match text {
            Some(text) => Self { tone: Some(tone), ..Self::from(text) },
            None => Self::from("-".to_owned()),
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        let text = clean(&text).replace('\n', " ");
        let tone = (text == "-").then_some(Tone::Quiet);
        Self { text, tone }
    }
}

impl Table {
    /// Columns that it needs in full.
    pub(super) fn width(&self) -> usize {
        total(&self.widths())
    }

    /// In full where it fits. Else the widest texts go on below themselves, if that is enough; else the last columns go below their rows. No
    /// word is cut, so no id is.
    pub(super) fn lay_out(&self, look: Look) -> String {
        let widths = self.widths();
        let Some(room) = look.width.filter(|room| *room < total(&widths)) else {
            return self.grid(self.header.len(), look).trim_fmt();
        };
        let text = self.widest_text(&widths);
        let rest = text.map(|column| total(&widths) - widths[column]);
        match text.zip(rest) {
            Some((column, rest)) if room >= rest + NARROWEST_TEXT => self.narrow(column, room, look),
            _ => self.folded(room, &widths, look),
        }
    }

    fn widths(&self) -> Vec<usize> {
        let widest = |column: usize| self.rows.iter().map(|row| row[column].text.width()).max().unwrap_or(0);
        self.header.iter().enumerate().map(|(column, name)| name.width().max(widest(column))).collect()
    }

    /// The widest column whose widest value has several words.
    fn widest_text(&self, widths: &[usize]) -> Option<usize> {
        let has_words = |column: &usize| {
            let widest = self.rows.iter().map(|row| &row[*column].text).max_by_key(|text| text.width());
            widths[*column] > NARROWEST_TEXT && widest.is_some_and(|text| text.contains(' '))
        };
        (0..widths.len()).filter(has_words).max_by_key(|column| widths[*column])
    }

    /// The first columns.
    fn grid(&self, columns: usize, look: Look) -> comfy_table::Table {
        let header = self.header[..columns].iter().map(|name| painted(name, Some(Tone::Quiet)));
        let rows =
            self.rows.iter().map(|row| row[..columns].iter().map(|cell| painted(&cell.text, cell.tone)).collect());
        let mut grid = comfy_table::Table::new();
        grid.load_style(NOTHING).set_header(header.collect::<Vec<_>>()).add_rows(rows.collect::<Vec<Vec<_>>>());
        grid.force_no_tty().style_text_only();
        if look.colours {
            enforce();
            grid.enforce_styling();
        }
        grid
    }

    /// One column goes on below itself.
    fn narrow(&self, text: usize, room: usize, look: Look) -> String {
        let mut grid = self.grid(self.header.len(), look);
        // The blank behind the last column is trimmed.
        grid.set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(room + 1).unwrap_or(u16::MAX));
        for (_, column) in grid.column_iter_mut().enumerate().filter(|(column, _)| *column != text) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        grid.trim_fmt()
    }

    /// The columns for which there is no room follow below each row, with their names.
    fn folded(&self, room: usize, widths: &[usize], look: Look) -> String {
        let fitting = (1..widths.len()).rev().find(|columns| total(&widths[..*columns]) <= room).unwrap_or(1);
        let mut lines =
            self.grid(fitting, look).lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().into_iter();
        let mut text: Vec<String> = lines.next().into_iter().collect();
        for (line, row) in lines.zip(&self.rows) {
            text.push(line);
            let rest = self.header.iter().zip(row).skip(fitting).filter(|(_, cell)| !matches!(&*cell.text, "" | "-"));
            let below = rest.fold(None, |line: Option<Line>, (name, cell)| {
                let line = line.unwrap_or_else(|| Line::after(&" ".repeat(BELOW), None).in_pieces(BELOW));
                Some(line.named(name, &cell.text, cell.tone))
            });
            text.extend(below.map(|line| line.lay_out(look)));
        }
        text.join("\n")
    }
}

fn total(widths: &[usize]) -> usize {
    INDENT + widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn painted(text: &str, tone: Option<Tone>) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new(text);
    let Some(tone) = tone.filter(|_| !text.is_empty()) else { return cell };
    let cell = tone.colour().into_iter().fold(cell, comfy_table::Cell::fg);
    tone.attribute().into_iter().fold(cell, comfy_table::Cell::add_attribute)
}
