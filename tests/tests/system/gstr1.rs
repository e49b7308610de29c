//! GSTR-1 of a month with a thousand documents of every kind, against sums that are kept apart.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use chrono::{DateTime, Duration, Utc};
use contracts::{
    CreditNoteDocument, CustomerId, EntityType, EventType, Hsn, InvoiceDocument, OrderNumber, Series, StateChanged,
    Supply, TaxDocument, TaxSummaryDocument, TaxSummaryLine, TaxTermsDocument,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use runtime::Ids;
use serde_json::Value;
use standalone::Part;
use tests::waiting::{SOON, eventually_equal};
use tests::{Api, System, books};

use crate::projector::events::{by_worker, record};

const GSTIN: &str = "29AAHCM7727Q1ZI";
const DOCUMENTS: usize = 1_000;
/// Of the month, in India.
const FIRST_MOMENT: &str = "2026-10-31T18:30:00Z";

/// What the tables of documents have to add up to, in paise.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    taxable: i64,
    igst: i64,
    cgst: i64,
    sgst: i64,
    /// At a rate of 0, with what is not tax.
    nil: i64,
}

impl Sums {
    fn add(&mut self, sign: i64, lines: &[TaxSummaryLine], is_zero_rated: bool) {
        for line in lines {
            if line.gst_rate.unwrap_or_default() > 0.0 || is_zero_rated {
                self.taxable += sign * line.tax.taxable_minor;
                self.igst += sign * line.tax.igst_minor;
                self.cgst += sign * line.tax.cgst_minor;
                self.sgst += sign * line.tax.sgst_minor;
            } else {
                self.nil += sign * line.total_minor;
            }
        }
    }
}

/// A buyer, who decides the table.
#[derive(Debug, Clone, Copy)]
struct Buyer {
    place: &'static str,
    gstin: Option<&'static str>,
    sez: bool,
    lut: bool,
    /// The most that a line costs, in rupees.
    dear: i64,
}

const BUYERS: [Buyer; 10] = [
    Buyer { place: "29 Karnataka", gstin: None, sez: false, lut: false, dear: 40_000 },
    Buyer { place: "29 Karnataka", gstin: Some("29AABCT1332L1ZT"), sez: false, lut: false, dear: 40_000 },
    Buyer { place: "27 Maharashtra", gstin: Some("27AAACR4849R1ZL"), sez: false, lut: false, dear: 40_000 },
    Buyer { place: "27 Maharashtra", gstin: None, sez: false, lut: false, dear: 20_000 },
    Buyer { place: "30 Goa", gstin: None, sez: false, lut: false, dear: 20_000 },
    Buyer { place: "30 Goa", gstin: None, sez: false, lut: false, dear: 500_000 },
    Buyer { place: "96 Outside India", gstin: None, sez: false, lut: true, dear: 90_000 },
    Buyer { place: "96 Outside India", gstin: None, sez: false, lut: false, dear: 90_000 },
    Buyer { place: "27 Maharashtra", gstin: Some("27AAACR4849R1ZL"), sez: true, lut: true, dear: 90_000 },
    Buyer { place: "29 Karnataka", gstin: Some("29AABCT1332L1ZT"), sez: true, lut: false, dear: 90_000 },
];

fn terms(buyer: Buyer) -> TaxTermsDocument {
    let within = buyer.place.starts_with("29") && !buyer.sez;
    TaxTermsDocument {
        supplier_gstin: GSTIN.to_owned(),
        supplier_state: "29 Karnataka".to_owned(),
        supply: if within { Supply::IntraState } else { Supply::InterState },
        place_of_supply: buyer.place.to_owned(),
        prices_include_tax: true,
        sez: buyer.sez,
        lut_reference: buyer.lut.then(|| "AD290326000001X".to_owned()),
    }
}

/// One to three lines, of other codes or rates.
fn lines(chance: &mut StdRng, buyer: Buyer) -> Vec<TaxSummaryLine> {
    let kinds = [("6913", 12.0), ("8306", 18.0), ("6802", 5.0), ("4901", 0.0), ("9701", 12.0), ("8306", 5.0)];
    let count = chance.random_range(1..=3);
    let chosen: Vec<_> = kinds.sample(chance, count).copied().collect();
    let mut lines: Vec<_> =
        chosen.into_iter().map(|(hsn, rate)| line(chance, buyer, hsn, if buyer.lut { 0.0 } else { rate })).collect();
    // As the workers sum them up: one line for each code and rate.
    lines.sort_by(|one, other| one.hsn.cmp(&other.hsn));
    if buyer.lut {
        lines.dedup_by(|one, other| one.hsn == other.hsn);
    }
    lines
}

