//! The statements behind the reads.

use contracts::EntityType;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

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
        select place as "place!", orders.version as "version!", orders.state as "state!", orders.document::text as "document!",
               nullif(coalesce(invoices.version, 0) + coalesce(refunds.versions, 0) + coalesce(returns.versions, 0), 0) as "inner_version?",
               nullif(concat_ws(',', '"invoice":' || invoices.document::text, '"refunds":[' || refunds.documents || ']'), '') as "inner?",
               '[' || returns.documents || ']' as "returns?"
        from unnest($1::uuid[], $2::text[]) with ordinality as wanted (id, owner, place)
        join read.orders on orders.id = wanted.id and orders.customer_id = coalesce(owner, orders.customer_id)
        left join read.invoices on invoices.order_id = orders.id
        left join lateral (
            select sum(version)::int as versions, string_agg(document::text, ',' order by id) as documents
            from read.refunds where refunds.order_id = orders.id
        ) as refunds on true
        left join lateral (
            select sum(version)::int as versions, string_agg(document::text, ',' order by id) as documents
            from read.returns where returns.order_id = orders.id
        ) as returns on true
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
        select place as "place!", returns.version as "version!", returns.state as "state!", returns.document::text as "document!",
               nullif(coalesce(refunds.version, 0) + coalesce(credit_notes.version, 0), 0) as "inner_version?",
               nullif(concat_ws(',', '"refund":' || refunds.document::text, '"credit_note":' || credit_notes.document::text), '')
                   as "inner?",
               null::text as returns
        from unnest($1::uuid[], $2::text[]) with ordinality as wanted (id, owner, place)
        join read.returns on returns.id = wanted.id and returns.customer_id = coalesce(owner, returns.customer_id)
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
        select place as "place!", refunds.version as "version!", refunds.state as "state!", refunds.document::text as "document!",
               credit_notes.version as "inner_version?", '"credit_note":' || credit_notes.document::text as "inner?",
               null::text as returns
        from unnest($1::uuid[], $2::text[]) with ordinality as wanted (id, owner, place)
        join read.refunds on refunds.id = wanted.id and refunds.customer_id = coalesce(owner, refunds.customer_id)
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
        where orders.id = $1 and orders.customer_id = coalesce($3, orders.customer_id)
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
        where returns.id = $1 and returns.customer_id = coalesce($2, returns.customer_id)
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
        where refunds.id = $1 and refunds.customer_id = coalesce($2, refunds.customer_id)
        "#,
        refund_id,
        owner,
    )
    .fetch_optional(read)
    .await
}
