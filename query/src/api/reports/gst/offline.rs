//! GSTR-1 as the returns offline tool of the GST portal imports it: a CSV file for each of its sheets, in rupees, with the tool's own
//! column names.

use chrono::NaiveDate;

use super::portal::Tables;
use super::{GstDocument, GstHsn};

/// A sheet of the tool, and the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sheet {
    B2b,
    B2cl,
    B2cs,
    Cdnr,
    Cdnur,
    Exp,
    Exemp,
    HsnB2b,
    HsnB2c,
    Docs,
}

impl Sheet {
    pub(super) const ALL: [(&'static str, Self); 10] = [
        ("b2b", Self::B2b),
        ("b2cl", Self::B2cl),
        ("b2cs", Self::B2cs),
        ("cdnr", Self::Cdnr),
        ("cdnur", Self::Cdnur),
        ("exp", Self::Exp),
        ("exemp", Self::Exemp),
        ("hsn_b2b", Self::HsnB2b),
        ("hsn_b2c", Self::HsnB2c),
        ("docs", Self::Docs),
    ];

    /// Its columns and rows.
    pub(super) fn of(self, tables: &Tables) -> (&'static [&'static str], Vec<Vec<String>>) {
        match self {
            Self::B2b => (B2B, rows(&tables.invoices, "B2B", b2b)),
            Self::B2cl => (B2CL, rows(&tables.invoices, "B2CL", b2cl)),
            Self::B2cs => (B2CS, b2cs(tables)),
            Self::Cdnr => (CDNR, rows(&tables.credit_notes, "CDNR", cdnr)),
            Self::Cdnur => (CDNUR, rows(&tables.credit_notes, "CDNUR", cdnur)),
            Self::Exp => (EXP, rows(&tables.invoices, "EXP", exp)),
            Self::Exemp => (EXEMP, exemp(tables)),
            Self::HsnB2b => (HSN, hsn(&tables.hsn, "B2B")),
            Self::HsnB2c => (HSN, hsn(&tables.hsn, "B2C")),
            Self::Docs => (DOCS, docs(tables)),
        }
    }
}

const B2B: &[&str] = &[
    "GSTIN/UIN of Recipient",
    "Receiver Name",
    "Invoice Number",
    "Invoice date",
    "Invoice Value",
    "Place Of Supply",
    "Reverse Charge",
    "Applicable % of Tax Rate",
    "Invoice Type",
    "E-Commerce GSTIN",
    "Rate",
    "Taxable Value",
    "Cess Amount",
];
const B2CL: &[&str] = &[
    "Invoice Number",
    "Invoice date",
    "Invoice Value",
    "Place Of Supply",
    "Applicable % of Tax Rate",
    "Rate",
    "Taxable Value",
    "Cess Amount",
    "E-Commerce GSTIN",
];
const B2CS: &[&str] = &[
    "Type",
    "Place Of Supply",
    "Applicable % of Tax Rate",
    "Rate",
    "Taxable Value",
    "Cess Amount",
    "E-Commerce GSTIN",
];
const CDNR: &[&str] = &[
    "GSTIN/UIN of Recipient",
    "Receiver Name",
    "Note Number",
    "Note Date",
    "Note Type",
    "Place Of Supply",
    "Reverse Charge",
    "Note Supply Type",
    "Note Value",
    "Applicable % of Tax Rate",
    "Rate",
    "Taxable Value",
    "Cess Amount",
];
const CDNUR: &[&str] = &[
    "UR Type",
    "Note Number",
    "Note Date",
    "Note Type",
    "Place Of Supply",
    "Note Value",
    "Applicable % of Tax Rate",
    "Rate",
    "Taxable Value",
    "Cess Amount",
];
const EXP: &[&str] = &[
    "Export Type",
    "Invoice Number",
    "Invoice date",
    "Invoice Value",
    "Port Code",
    "Shipping Bill Number",
    "Shipping Bill Date",
    "Rate",
    "Taxable Value",
    "Cess Amount",
];
const EXEMP: &[&str] =
    &["Description", "Nil Rated Supplies", "Exempted(other than nil rated/non GST supply)", "Non-GST Supplies"];
const HSN: &[&str] = &[
    "HSN",
    "Description",
    "UQC",
    "Total Quantity",
    "Total Value",
    "Rate",
    "Taxable Value",
    "Integrated Tax Amount",
    "Central Tax Amount",
    "State/UT Tax Amount",
    "Cess Amount",
];
const DOCS: &[&str] = &["Nature of Document", "Sr. No. From", "Sr. No. To", "Total Number", "Cancelled"];

