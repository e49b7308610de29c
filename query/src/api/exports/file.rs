//! The rows of an export as a file. CSV is written as the rows come; a workbook only when all have come.

use rust_xlsxwriter::{Format, Workbook, XlsxError};
use serde::Serialize;

use super::ExportFormat;
use super::error::ExportError;
use crate::api::reports::csv;

/// Rows of a workbook. Its sheet is kept in memory and in a temporary file until it is whole.
const MAX_ROWS: u32 = 100_000;
const COLUMN_WIDTH: f64 = 16.0;
const COLUMNS: u16 = 24;

/// A file that is being written.
#[derive(Debug)]
pub(super) enum Sheet {
    Csv { has_header: bool },
    Xlsx(Box<Book>),
}

/// A workbook with one sheet.
pub(super) struct Book {
    workbook: Workbook,
    rows: u32,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Sheet {
    pub(super) fn new(format: ExportFormat, title: &str) -> Result<Self, ExportError> {
        match format {
            ExportFormat::Csv => Ok(Self::Csv { has_header: false }),
            ExportFormat::Xlsx => Ok(Self::Xlsx(Box::new(Book::new(title)?))),
        }
    }

    /// Writes rows, the first time below a header. Returns what is ready to be stored.
    pub(super) fn write<Row: Serialize + Default>(&mut self, rows: &[Row]) -> Result<Vec<u8>, ExportError> {
        match self {
            Self::Csv { has_header } => {
                let text = if *has_header { csv::more(rows) } else { csv::to_csv(rows) };
                *has_header = true;
                text.map_err(ExportError::file)
            }
            Self::Xlsx(book) => {
                book.write(rows)?;
                Ok(Vec::new())
            }
        }
    }

    /// What is left to be stored after the last row.
    pub(super) fn finish(self) -> Result<Vec<u8>, ExportError> {
        match self {
            Self::Csv { .. } => Ok(Vec::new()),
            Self::Xlsx(mut book) => Ok(book.workbook.save_to_buffer()?),
        }
    }
}

impl Book {
    fn new(title: &str) -> Result<Self, XlsxError> {
        let mut workbook = Workbook::new();
        let sheet = workbook.add_worksheet_with_constant_memory()?;
        sheet.set_name(title)?.set_freeze_panes(1, 0)?;
        sheet.set_column_range_width(0, COLUMNS, COLUMN_WIDTH)?;
        Ok(Self { workbook, rows: 0 })
    }

    fn write<Row: Serialize + Default>(&mut self, rows: &[Row]) -> Result<(), ExportError> {
        let sheet = self.workbook.worksheet_from_index(0)?;
        if self.rows == 0 {
            sheet.serialize_headers_with_format(0, 0, &Row::default(), &Format::new().set_bold())?;
        }
        for row in rows {
            self.rows += 1;
            if self.rows > MAX_ROWS {
                let message = format!("a workbook has at most {MAX_ROWS} rows; ask for csv, or for a shorter period");
                return Err(ExportError::TooLarge(message));
            }
            sheet.serialize(row)?;
        }
        Ok(())
    }
}
