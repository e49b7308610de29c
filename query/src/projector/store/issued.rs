//! Invoices and credit notes: shown inside their order and return, and told to the tax return.

use chrono::NaiveDate;
use contracts::TaxSummaryDocument;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Models, column, over};
use crate::kolkata::day_of;
use crate::projector::batch::{IssuedColumns, Newest};

type Issued<'a> = Newest<'a, IssuedColumns<'a>>;

/// Upserts into a table that shows them inside something else, by its id, and returns the keys of those that were new.
macro_rules! shown_inside {
    ($conn:expr, $models:expr, $issued:expr, table: $table:literal, key: $key:literal) => {{
        let rows = || $issued.values();
        let keys: Vec<Uuid> = $issued.keys().copied().collect();
        let versions: Vec<i32> = rows().map(|row| row.version).collect();
        let paths: Vec<&str> = rows().map(|row| &*row.columns.path).collect();
        let hashes: Vec<&str> = rows().map(|row| &*row.columns.sha256).collect();
        let documents: Vec<&str> = rows().map(|row| row.document).collect();
        over!(
            $models,
            query_scalar.fetch_all($conn),
            "insert into ",
            "." + $table
                + " as known ("
                + $key
                + r#", version, path, sha256, document)
            select key, version, path, sha256, document::json
            from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[])
                as incoming (key, version, path, sha256, document)
            on conflict ("#
                + $key
                + r#") do update
            set version = excluded.version, path = excluded.path, sha256 = excluded.sha256, document = excluded.document
            where known.version < excluded.version
            returning "#
                + $key,
            &keys,
            &versions,
            &paths as &[&str],
            &hashes as &[&str],
            &documents as &[&str],
        )?
    }};
}

pub(super) async fn write_invoices(conn: &mut PgConnection, models: Models, issued: &Issued<'_>) -> sqlx::Result<()> {
    let written: Vec<Uuid> = shown_inside!(&mut *conn, models, issued, table: "invoices", key: "order_id");
    insert(conn, models, "invoice", issued, &written).await
}

pub(super) async fn write_credit_notes(
    conn: &mut PgConnection,
    models: Models,
    issued: &Issued<'_>,
) -> sqlx::Result<()> {
    let written: Vec<Uuid> = shown_inside!(&mut *conn, models, issued, table: "credit_notes", key: "return_id");
    insert(conn, models, "credit_note", issued, &written).await
}

async fn insert(
    conn: &mut PgConnection,
    models: Models,
    kind: &str,
    issued: &Issued<'_>,
    written: &[Uuid],
) -> sqlx::Result<()> {
    let documents: Vec<_> = written.iter().filter_map(|key| Some(&issued.get(key)?.columns)).collect();
    if documents.is_empty() {
        return Ok(());
    }
    insert_documents(conn, models, kind, &documents).await?;
    insert_lines(conn, models, kind, &documents).await
}

async fn insert_documents(
    conn: &mut PgConnection,
    models: Models,
    kind: &str,
    documents: &[&IssuedColumns<'_>],
) -> sqlx::Result<()> {
    let number = |document: &&IssuedColumns<'_>| {
        document.credit_note_number.as_deref().unwrap_or(&document.invoice_number).to_owned()
    };
    let corrects = |document: &&IssuedColumns<'_>| {
        document.credit_note_number.is_some().then(|| document.invoice_number.to_string())
    };
    let of_tax = |of: fn(&TaxSummaryDocument) -> Option<String>| -> Vec<Option<String>> {
        documents.iter().map(|document| document.tax.as_ref().and_then(of)).collect()
    };
    over!(
        models,
        query.execute(conn),
        "insert into ",
        r#".issued_documents
            (kind, id, number, issued_on, order_id, order_number, currency, total_minor, supplier_gstin, supply,
             place_of_supply, recipient_name, recipient_gstin, corrects, corrected_issued_on)
        select $1, incoming.*
        from unnest($2::uuid[], $3::text[], $4::date[], $5::uuid[], $6::text[], $7::text[], $8::int8[], $9::text[], $10::text[],
                    $11::text[], $12::text[], $13::text[], $14::text[], $15::date[]) as incoming
        on conflict do nothing
        "#,
        kind,
        &column(documents, |document| document.id),
        &column(documents, number),
        &column(documents, |document| day_of(document.issued_at)),
        &column(documents, |document| document.order_id),
        &column(documents, |document| &*document.order_number) as &[&str],
        &column(documents, |document| &*document.currency) as &[&str],
        &column(documents, |document| document.total_minor),
        &of_tax(|tax| Some(tax.terms.supplier_gstin.clone())) as &[Option<String>],
        &of_tax(|tax| Some(tax.terms.supply.as_str().to_owned())) as &[Option<String>],
        &of_tax(|tax| Some(tax.terms.place_of_supply.clone())) as &[Option<String>],
        &of_tax(|tax| tax.recipient_name.clone()) as &[Option<String>],
        &of_tax(|tax| tax.recipient_gstin.clone()) as &[Option<String>],
        &column(documents, corrects) as &[Option<String>],
        &column(documents, |document| document.invoiced_at.map(day_of)) as &[Option<NaiveDate>],
    )?;
    Ok(())
}

async fn insert_lines(
    conn: &mut PgConnection,
    models: Models,
    kind: &str,
    documents: &[&IssuedColumns<'_>],
) -> sqlx::Result<()> {
    let lines: Vec<_> = documents
        .iter()
        .filter_map(|document| Some((*document, document.tax.as_ref()?)))
        .flat_map(|(document, tax)| {
            (1_i32..).zip(&tax.lines).map(move |(line_no, line)| (document, tax, line_no, line))
        })
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    over!(
        models,
        query.execute(conn),
        "insert into ",
        r#".issued_lines
            (kind, document_id, line_no, issued_on, currency, place_of_supply, recipient_registered, hsn, gst_rate, quantity,
             total_minor, taxable_minor, cgst_minor, sgst_minor, igst_minor, round_off_minor)
        select $1, incoming.*
        from unnest($2::uuid[], $3::int[], $4::date[], $5::text[], $6::text[], $7::bool[], $8::text[], $9::float8[], $10::int8[],
                    $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[], $16::int8[]) as incoming
        on conflict do nothing
        "#,
        kind,
        &column(&lines, |(document, ..)| document.id),
        &column(&lines, |(_, _, line_no, _)| *line_no),
        &column(&lines, |(document, ..)| day_of(document.issued_at)),
        &column(&lines, |(document, ..)| &*document.currency) as &[&str],
        &column(&lines, |(_, tax, ..)| tax.terms.place_of_supply.as_str()) as &[&str],
        &column(&lines, |(_, tax, ..)| tax.recipient_gstin.is_some()),
        &column(&lines, |(.., line)| line.hsn.as_deref()) as &[Option<&str>],
        &column(&lines, |(.., line)| line.gst_rate) as &[Option<f64>],
        &column(&lines, |(.., line)| line.quantity),
        &column(&lines, |(.., line)| line.total_minor),
        &column(&lines, |(.., line)| line.tax.taxable_minor),
        &column(&lines, |(.., line)| line.tax.cgst_minor),
        &column(&lines, |(.., line)| line.tax.sgst_minor),
        &column(&lines, |(.., line)| line.tax.igst_minor),
        &column(&lines, |(.., line)| line.tax.round_off_minor),
    )?;
    Ok(())
}
