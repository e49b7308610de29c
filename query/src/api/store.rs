//! The statements behind the reads.

use chrono::{DateTime, Utc};
use contracts::EntityType;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::{FromRow, PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::cursor::Cursor;
use super::documents::Found;

/// Documents to find, as columns: place n is the nth of both.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) ids: Vec<Uuid>,
    /// The customer who may see it alone; `None`: all may.
    pub(super) owners: Vec<Option<String>>,
}

/// Orders with their invoices and refunds, by id.
pub(super) fn orders<'c>(conn: &'c mut PgConnection, wanted: &'c Wanted) -> BoxFuture<'c, sqlx::Result<Vec<Found>>> {
    sqlx::query_as!(
        Found,
        r#"
        select place as "place!", orders.version as "version!", orders.document::text as "document!",
               nullif(coalesce(invoices.version, 0) + coalesce(refunds.versions, 0), 0) as "inner_version?",
               nullif(concat_ws(',', '"invoice":' || invoices.document::text, '"refunds":[' || refunds.documents || ']'), '') as "inner?"
        from unnest($1::uuid[], $2::text[]) with ordinality as wanted (id, owner, place)
        join read.orders on orders.id = wanted.id and customer_id = coalesce(owner, customer_id)
        left join read.invoices on invoices.order_id = orders.id
        left join lateral (
            select sum(version)::int as versions, string_agg(document::text, ',' order by id) as documents
            from read.refunds where refunds.order_id = orders.id
        ) as refunds on true
        "#,
        &wanted.ids,
        &wanted.owners as _,
    )
    .fetch_all(conn)
    .boxed()
}

/// Returns with their refunds and credit notes, by id.
pub(super) fn returns<'c>(conn: &'c mut PgConnection, wanted: &'c Wanted) -> BoxFuture<'c, sqlx::Result<Vec<Found>>> {
    sqlx::query_as!(
        Found,
        r#"
        select place as "place!", returns.version as "version!", returns.document::text as "document!",
               nullif(coalesce(refunds.version, 0) + coalesce(credit_notes.version, 0), 0) as "inner_version?",
               nullif(concat_ws(',', '"refund":' || refunds.document::text, '"credit_note":' || credit_notes.document::text), '')
                   as "inner?"
        from unnest($1::uuid[], $2::text[]) with ordinality as wanted (id, owner, place)
        join read.returns on returns.id = wanted.id and customer_id = coalesce(owner, customer_id)
        left join read.refunds on refunds.return_id = returns.id
        left join read.credit_notes on source_id = returns.id
        "#,
        &wanted.ids,
        &wanted.owners as _,
    )
    .fetch_all(conn)
    .boxed()
}

/// Refunds with their credit notes, by id.
pub(super) fn refunds<'c>(conn: &'c mut PgConnection, wanted: &'c Wanted) -> BoxFuture<'c, sqlx::Result<Vec<Found>>> {
    sqlx::query_as!(
        Found,
        r#"
        select place as "place!", refunds.version as "version!", refunds.document::text as "document!",
               credit_notes.version as "inner_version?", '"credit_note":' || credit_notes.document::text as "inner?"
        from unnest($1::uuid[], $2::text[]) with ordinality as wanted (id, owner, place)
        join read.refunds on refunds.id = wanted.id and customer_id = coalesce(owner, customer_id)
        left join read.credit_notes on source_id = refunds.id
        "#,
        &wanted.ids,
        &wanted.owners as _,
    )
    .fetch_all(conn)
    .boxed()
}

/// The audit rows of an order, a return or a refund, oldest first.
pub(super) async fn history(read: &PgPool, kind: EntityType, id: Uuid) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        select entry::text as "entry!" from read.history
        where aggregate_type = $1 and aggregate_id = $2
        order by version
        "#,
        kind.as_str(),
        id,
    )
    .fetch_all(read)
    .await
}

/// The PDF of an order's invoice or of a return's credit note.
#[derive(Debug)]
pub(super) struct PdfOf {
    /// The state of the order or return.
    pub(super) state: String,
    pub(super) path: Option<String>,
    pub(super) sha256: Option<String>,
    /// The number of its last edition, if it has been made.
    pub(super) latest: Option<i32>,
    /// Whether what it prints was erased.
    pub(super) is_erased: bool,
}

/// The invoice of an order, in this edition or the last; `None` when there is no such order.
pub(super) async fn invoice(
    read: &PgPool,
    order_id: Uuid,
    owner: Option<&str>,
    edition: Option<i32>,
) -> sqlx::Result<Option<PdfOf>> {
    sqlx::query_as!(
        PdfOf,
        r#"
        select orders.state as "state!", edition.path as "path?", edition.sha256 as "sha256?", latest as "latest?",
               invoices.document ->> 'erased' is not null as "is_erased!"
        from read.orders left join read.invoices on invoices.order_id = orders.id
        left join lateral (select (invoices.document ->> 'edition')::int as latest) as last on true
        left join lateral (
            select invoices.path, invoices.sha256 where coalesce($2, latest) = latest
            union all
            select earlier ->> 'path', earlier ->> 'sha256'
            from json_array_elements(invoices.document -> 'earlier_editions') as earlier
            where (earlier ->> 'edition')::int = $2
        ) as edition on true
        where orders.id = $1 and customer_id = coalesce($3, customer_id)
        "#,
        order_id,
        edition,
        owner,
    )
    .fetch_optional(read)
    .await
}

