//! Invoices and credit notes: the API shows them inside their order or return, and the GST report adds them up.

use chrono::{DateTime, NaiveDate, Utc};
use contracts::{Hsn, TaxSummaryDocument};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Models, column, query_models};
use crate::business_day::day_of;
use crate::projector::batch::Newest;
use crate::projector::columns::IssuedColumns;

type Issued<'a> = Newest<'a, IssuedColumns<'a>>;

pub(super) async fn write_invoices(conn: &mut PgConnection, models: Models, issued: &Issued<'_>) -> sqlx::Result<()> {
    let rows = Columns::of(issued);
    let written = query_models!(
        models,
        query_scalar.fetch_all(&mut *conn),
        insert into "invoices as known" r#"
            (order_id, version, path, sha256, document, id, number, order_number, customer_id, created_at)
        select order_id, version, path, sha256, document::json, id, number, order_number, customer_id, issued_at
        from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::text[],
                    $10::timestamptz[])
            as incoming (order_id, version, path, sha256, document, id, number, order_number, customer_id, issued_at)
        on conflict (order_id) do update
        set version = excluded.version, path = excluded.path, sha256 = excluded.sha256, document = excluded.document,
            customer_id = excluded.customer_id
        where known.version < excluded.version
        returning order_id
        "#,
        &rows.keys,
        &rows.versions,
        &rows.paths as &[&str],
        &rows.hashes as &[&str],
        &rows.documents as &[&str],
        &rows.ids,
        &rows.numbers as &[&str],
        &rows.order_numbers as &[&str],
        &rows.customers as &[&str],
        &rows.issued,
    )?;
    insert(conn, models, "invoice", issued, &written).await
}

pub(super) async fn write_credit_notes(
    conn: &mut PgConnection,
    models: Models,
    issued: &Issued<'_>,
) -> sqlx::Result<()> {
    let rows = Columns::of(issued);
    let written = query_models!(
        models,
        query_scalar.fetch_all(&mut *conn),
        insert into "credit_notes as known" r#"
            (source_id, version, path, sha256, document, id, number, order_number, customer_id, created_at, order_id)
        select source_id, version, path, sha256, document::json, id, number, order_number, customer_id, issued_at, order_id
        from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::text[],
                    $10::timestamptz[], $11::uuid[])
            as incoming (source_id, version, path, sha256, document, id, number, order_number, customer_id, issued_at, order_id)
        on conflict (source_id) do update
        set version = excluded.version, path = excluded.path, sha256 = excluded.sha256, document = excluded.document,
            customer_id = excluded.customer_id
        where known.version < excluded.version
        returning source_id
        "#,
        &rows.keys,
        &rows.versions,
        &rows.paths as &[&str],
        &rows.hashes as &[&str],
        &rows.documents as &[&str],
        &rows.ids,
        &rows.numbers as &[&str],
        &rows.order_numbers as &[&str],
        &rows.customers as &[&str],
        &rows.issued,
        &rows.orders,
    )?;
    insert(conn, models, "credit_note", issued, &written).await
}

/// The rows of `invoices` or `credit_notes`, column by column.
struct Columns<'r> {
    keys: Vec<Uuid>,
    versions: Vec<i32>,
    paths: Vec<&'r str>,
    hashes: Vec<&'r str>,
    documents: Vec<&'r str>,
    ids: Vec<Uuid>,
    numbers: Vec<&'r str>,
    orders: Vec<Uuid>,
    order_numbers: Vec<&'r str>,
    customers: Vec<&'r str>,
    issued: Vec<DateTime<Utc>>,
}

impl<'r> Columns<'r> {
    fn of(issued: &'r Issued<'_>) -> Self {
        let rows = || issued.values();
        Self {
            keys: issued.keys().copied().collect(),
            versions: rows().map(|row| row.version).collect(),
            paths: rows().map(|row| &*row.columns.path).collect(),
            hashes: rows().map(|row| &*row.columns.sha256).collect(),
            documents: rows().map(|row| row.document).collect(),
            ids: rows().map(|row| row.columns.id).collect(),
            numbers: rows().map(|row| row.columns.number()).collect(),
            orders: rows().map(|row| row.columns.order_id).collect(),
            order_numbers: rows().map(|row| &*row.columns.order_number).collect(),
            customers: rows().map(|row| &*row.columns.customer_id).collect(),
            issued: rows().map(|row| row.columns.issued_at).collect(),
        }
    }
}

/// What the GST report adds up, for the documents that were written.
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
    let corrects = |document: &&IssuedColumns<'_>| {
        document.credit_note_number.is_some().then(|| document.invoice_number.to_string())
    };
    let of_tax = |of: fn(&TaxSummaryDocument) -> Option<String>| -> Vec<Option<String>> {
        documents.iter().map(|document| document.tax.as_ref().and_then(of)).collect()
    };
    let terms = |document: &&IssuedColumns<'_>| document.tax.as_ref().map(|tax| tax.terms.clone());
    query_models!(
        models,
        query.execute(conn),
        insert into "issued_documents as known" r#"
            (kind, id, number, issued_on, order_id, order_number, currency, total_minor, supplier_gstin, supply,
             place_of_supply, recipient_name, recipient_gstin, sez, without_payment, corrects, corrected_issued_on)
        select $1, incoming.*
        from unnest($2::uuid[], $3::text[], $4::date[], $5::uuid[], $6::text[], $7::text[], $8::int8[], $9::text[], $10::text[],
                    $11::text[], $12::text[], $13::text[], $14::bool[], $15::bool[], $16::text[], $17::date[]) as incoming
        on conflict (id) do update
        set recipient_name = excluded.recipient_name
        where known.recipient_name is distinct from excluded.recipient_name
        "#,
        kind,
        &column(documents, |document| document.id),
        &column(documents, |document| document.number().to_owned()),
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
        &column(documents, |document| terms(document).is_some_and(|terms| terms.sez)),
        &column(documents, |document| terms(document).is_some_and(|terms| terms.lut_reference.is_some())),
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
    query_models!(
        models,
        query.execute(conn),
        insert into "issued_lines" r#"
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
        &column(&lines, |(.., line)| line.hsn.as_ref().map(Hsn::as_str)) as &[Option<&str>],
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
