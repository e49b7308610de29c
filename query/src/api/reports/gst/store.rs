//! The statements of the GST report, which covers only amounts in rupees.

use chrono::NaiveDate;
use sqlx::PgConnection;

use super::{GstDocument, GstHsn, GstNil, GstOthers, GstSeries};

/// A statement that starts with the clause `with document`: the issued documents of the period from $1 to $2, each with its
/// class, which decides the table of GSTR-1.
///
/// An invoice to an unregistered recipient in another state is reported one by one above one lakh rupees (rule 59(4) of the CGST
/// Rules as changed by notification 12/2024 – Central Tax, from August 2024). A credit note goes where its invoice goes; those
/// for `B2CS` are subtracted.
macro_rules! with_classified_documents {
    ($row:ty, $statement:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            $row,
            r#"
            with document as (
                select issued.*,
                       case when issued.recipient_gstin is not null then 'B2B'
                            when issued.place_of_supply like '96%' then 'EXP'
                            when issued.supply = 'INTER_STATE' and coalesce(original.total_minor, issued.total_minor) > 10000000
                                then 'B2CL'
                            else 'B2CS' end as class
                from read.issued_documents as issued
                left join read.issued_documents as original
                    on issued.kind = 'credit_note' and original.kind = 'invoice' and original.number = issued.corrects
                where issued.issued_on between $1 and $2 and issued.supplier_gstin is not null and issued.currency = 'INR'
            )
            "# + $statement
            $(, $argument)*
        )
    };
}

