//! GSTR-1 as the GST portal reads it: one JSON file per month, in rupees.
//!
//! Every issued document of a registered shop is in exactly one of the tables, and its number is counted in `doc_issue`.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde_json::{Map, Value, json};

use super::{GstDocument, GstHsn, GstNil, GstOthers, GstSeries};
use crate::api::rupees::rupees;

/// What the tables are made of.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) gstin: String,
    /// A day of the month.
    pub(super) month: NaiveDate,
    pub(super) invoices: Vec<GstDocument>,
    pub(super) credit_notes: Vec<GstDocument>,
    pub(super) others: Vec<GstOthers>,
    pub(super) nil: Vec<GstNil>,
    pub(super) hsn: Vec<GstHsn>,
    pub(super) documents: Vec<GstSeries>,
}

impl Tables {
    pub(super) fn file(&self) -> Value {
        let of = |kind: &'static str| self.invoices.iter().filter(move |row| row.kind == kind);
        let notes = |kind: &'static str| self.credit_notes.iter().filter(move |row| row.kind == kind);
        let mut file = json!({ "gstin": self.gstin, "fp": self.month.format("%m%Y").to_string() });
        let members = file.as_object_mut().into_iter();
        for file in members {
            // The portal refuses empty tables.
            let mut add = |name: &str, table: Vec<Value>| {
                if !table.is_empty() {
                    file.insert(name.to_owned(), Value::Array(table));
                }
            };
            add("b2b", by_recipient(of("B2B"), "inv", invoice));
            add("b2cl", by_place(of("B2CL")));
            add("b2cs", self.others.iter().filter(|row| row.taxable_minor != 0).map(|row| self.b2cs(row)).collect());
            add("exp", exports(of("EXP")));
            add("cdnr", by_recipient(notes("CDNR"), "nt", note));
            add("cdnur", documents(notes("CDNUR")).into_iter().map(|rows| unregistered_note(&rows)).collect());
            if !self.nil.is_empty() {
                let rows: Vec<_> = self.nil.iter().map(nil).collect();
                file.insert("nil".to_owned(), json!({ "inv": rows }));
            }
            file.insert("hsn".to_owned(), self.hsn());
            file.insert("doc_issue".to_owned(), json!({ "doc_det": self.issued() }));
        }
        file
    }

    /// One row of table 7. What came back in the month has made it smaller, or below zero.
    fn b2cs(&self, row: &GstOthers) -> Value {
        let within = self.gstin.starts_with(code(&row.place_of_supply));
        let mut members = taxed(row.gst_rate, row.taxable_minor, [row.igst_minor, row.cgst_minor, row.sgst_minor]);
        members.insert("sply_ty".to_owned(), json!(if within { "INTRA" } else { "INTER" }));
        members.insert("typ".to_owned(), json!("OE"));
        members.insert("pos".to_owned(), json!(code(&row.place_of_supply)));
        Value::Object(members)
    }

    /// Table 12: since May 2025 in two parts.
    fn hsn(&self) -> Value {
        let rows = |recipients: &str| -> Vec<Value> {
            let rows = self.hsn.iter().filter(|row| row.recipients == recipients);
            (1..).zip(rows).map(|(num, row)| hsn(num, row)).collect()
        };
        let mut tables = Map::new();
        for (name, recipients) in [("hsn_b2b", "B2B"), ("hsn_b2c", "B2C")] {
            let rows = rows(recipients);
            if !rows.is_empty() {
                tables.insert(name.to_owned(), Value::Array(rows));
            }
        }
        Value::Object(tables)
    }

    /// Table 13: 1 are invoices for outward supply, 5 are credit notes.
    fn issued(&self) -> Vec<Value> {
        let of = |kind: &str, number: u8| {
            let series = self.documents.iter().filter(|series| series.kind == kind);
            let docs: Vec<_> = (1..).zip(series).map(|(num, series)| docs(num, series)).collect();
            (!docs.is_empty()).then(|| json!({ "doc_num": number, "docs": docs }))
        };
        [of(super::INVOICE, 1), of(super::CREDIT_NOTE, 5)].into_iter().flatten().collect()
    }
}

fn day(date: NaiveDate) -> String {
    date.format("%d-%m-%Y").to_string()
}

/// The code of a place of supply, of which only the two digits go to the portal.
fn code(place: &str) -> &str {
    place.get(..2).unwrap_or(place)
}

/// The rows of each document together: there is one for each rate.
fn documents<'r>(rows: impl Iterator<Item = &'r GstDocument>) -> Vec<Vec<&'r GstDocument>> {
    let mut documents: BTreeMap<&str, Vec<&GstDocument>> = BTreeMap::new();
    for row in rows {
        documents.entry(&row.number).or_default().push(row);
    }
    documents.into_values().collect()
}

fn by_recipient<'r>(
    rows: impl Iterator<Item = &'r GstDocument>,
    member: &str,
    one: fn(&[&GstDocument]) -> Value,
) -> Vec<Value> {
    let mut recipients: BTreeMap<&str, Vec<&GstDocument>> = BTreeMap::new();
    for row in rows {
        recipients.entry(row.recipient_gstin.as_deref().unwrap_or_default()).or_default().push(row);
    }
    let table = |(gstin, rows): (&str, Vec<&GstDocument>)| {
        let rows: Vec<_> = documents(rows.into_iter()).iter().map(|document| one(document)).collect();
        json!({ "ctin": gstin, (member): rows })
    };
    recipients.into_iter().map(table).collect()
}