/// The credit note of a return; `None` when there is no such return.
pub(super) async fn credit_note(read: &PgPool, return_id: Uuid, owner: Option<&str>) -> sqlx::Result<Option<PdfOf>> {
    sqlx::query_as!(
        PdfOf,
        r#"
        select returns.state as "state!", credit_notes.path as "path?", credit_notes.sha256 as "sha256?",
               credit_notes.version as "latest?", credit_notes.document ->> 'erased' is not null as "is_erased!"
        from read.returns left join read.credit_notes on source_id = returns.id
        where returns.id = $1 and customer_id = coalesce($2, customer_id)
        "#,
        return_id,
        owner,
    )
    .fetch_optional(read)
    .await
}

/// The credit note of a refund without a return; `None` when there is no such refund.
pub(super) async fn credit_note_of_refund(
    read: &PgPool,
    refund_id: Uuid,
    owner: Option<&str>,
) -> sqlx::Result<Option<PdfOf>> {
    sqlx::query_as!(
        PdfOf,
        r#"
        select refunds.state as "state!", credit_notes.path as "path?", credit_notes.sha256 as "sha256?",
               credit_notes.version as "latest?", credit_notes.document ->> 'erased' is not null as "is_erased!"
        from read.refunds left join read.credit_notes on source_id = refunds.id
        where refunds.id = $1 and customer_id = coalesce($2, customer_id)
        "#,
        refund_id,
        owner,
    )
    .fetch_optional(read)
    .await
}

/// A table that can be listed.
#[derive(Debug)]
pub(super) struct Listing {
    /// Adds the documents that are shown inside the listed ones, in subqueries that run for the rows of the page only.
    select: &'static str,
}

pub(super) const ORDERS: Listing = Listing {
    select: "select id, created_at, document::text as document,
                    nullif(concat_ws(',',
                        (select '\"invoice\":' || invoices.document::text from read.invoices where order_id = listed.id),
                        (select '\"refunds\":[' || string_agg(refunds.document::text, ',' order by id) || ']'
                         from read.refunds where order_id = listed.id)), '') as \"inner\"
             from read.orders as listed where true",
};

pub(super) const RETURNS: Listing = Listing {
    select: "select id, created_at, document::text as document,
                    nullif(concat_ws(',',
                        (select '\"refund\":' || refunds.document::text from read.refunds where return_id = listed.id),
                        (select '\"credit_note\":' || credit_notes.document::text from read.credit_notes
                         where source_id = listed.id)), '') as \"inner\"
             from read.returns as listed where true",
};

pub(super) const REFUNDS: Listing = Listing {
    select: "select id, created_at, document::text as document,
                    (select '\"credit_note\":' || credit_notes.document::text from read.credit_notes
                     where source_id = listed.id) as \"inner\"
             from read.refunds as listed where true",
};

/// The rows of a list that the client asks for.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// The customer whose rows alone the caller may see.
    pub(super) owner: Option<String>,
    pub(super) state: Option<&'static str>,
    /// For returns and refunds only.
    pub(super) order_id: Option<Uuid>,
    pub(super) customer_id: Option<String>,
    pub(super) order_number: Option<String>,
    /// Included.
    pub(super) created_from: Option<DateTime<Utc>>,
    /// Not included.
    pub(super) created_to: Option<DateTime<Utc>>,
    pub(super) after: Option<Cursor>,
    pub(super) limit: i64,
}

#[derive(Debug, FromRow)]
pub(super) struct Listed {
    pub(super) id: Uuid,
    pub(super) created_at: DateTime<Utc>,
    pub(super) document: String,
    pub(super) inner: Option<String>,
    /// How many rows there are in place of these: at most one more than the limit.
    pub(super) found: i64,
}

/// The longest page, in bytes of its documents. The first one is sent however long it is.
const MAX_PAGE_BYTES: i64 = 4 * 1024 * 1024;

/// Returns one row more than the limit when there is one, so that the caller knows whether there is another page; and fewer when these
/// are very long.
///
/// The only statement that is put together at run time: a fixed one with `$1 is null or state = $1` gets one plan for all
/// combinations of filters, and that plan uses no index.
pub(super) async fn list(read: &PgPool, listing: &Listing, filter: &Filter) -> sqlx::Result<Vec<Listed>> {
    let mut query = QueryBuilder::<Postgres>::new(
        "select id, created_at, document, \"inner\", found
         from (select *, row_number() over newest as place, count(*) over () as found,
                      sum(octet_length(document) + coalesce(octet_length(\"inner\"), 0)) over newest as bytes
               from (",
    );
    query.push(listing.select);
    if let Some(owner) = &filter.owner {
        query.push(" and customer_id = ").push_bind(owner);
    }
    if let Some(state) = filter.state {
        query.push(" and state = ").push_bind(state);
    }
    if let Some(order_id) = filter.order_id {
        query.push(" and order_id = ").push_bind(order_id);
    }
    if let Some(customer_id) = &filter.customer_id {
        query.push(" and customer_id = ").push_bind(customer_id);
    }
    if let Some(order_number) = &filter.order_number {
        query.push(" and order_number = ").push_bind(order_number);
    }
    if let Some(from) = filter.created_from {
        query.push(" and created_at >= ").push_bind(from);
    }
    if let Some(to) = filter.created_to {
        query.push(" and created_at < ").push_bind(to);
    }
    if let Some(Cursor { created_at, id }) = filter.after {
        query.push(" and (created_at, id) < (").push_bind(created_at).push(", ").push_bind(id).push(")");
    }
    query.push(" order by created_at desc, id desc limit ").push_bind(filter.limit + 1);
    query.push(") as page window newest as (order by created_at desc, id desc)) as sized where place = 1 or bytes <= ");
    query.push_bind(MAX_PAGE_BYTES).push(" order by created_at desc, id desc");
    query.build_query_as().fetch_all(read).await
}