/// The documents of one kind that are reported one by one, with one row per rate.
pub(super) async fn one_by_one(
    conn: &mut PgConnection,
    kind: &str,
    first: NaiveDate,
    last: NaiveDate,
) -> sqlx::Result<Vec<GstDocument>> {
    with_classified_documents!(
        GstDocument,
        r#"
        select case when document.kind = 'invoice' then class when class = 'B2B' then 'CDNR' else 'CDNUR' end as "kind!",
               number, document.issued_on, recipient_gstin, recipient_name,
               case when document.kind = 'credit_note' and class <> 'B2B' then
                         case when class <> 'EXP' then class when without_payment then 'EXPWOP' else 'EXPWP' end end
                   as unregistered_type,
               case when sez and without_payment then 'SEWOP' when sez then 'SEWP' when class <> 'EXP' then 'R'
                    when without_payment then 'WOPAY' else 'WPAY' end as "supply_type!",
               corrects, corrected_issued_on, document.place_of_supply as "place_of_supply!", 'N' as "reverse_charge!", document.total_minor, gst_rate,
               read.figure(sum(taxable_minor)) as "taxable_minor!", read.figure(sum(igst_minor)) as "igst_minor!",
               read.figure(sum(cgst_minor)) as "cgst_minor!", read.figure(sum(sgst_minor)) as "sgst_minor!"
        from document join read.issued_lines as line on line.document_id = document.id
        where document.kind = $3 and class <> 'B2CS' and (gst_rate > 0 or class = 'EXP' or sez)
        group by document.kind, class, sez, without_payment, number, document.issued_on, recipient_gstin, recipient_name, corrects,
                 corrected_issued_on, document.place_of_supply, document.total_minor, gst_rate
        order by class, number, gst_rate
        "#,
        first,
        last,
        kind,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn others(conn: &mut PgConnection, first: NaiveDate, last: NaiveDate) -> sqlx::Result<Vec<GstOthers>> {
    with_classified_documents!(
        GstOthers,
        r#"
        select document.place_of_supply as "place_of_supply!", gst_rate,
               read.figure(sum(case document.kind when 'invoice' then taxable_minor else -taxable_minor end)) as "taxable_minor!",
               read.figure(sum(case document.kind when 'invoice' then igst_minor else -igst_minor end)) as "igst_minor!",
               read.figure(sum(case document.kind when 'invoice' then cgst_minor else -cgst_minor end)) as "cgst_minor!",
               read.figure(sum(case document.kind when 'invoice' then sgst_minor else -sgst_minor end)) as "sgst_minor!"
        from document join read.issued_lines as line on line.document_id = document.id
        where class = 'B2CS' and gst_rate > 0
        group by document.place_of_supply, gst_rate
        order by document.place_of_supply, gst_rate
        "#,
        first,
        last,
    )
    .fetch_all(conn)
    .await
}

/// Goods at a rate of 0 that stay in India. What is zero-rated stands in tables 6A and 6B.
pub(super) async fn nil(conn: &mut PgConnection, first: NaiveDate, last: NaiveDate) -> sqlx::Result<Vec<GstNil>> {
    with_classified_documents!(
        GstNil,
        r#"
        select concat(case supply when 'INTER_STATE' then 'INTR' else 'INTRA' end, case class when 'B2B' then 'B2B' else 'B2C' end)
                   as "supply_type!",
               read.figure(sum(case document.kind when 'invoice' then 1 else -1 end * line.total_minor)) as "nil_minor!"
        from document join read.issued_lines as line on line.document_id = document.id
        where class <> 'EXP' and not sez and coalesce(gst_rate, 0) = 0
        group by 1 order by 1
        "#,
        first,
        last,
    )
    .fetch_all(conn)
    .await
}

/// The number of the shop on the newest document until that day.
pub(super) async fn supplier(conn: &mut PgConnection, last: NaiveDate) -> sqlx::Result<Option<String>> {
    let newest = sqlx::query_scalar!(
        r#"
        select supplier_gstin as "gstin!" from read.issued_documents
        where issued_on <= $1 and supplier_gstin is not null
        order by issued_on desc limit 1
        "#,
        last,
    );
    newest.fetch_optional(conn).await
}

/// Reads only the lines, which have all that this table needs.
pub(super) async fn hsn(conn: &mut PgConnection, first: NaiveDate, last: NaiveDate) -> sqlx::Result<Vec<GstHsn>> {
    sqlx::query_as!(
        GstHsn,
        r#"
        with line as (
            select kind, recipient_registered, hsn, gst_rate, sum(quantity) as quantity, sum(total_minor) as total,
                   sum(taxable_minor) as taxable, sum(igst_minor) as igst, sum(cgst_minor) as cgst, sum(sgst_minor) as sgst,
                   sum(round_off_minor) as round_off
            from read.issued_lines
            where issued_on between $1 and $2 and currency = 'INR'
            group by kind, recipient_registered, hsn, gst_rate
        ), signed as (
            select *, case kind when 'invoice' then 1 else -1 end as sign from line
        )
        select case when recipient_registered then 'B2B' else 'B2C' end as "recipients!", hsn, 'NOS' as "uqc!",
               read.figure(sum(sign * quantity)) as "quantity!", read.figure(sum(sign * total)) as "total_minor!", gst_rate,
               read.figure(sum(sign * taxable)) as "taxable_minor!", read.figure(sum(sign * igst)) as "igst_minor!",
               read.figure(sum(sign * cgst)) as "cgst_minor!", read.figure(sum(sign * sgst)) as "sgst_minor!",
               read.figure(sum(sign * round_off)) as "round_off_minor!"
        from signed group by recipient_registered, hsn, gst_rate order by recipient_registered desc, hsn, gst_rate
        "#,
        first,
        last,
    )
    .fetch_all(conn)
    .await
}

/// A series is the part of a number before its last slash. All numbers have the same length, so they sort as text.
///
/// The numbers of a series have no gap. So those between the first and the last of the period that are on no document of any day were
/// cancelled, and so were those between the first one and its predecessor.
pub(super) async fn documents(
    conn: &mut PgConnection,
    first: NaiveDate,
    last: NaiveDate,
) -> sqlx::Result<Vec<GstSeries>> {
    sqlx::query_as!(
        GstSeries,
        r#"
        with period as (
            select kind, regexp_replace(number, '[^/]*$', '') as series, min(number) as first, max(number) as last, count(*) as issued
            from read.issued_documents
            where issued_on between $1 and $2 and supplier_gstin is not null
            group by kind, series
        ), range as (
            select period.*, substring(last from '[0-9]*$')::int8 as last_n, coalesce((
                       select substring(number from '[0-9]*$')::int8 from read.issued_documents as before
                       where before.number < first and starts_with(before.number, series) and before.kind = period.kind
                       order by before.number desc limit 1), 0) + 1 as first_n
            from period
        )
        select kind as "kind!", series || lpad(first_n::text, length(last) - length(series), '0') as "from_number!", last as "to_number!",
               issued as "issued!",
               last_n - first_n + 1 - (select count(*) from read.issued_documents as known
                                       where known.number between first and last and starts_with(known.number, series)
                                         and known.kind = range.kind) as "cancelled!"
        from range order by kind desc, last
        "#,
        first,
        last,
    )
    .fetch_all(conn)
    .await
}