fn rows(of: &[GstDocument], kind: &str, row: fn(&GstDocument) -> Vec<String>) -> Vec<Vec<String>> {
    of.iter().filter(|document| document.kind == kind).map(row).collect()
}

fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn b2b(row: &GstDocument) -> Vec<String> {
    let (gstin, name) = (row.recipient_gstin.as_deref(), row.recipient_name.as_deref());
    cells([
        gstin.unwrap_or_default(),
        name.unwrap_or_default(),
        &row.number,
        &day(row.issued_on),
        &rupees(row.total_minor),
        &place(&row.place_of_supply),
        &row.reverse_charge,
        "",
        supply_type(row),
        "",
        &rate(row.gst_rate),
        &rupees(row.taxable_minor),
        NOTHING,
    ])
}

fn b2cl(row: &GstDocument) -> Vec<String> {
    cells([
        &row.number,
        &day(row.issued_on),
        &rupees(row.total_minor),
        &place(&row.place_of_supply),
        "",
        &rate(row.gst_rate),
        &rupees(row.taxable_minor),
        NOTHING,
        "",
    ])
}

fn b2cs(tables: &Tables) -> Vec<Vec<String>> {
    let taxed = tables.others.iter().filter(|row| row.taxable_minor != 0);
    taxed
        .map(|row| {
            let (place, rate) = (place(&row.place_of_supply), rate(row.gst_rate));
            cells(["OE", &place, "", &rate, &rupees(row.taxable_minor), NOTHING, ""])
        })
        .collect()
}

fn cdnr(row: &GstDocument) -> Vec<String> {
    let (gstin, name) = (row.recipient_gstin.as_deref(), row.recipient_name.as_deref());
    cells([
        gstin.unwrap_or_default(),
        name.unwrap_or_default(),
        &row.number,
        &day(row.issued_on),
        "C",
        &place(&row.place_of_supply),
        &row.reverse_charge,
        supply_type(row),
        &rupees(row.total_minor),
        "",
        &rate(row.gst_rate),
        &rupees(row.taxable_minor),
        NOTHING,
    ])
}

fn supply_type(row: &GstDocument) -> &'static str {
    match row.supply_type.as_str() {
        "SEWP" => "SEZ supplies with payment",
        "SEWOP" => "SEZ supplies without payment",
        _ => "Regular B2B",
    }
}

fn cdnur(row: &GstDocument) -> Vec<String> {
    let kind = row.unregistered_type.as_deref().unwrap_or_default();
    // Exports have no place of supply in the tool.
    let place = if kind == "B2CL" { place(&row.place_of_supply) } else { String::new() };
    cells([
        kind,
        &row.number,
        &day(row.issued_on),
        "C",
        &place,
        &rupees(row.total_minor),
        "",
        &rate(row.gst_rate),
        &rupees(row.taxable_minor),
        NOTHING,
    ])
}

fn exp(row: &GstDocument) -> Vec<String> {
    cells([
        &row.supply_type,
        &row.number,
        &day(row.issued_on),
        &rupees(row.total_minor),
        "",
        "",
        "",
        &rate(row.gst_rate),
        &rupees(row.taxable_minor),
        NOTHING,
    ])
}

fn exemp(tables: &Tables) -> Vec<Vec<String>> {
    let rows = tables.nil.iter().map(|row| {
        let place = if row.supply_type.starts_with("INTRA") { "Intra-State" } else { "Inter-State" };
        let whom = if row.supply_type.ends_with("B2B") { "registered" } else { "unregistered" };
        let description = format!("{place} supplies to {whom} persons");
        cells([&description, &rupees(row.nil_minor), NOTHING, NOTHING])
    });
    rows.collect()
}

fn hsn(of: &[GstHsn], recipients: &str) -> Vec<Vec<String>> {
    let rows = of.iter().filter(|row| row.recipients == recipients).map(|row| {
        cells([
            row.hsn.as_deref().unwrap_or_default(),
            "",
            "NOS-NUMBERS",
            &row.quantity.to_string(),
            &rupees(row.total_minor),
            &rate(row.gst_rate),
            &rupees(row.taxable_minor),
            &rupees(row.igst_minor),
            &rupees(row.cgst_minor),
            &rupees(row.sgst_minor),
            NOTHING,
        ])
    });
    rows.collect()
}