fn line(chance: &mut StdRng, buyer: Buyer, hsn: &str, rate: f64) -> TaxSummaryLine {
    let taxable = chance.random_range(1..=buyer.dear * 100);
    #[expect(clippy::cast_possible_truncation, reason = "a rate in tenths of a per cent")]
    let tenths = (rate * 10.0) as i64;
    let of = |part: i64| (taxable * tenths * 2 / part + 1_000) / 2_000;
    let within = buyer.place.starts_with("29") && !buyer.sez;
    let tax = if within {
        TaxDocument { taxable_minor: taxable, cgst_minor: of(2), sgst_minor: of(2), ..TaxDocument::default() }
    } else {
        TaxDocument { taxable_minor: taxable, igst_minor: of(1), ..TaxDocument::default() }
    };
    let total_minor = taxable + tax.cgst_minor + tax.sgst_minor + tax.igst_minor;
    let quantity = chance.random_range(1..=9);
    TaxSummaryLine { hsn: Hsn::parse(hsn).ok(), gst_rate: Some(rate), quantity, total_minor, tax }
}

fn summary(buyer: Buyer, lines: Vec<TaxSummaryLine>) -> TaxSummaryDocument {
    let name = Some("Meera Nair".to_owned());
    TaxSummaryDocument {
        terms: terms(buyer),
        recipient_name: name,
        recipient_gstin: buyer.gstin.map(str::to_owned),
        supplier: None,
        lines,
    }
}

fn invoice(number: &str, at: DateTime<Utc>, tax: TaxSummaryDocument) -> Result<InvoiceDocument> {
    let (id, order_id) = (Ids::system().next(), Ids::system().next());
    Ok(InvoiceDocument {
        id,
        order_id,
        order_number: OrderNumber::parse(&number.replace('/', "-"))?,
        invoice_number: number.to_owned(),
        customer_id: CustomerId::parse("cust-1")?,
        customer_email: None,
        currency: "INR".to_owned(),
        total_minor: tax.lines.iter().map(|line| line.total_minor).sum(),
        path: format!("invoice_{id}.pdf"),
        size_bytes: 1,
        sha256: "00".repeat(32),
        edition: 1,
        earlier_editions: Vec::new(),
        mailed_when_registered: false,
        e_invoice: None,
        issued_at: at,
        generated_at: at,
        carrier: None,
        tracking_number: None,
        erased: false,
        tax: Some(tax),
    })
}

/// A credit note over some lines of the invoice.
fn credit_note(
    number: &str,
    at: DateTime<Utc>,
    invoice: &InvoiceDocument,
    tax: TaxSummaryDocument,
) -> CreditNoteDocument {
    let id = Ids::system().next();
    CreditNoteDocument {
        id,
        return_id: Some(Ids::system().next()),
        refund_id: None,
        order_id: invoice.order_id,
        order_number: invoice.order_number.clone(),
        credit_note_number: number.to_owned(),
        invoice_number: invoice.invoice_number.clone(),
        invoiced_at: Some(invoice.issued_at),
        customer_id: invoice.customer_id.clone(),
        customer_email: None,
        currency: "INR".to_owned(),
        total_minor: tax.lines.iter().map(|line| line.total_minor).sum(),
        path: format!("credit_note_{id}.pdf"),
        size_bytes: 1,
        sha256: "00".repeat(32),
        issued_at: at,
        generated_at: at,
        erased: false,
        tax: Some(tax),
    }
}

/// The sum of a member over all rows of a table, in paise.
fn total(table: &Value, member: &str) -> i64 {
    match table {
        Value::Array(rows) => rows.iter().map(|row| total(row, member)).sum(),
        Value::Object(members) => {
            #[expect(clippy::cast_possible_truncation, reason = "rupees with two decimals")]
            let own = members.get(member).and_then(Value::as_f64).map_or(0, |rupees| (rupees * 100.0).round() as i64);
            own + members.values().filter(|value| !value.is_number()).map(|value| total(value, member)).sum::<i64>()
        }
        _ => 0,
    }
}

/// Every text under a member, in all tables.
fn numbers(value: &Value, member: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(rows) => rows.iter().for_each(|row| numbers(row, member, found)),
        Value::Object(members) => {
            found.extend(members.get(member).and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| numbers(value, member, found));
        }
        _ => {}
    }
}