fn by_place<'r>(rows: impl Iterator<Item = &'r GstDocument>) -> Vec<Value> {
    let mut places: BTreeMap<&str, Vec<&GstDocument>> = BTreeMap::new();
    for row in rows {
        places.entry(code(&row.place_of_supply)).or_default().push(row);
    }
    let table = |(place, rows): (&str, Vec<&GstDocument>)| {
        let rows: Vec<_> = documents(rows.into_iter()).iter().map(|document| large_invoice(document)).collect();
        json!({ "pos": place, "inv": rows })
    };
    places.into_iter().map(table).collect()
}

fn exports<'r>(rows: impl Iterator<Item = &'r GstDocument>) -> Vec<Value> {
    let mut types: BTreeMap<&str, Vec<&GstDocument>> = BTreeMap::new();
    for row in rows {
        types.entry(&row.supply_type).or_default().push(row);
    }
    let table = |(kind, rows): (&str, Vec<&GstDocument>)| {
        let rows: Vec<_> = documents(rows.into_iter()).iter().map(|document| export(document)).collect();
        json!({ "exp_typ": kind, "inv": rows })
    };
    types.into_iter().map(table).collect()
}

/// The taxes of a row: within a state the two halves, otherwise the whole.
fn taxes(row: &GstDocument) -> Map<String, Value> {
    taxed(row.gst_rate, row.taxable_minor, [row.igst_minor, row.cgst_minor, row.sgst_minor])
}

fn taxed(rate: Option<f64>, taxable_minor: i64, [igst, cgst, sgst]: [i64; 3]) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("txval".to_owned(), rupees(taxable_minor));
    members.insert("rt".to_owned(), json!(rate.unwrap_or(0.0)));
    if cgst != 0 || sgst != 0 {
        members.insert("camt".to_owned(), rupees(cgst));
        members.insert("samt".to_owned(), rupees(sgst));
    } else {
        members.insert("iamt".to_owned(), rupees(igst));
    }
    members.insert("csamt".to_owned(), json!(0));
    members
}

fn items(rows: &[&GstDocument]) -> Vec<Value> {
    (1..).zip(rows).map(|(num, row)| json!({ "num": num, "itm_det": taxes(row) })).collect()
}

fn invoice(rows: &[&GstDocument]) -> Value {
    let first = rows[0];
    json!({
        "inum": first.number, "idt": day(first.issued_on), "val": rupees(first.total_minor), "pos": code(&first.place_of_supply),
        "rchrg": "N", "inv_typ": first.supply_type, "itms": items(rows),
    })
}

fn large_invoice(rows: &[&GstDocument]) -> Value {
    let first = rows[0];
    json!({ "inum": first.number, "idt": day(first.issued_on), "val": rupees(first.total_minor), "itms": items(rows) })
}

fn export(rows: &[&GstDocument]) -> Value {
    let first = rows[0];
    let items: Vec<_> = rows.iter().map(|row| Value::Object(taxes(row))).collect();
    json!({ "inum": first.number, "idt": day(first.issued_on), "val": rupees(first.total_minor), "itms": items })
}

fn note(rows: &[&GstDocument]) -> Value {
    let first = rows[0];
    json!({
        "ntty": "C", "nt_num": first.number, "nt_dt": day(first.issued_on), "val": rupees(first.total_minor),
        "pos": code(&first.place_of_supply), "rchrg": "N", "inv_typ": first.supply_type, "itms": items(rows),
    })
}

fn unregistered_note(rows: &[&GstDocument]) -> Value {
    let first = rows[0];
    json!({
        "typ": first.unregistered_type, "ntty": "C", "nt_num": first.number, "nt_dt": day(first.issued_on),
        "val": rupees(first.total_minor), "pos": code(&first.place_of_supply), "itms": items(rows),
    })
}

fn nil(row: &GstNil) -> Value {
    json!({ "sply_ty": row.supply_type, "nil_amt": rupees(row.nil_minor), "expt_amt": 0, "ngsup_amt": 0 })
}

fn hsn(num: u32, row: &GstHsn) -> Value {
    let mut members = taxed(row.gst_rate, row.taxable_minor, [row.igst_minor, row.cgst_minor, row.sgst_minor]);
    for (name, amount) in [("iamt", row.igst_minor), ("camt", row.cgst_minor), ("samt", row.sgst_minor)] {
        members.insert(name.to_owned(), rupees(amount));
    }
    for (name, value) in
        [("num", json!(num)), ("hsn_sc", json!(row.hsn)), ("uqc", json!(row.uqc)), ("qty", json!(row.quantity))]
    {
        members.insert(name.to_owned(), value);
    }
    Value::Object(members)
}

fn docs(num: u32, series: &GstSeries) -> Value {
    json!({
        "num": num, "from": series.from_number, "to": series.to_number, "totnum": series.issued + series.cancelled,
        "cancel": series.cancelled, "net_issue": series.issued,
    })
}
