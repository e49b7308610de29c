//! What a command says to people, and how it is laid out: in full for a pipe, and so that it fits for a terminal.

mod paint;
mod line;
mod table;

pub(super) use line::Line;
pub(super) use paint::{Look, Tone, clean, paint};
pub(super) use table::{Cell, Table, table};

/// Paragraphs of lines and tables. Nothing in it controls a terminal: colours are added when it is laid out.
#[derive(Debug, Default)]
pub(super) struct Page {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    /// A blank line is above it.
    paragraph: bool,
    content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Lines(Vec<Line>),
    Table(Table),
    /// The lines say the same as the table, where that is too wide.
    Either(Table, Vec<Line>),
}

impl Page {
    /// With one more paragraph.
    pub(super) fn with(self, content: impl Into<Content>) -> Self {
        self.add(true, content.into())
    }

    /// With more in the last paragraph.
    pub(super) fn then(self, content: impl Into<Content>) -> Self {
        self.add(false, content.into())
    }

    fn add(mut self, paragraph: bool, content: Content) -> Self {
        self.parts.push(Part { paragraph, content });
        self
    }

    pub(super) fn lay_out(&self, look: Look) -> String {
        let mut text = String::new();
        for Part { paragraph, content } in &self.parts {
            let laid_out = content.lay_out(look);
            if !text.is_empty() {
                text.push_str(if *paragraph { "\n\n" } else { "\n" });
            }
            text.push_str(&laid_out);
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl Content {
    fn lay_out(&self, look: Look) -> String {
        match self {
            Self::Table(table) => table.lay_out(look),
            Self::Either(table, _) if look.width.is_none_or(|width| table.width() <= width) => table.lay_out(look),
            Self::Lines(lines) | Self::Either(_, lines) => {
                let lines: Vec<_> = lines.iter().map(|line| line.lay_out(look)).collect();
                lines.join("\n")
            }
        }
    }
}

impl<C: Into<Content>> Extend<C> for Page {
    /// Each in a paragraph of its own.
    fn extend<I: IntoIterator<Item = C>>(&mut self, contents: I) {
        self.parts.extend(contents.into_iter().map(|content| Part { paragraph: true, content: content.into() }));
    }
}

impl From<Table> for Content {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl From<Line> for Content {
    fn from(line: Line) -> Self {
        Self::Lines(vec![line])
    }
}

impl From<Vec<Line>> for Content {
    fn from(lines: Vec<Line>) -> Self {
        Self::Lines(lines)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Lines(text.lines().map(Line::plain).collect())
    }
}

impl From<Table> for Page {
    fn from(table: Table) -> Self {
        Self::default().with(table)
    }
}

impl From<String> for Page {
    fn from(text: String) -> Self {
        Self::default().with(text)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use tests::check;