fn reported(file: &Value) -> Sums {
    let sold =
        |member: &str| ["b2b", "b2cl", "b2cs", "exp"].iter().map(|table| total(&file[table], member)).sum::<i64>();
    let back = |member: &str| ["cdnr", "cdnur"].iter().map(|table| total(&file[table], member)).sum::<i64>();
    let net = |member: &str| sold(member) - back(member);
    Sums {
        taxable: net("txval"),
        igst: net("iamt"),
        cgst: net("camt"),
        sgst: net("samt"),
        nil: total(&file["nil"], "nil_amt"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_documents_are_each_in_one_table_and_the_tables_add_up() -> Result<()> {
    let seed: u64 = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_127);
    println!("SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let system = System::start(|options| options.parts = vec![Part::Query]).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let first_moment: DateTime<Utc> = FIRST_MOMENT.parse()?;
    let (invoices, notes) = (Series::new("AC", "26-27")?, Series::new("CN", "26-27")?);
    let (mut n, mut m) = (0, 0);
    let mut sums = Sums::default();
    let mut issued: Vec<(Buyer, InvoiceDocument)> = Vec::new();
    // Listed one by one, and how many documents of each series there are.
    let (mut listed, mut cancelled) = (BTreeSet::new(), 0);
    for place in 0..DOCUMENTS {
        let at = first_moment + Duration::seconds(i64::try_from(place)? * 2_500);
        let is_note = chance.random_bool(0.2) && !issued.is_empty();
        if is_note {
            m += 1;
            let (buyer, original) = issued.choose(&mut chance).context("an invoice")?.clone();
            let tax = original.tax.clone().context("taxed")?;
            let count = chance.random_range(1..=tax.lines.len());
            let back: Vec<_> = tax.lines.sample(&mut chance, count).cloned().collect();
            let is_zero_rated = tax.terms.is_zero_rated();
            sums.add(-1, &back, is_zero_rated);
            let number = notes.number(m)?;
            let has_tax = back.iter().any(|line| line.gst_rate.unwrap_or_default() > 0.0);
            let large = original.total_minor > 10_000_000
                && original.tax.as_ref().is_some_and(|tax| tax.terms.supply == Supply::InterState);
            if (buyer.gstin.is_some() || buyer.place.starts_with("96") || large) && (has_tax || is_zero_rated) {
                listed.insert(number.clone());
            }
            let snapshot = credit_note(&number, at, &original, summary(buyer, back));
            let transition = by_worker(EntityType::CreditNote, snapshot.id, 1, None, "GENERATED", at);
            record(pool, EventType::CreditNoteGenerated, &StateChanged { snapshot, transition }).await?;
            continue;
        }
        n += 1;
        if chance.random_bool(0.01) {
            // A number whose document was given up.
            cancelled += 1;
            n += 1;
        }
        let buyer = *BUYERS.choose(&mut chance).context("a buyer")?;
        let lines = lines(&mut chance, buyer);
        let tax = summary(buyer, lines.clone());
        let is_zero_rated = tax.terms.is_zero_rated();
        sums.add(1, &lines, is_zero_rated);
        let snapshot = invoice(&invoices.number(n)?, at, tax)?;
        let has_tax = lines.iter().any(|line| line.gst_rate.unwrap_or_default() > 0.0);
        let large = snapshot.total_minor > 10_000_000 && terms(buyer).supply == Supply::InterState;
        if (buyer.gstin.is_some() || buyer.place.starts_with("96") || large) && (has_tax || is_zero_rated) {
            listed.insert(snapshot.invoice_number.clone());
        }
        issued.push((buyer, snapshot.clone()));
        let transition = by_worker(EntityType::Invoice, snapshot.id, 1, None, "GENERATED", at);
        record(pool, EventType::InvoiceGenerated, &StateChanged { snapshot, transition }).await?;
    }
    let projected = async || books::count(pool, "select count(*) from read.issued_documents").await;
    eventually_equal("the documents are projected", SOON, i64::try_from(DOCUMENTS)?, projected).await?;

    let file = api.get("/reports/gst/gstr1.json?month=2026-11").await?.expect(200).json();
    assert_eq!(reported(&file), sums, "the tables add up to the documents");
    let mut found = Vec::new();
    numbers(&file, "inum", &mut found);
    numbers(&file, "nt_num", &mut found);
    let once: BTreeSet<_> = found.iter().cloned().collect();
    assert_eq!(once.len(), found.len(), "each document is in one table");
    assert_eq!(once, listed);
    let by_code = total(&file["hsn"], "txval");
    assert_eq!(by_code, sums.taxable + sums.nil, "table 12 has the same goods");

    let mut counted = BTreeMap::new();
    for series in file["doc_issue"]["doc_det"].as_array().context("table 13")? {
        let docs = &series["docs"][0];
        let of = |member: &str| docs[member].as_i64().context("a number");
        counted.insert(series["doc_num"].to_string(), (of("totnum")?, of("cancel")?, of("net_issue")?));
    }
    let (n, m) = (i64::from(n), i64::from(m));
    let expected = BTreeMap::from([("1".to_owned(), (n, cancelled, n - cancelled)), ("5".to_owned(), (m, 0, m))]);
    assert_eq!(counted, expected, "each number is counted once, cancelled ones apart");
    sheets(api, &listed).await?;
    system.abandon().await
}

/// The sheets of the offline tool have the same documents.
async fn sheets(api: &Api, listed: &BTreeSet<String>) -> Result<()> {
    let mut found = BTreeSet::new();
    for (sheet, column) in [("b2b", 2), ("b2cl", 0), ("exp", 1), ("cdnr", 2), ("cdnur", 1)] {
        let text = api.get(&format!("/reports/gst/gstr1/{sheet}.csv?month=2026-11")).await?.expect(200).text();
        // No value of these documents has a comma.
        for row in text.lines().skip(1) {
            found.insert(row.split(',').nth(column).context("a column")?.to_owned());
        }
    }
    assert_eq!(&found, listed);
    let docs = api.get("/reports/gst/gstr1/docs.csv?month=2026-11").await?.expect(200).text();
    assert_eq!(docs.lines().count(), 3, "a header, invoices and credit notes: {docs}");
    api.get("/reports/gst/gstr1/b3b.csv?month=2026-11").await?.refused(404, "NO_SUCH_SHEET");
    Ok(())
}