fn docs(tables: &Tables) -> Vec<Vec<String>> {
    let rows = tables.documents.iter().map(|series| {
        let nature = if series.kind == super::INVOICE { "Invoices for outward supply" } else { "Credit Note" };
        let total = (series.issued + series.cancelled).to_string();
        cells([nature, &series.from_number, &series.to_number, &total, &series.cancelled.to_string()])
    });
    rows.collect()
}

const NOTHING: &str = "0.00";

fn rupees(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let minor = minor.unsigned_abs();
    format!("{sign}{}.{:02}", minor / 100, minor % 100)
}

fn rate(per_cent: Option<f64>) -> String {
    per_cent.unwrap_or(0.0).to_string()
}

/// `05-Nov-2026`.
fn day(date: NaiveDate) -> String {
    date.format("%d-%b-%Y").to_string()
}

/// `29 Karnataka` is `29-Karnataka` there.
fn place(place: &str) -> String {
    place.replacen(' ', "-", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_days_are_as_the_tool_reads_them() {
        for (minor, text) in [(0, "0.00"), (5, "0.05"), (123_456, "1234.56"), (-7, "-0.07"), (-12_300, "-123.00")] {
            assert_eq!(rupees(minor), text);
        }
        assert_eq!(day("2026-11-05".parse().expect("a day")), "05-Nov-2026");
        assert_eq!(place("97 Other Territory"), "97-Other Territory");
        assert_eq!((rate(Some(0.25)), rate(Some(5.0)), rate(None)), ("0.25".into(), "5".into(), "0".into()));
    }

    #[test]
    fn every_row_has_the_columns_of_its_sheet() {
        let document = |kind: &str, supply_type: &str| GstDocument {
            kind: kind.to_owned(),
            number: "AC/26-27/0000001".to_owned(),
            issued_on: "2026-11-05".parse().expect("a day"),
            recipient_gstin: Some("27AAPFU0939F1ZV".to_owned()),
            recipient_name: Some("Asha, \"the buyer\"".to_owned()),
            unregistered_type: Some("B2CL".to_owned()),
            supply_type: supply_type.to_owned(),
            corrects: None,
            corrected_issued_on: None,
            place_of_supply: "27 Maharashtra".to_owned(),
            reverse_charge: "N".to_owned(),
            total_minor: 11_800,
            gst_rate: Some(18.0),
            taxable_minor: 10_000,
            igst_minor: 1_800,
            cgst_minor: 0,
            sgst_minor: 0,
        };
        let hsn = |recipients: &str| GstHsn {
            recipients: recipients.to_owned(),
            hsn: Some("6913".to_owned()),
            uqc: "NOS".to_owned(),
            quantity: 2,
            total_minor: 11_800,
            gst_rate: Some(18.0),
            taxable_minor: 10_000,
            igst_minor: 1_800,
            cgst_minor: 0,
            sgst_minor: 0,
            round_off_minor: 0,
        };
        let tables = Tables {
            gstin: "29AAHCM7727Q1ZI".to_owned(),
            month: "2026-11-01".parse().expect("a day"),
            invoices: vec![document("B2B", "SEWP"), document("B2CL", "R"), document("EXP", "WOPAY")],
            credit_notes: vec![document("CDNR", "R"), document("CDNUR", "R")],
            others: vec![super::super::GstOthers {
                place_of_supply: "29 Karnataka".to_owned(),
                gst_rate: Some(5.0),
                taxable_minor: -100,
                igst_minor: 0,
                cgst_minor: -3,
                sgst_minor: -3,
            }],
            nil: vec![super::super::GstNil { supply_type: "INTRAB2C".to_owned(), nil_minor: 100 }],
            hsn: vec![hsn("B2B"), hsn("B2C")],
            documents: vec![super::super::GstSeries {
                kind: "invoice".to_owned(),
                from_number: "AC/26-27/0000001".to_owned(),
                to_number: "AC/26-27/0000003".to_owned(),
                issued: 3,
                cancelled: 0,
            }],
        };
        for (name, sheet) in Sheet::ALL {
            let (columns, rows) = sheet.of(&tables);
            assert_eq!(rows.len(), 1, "{name}");
            assert_eq!(rows[0].len(), columns.len(), "{name}");
            let value = columns.iter().position(|column| *column == "Taxable Value").map(|at| rows[0][at].as_str());
            assert!(value.is_none_or(|value| ["100.00", "-1.00"].contains(&value)), "{name}: {value:?}");
        }
    }
}
