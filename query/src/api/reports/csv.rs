//! Rows as CSV (RFC 4180), with a header.

use contracts::is_invisible;
use csv::{Reader, StringRecord, Writer};
use serde::Serialize;

/// A spreadsheet runs a cell that starts with one of these as a formula, and the titles of goods come from outside. Some read the
/// full-width signs as the plain ones.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// A header with these names, then the rows.
pub(super) fn table(names: &[&str], rows: &[Vec<String>]) -> Written {
    let mut safe = Writer::from_writer(Vec::new());
    safe.write_record(names)?;
    for row in rows {
        safe.write_record(row.iter().map(|cell| harmless(cell)))?;
    }
    Ok(safe.into_inner()?)
}

/// Spreadsheets take a text without it for one in an encoding of their own, in which Hindi is unreadable.
const BYTE_ORDER_MARK: &str = "\u{feff}";

type Written = Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>;

/// A header with the names of the fields, then the rows.
pub(crate) fn to_csv<Row: Serialize + Default>(rows: &[Row]) -> Written {
    write(rows, true)
}

/// More rows of the same table.
pub(crate) fn more<Row: Serialize + Default>(rows: &[Row]) -> Written {
    write(rows, false)
}

fn write<Row: Serialize + Default>(rows: &[Row], is_first: bool) -> Written {
    let mut plain = Writer::from_writer(Vec::new());
    // The names come from a row, and a report may have none.
    plain.serialize(Row::default())?;
    for row in rows {
        plain.serialize(row)?;
    }
    let plain = plain.into_inner()?;
    let mut text = Vec::with_capacity(plain.len() + BYTE_ORDER_MARK.len());
    if is_first {
        text.extend_from_slice(BYTE_ORDER_MARK.as_bytes());
    }
    let mut safe = Writer::from_writer(text);
    let mut cells = Reader::from_reader(plain.as_slice());
    let names = cells.headers()?;
    if is_first {
        safe.write_record(names)?;
    }
    for record in cells.records().skip(1) {
        safe.write_record(&record?.iter().map(harmless).collect::<StringRecord>())?;
    }
    Ok(safe.into_inner()?)
}

/// Puts an apostrophe before a formula, which makes it text. A negative number is not a formula. White space and what cannot be seen may
/// stand before one.
fn harmless(cell: &str) -> String {
    let starts = |c: char| c.is_whitespace() || c.is_control() || is_invisible(c);
    let is_formula = cell.trim_start_matches(starts).starts_with(FORMULA) && cell.parse::<f64>().is_err();
    if is_formula || cell.starts_with(char::is_control) { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Serialize)]
    struct Row {
        sku: &'static str,
        amount_minor: i64,
        rate: Option<f64>,
    }

    #[test]
    fn a_formula_becomes_text() {
        let rows = [
            Row { sku: "=HYPERLINK(\"http://evil\")", amount_minor: -5, rate: None },
            Row { sku: "नीला, \"bowl\"", amount_minor: 7, rate: Some(0.25) },
        ];
        let text = String::from_utf8(to_csv(&rows).expect("written")).expect("UTF-8");
        assert_eq!(
            text,
            "\u{feff}sku,amount_minor,rate\n\"'=HYPERLINK(\"\"http://evil\"\")\",-5,\n\"नीला, \"\"bowl\"\"\",7,0.25\n"
        );
        assert_eq!(to_csv::<Row>(&[]).expect("written"), "\u{feff}sku,amount_minor,rate\n".as_bytes());
        let more = more(&[Row { sku: "-", amount_minor: 1, rate: None }]).expect("written");
        assert_eq!(String::from_utf8(more).expect("UTF-8"), "'-,1,\n");
    }

    #[test]
    fn a_formula_is_found_behind_what_cannot_be_seen() {
        for (cell, expected) in [
            ("=1+1", "'=1+1"),
            ("\n=1+1", "'\n=1+1"),
            ("\r\n =1+1", "'\r\n =1+1"),
            ("\t", "'\t"),
            ("＝1+1", "'＝1+1"),
            ("＠SUM(A1)", "'＠SUM(A1)"),
            ("\u{200b}=1+1", "'\u{200b}=1+1"),
            ("\u{feff}+1", "'\u{feff}+1"),
            ("-5", "-5"),
            ("-5.25", "-5.25"),
            ("a = b", "a = b"),
            (" a", " a"),
            ("", ""),
        ] {
            assert_eq!(harmless(cell), expected, "{cell:?}");
        }
    }
}
