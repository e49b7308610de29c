//! Lists: one page of stored documents.

mod filters;
mod request;
mod select;
mod shape;

use access::Caller;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use contracts::{CreditNoteDocument, InvoiceDocument, OrderDocument, RefundDocument, ReturnDocument};
use runtime::ApiError;
use serde::Deserialize;
use utoipa::ToSchema;

use super::consistency::Scope;
use super::cursor::{Cursor, Direction};
use super::documents::Found;
use super::{Api, documents};
use request::Sort;
use select::Listed;

pub(super) use filters::{
    IssuedFilters, OrderFilters, RefundFilters, ReturnFilters, credit_notes, invoices, orders, refunds, returns,
};
pub(super) use request::{IssuedListParams, ListParams, ListRequest};
pub(super) use select::{CREDIT_NOTES, INVOICES, Listing, ORDERS, REFUNDS, RETURNS};

/// Rows are counted up to this number.
const MAX_TOTAL: i64 = 10_000;

/// Pages of lists. Not one generic type: the description of the API would have one schema for all of them.
macro_rules! pages {
    ($($(#[$doc:meta])* $name:ident of $of:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize, ToSchema)]
        pub struct $name {
            /// At most `limit`, and fewer when they are longer than 4 MiB together.
            pub data: Vec<$of>,
            /// Send it as `cursor` to get the next page; null on the last page.
            pub next_cursor: Option<String>,
            /// Send it as `cursor` to get the page before; null on the first page.
            pub prev_cursor: Option<String>,
            /// Whether there is a next page.
            pub has_more: bool,
            /// With `total=true`: how many entries the list has on all pages.
            #[serde(default)]
            pub total: Option<i64>,
            /// With `total=true`: whether there are more than `total`, because they are counted up to 10,000.
            #[serde(default)]
            pub total_is_capped: Option<bool>,
        }
    )*};
}

pages! {
    /// One page of orders.
    OrderPage of OrderDocument;
    /// One page of returns.
    ReturnPage of ReturnDocument;
    /// One page of refunds.
    RefundPage of RefundDocument;
    /// One page of invoices.
    InvoicePage of InvoiceDocument;
    /// One page of credit notes.
    CreditNotePage of CreditNoteDocument;
}

/// One page, assembled from the stored text of the documents.
pub(super) async fn page(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    listing: &Listing,
    mut request: ListRequest,
) -> Result<Response, ApiError> {
    request.filter.owner = caller.owner().map(str::to_owned);
    api.wait_for(headers, request.consistency.as_deref(), Scope::Documents).await?;
    let ListRequest { filter, walk, shape, list, total, .. } = request;
    let mut rows = select::page(&api.read, listing, &filter, &walk, shape.shows_inner()).await?;
    let found = rows.first().and_then(|row| usize::try_from(row.found).ok()).unwrap_or(0);
    rows.truncate(usize::try_from(walk.limit).unwrap_or(usize::MAX));
    let goes_on = rows.len() < found;
    if walk.direction() == Direction::Back {
        rows.reverse();
    }
    let ends = Ends::of(&rows, walk.from, goes_on, list);

    let shown = api.shown(caller);
    let documents = rows.into_iter().map(|row| shape.cut(shown.document(listing, row.into())));
    let cursor =
        |cursor: Option<Cursor>| cursor.map_or_else(|| "null".to_owned(), |cursor| format!("\"{}\"", cursor.encode()));
    let mut body = format!(
        "{{\"data\":[{}],\"next_cursor\":{},\"prev_cursor\":{},\"has_more\":{}",
        documents.collect::<Vec<_>>().join(","),
        cursor(ends.next),
        cursor(ends.previous),
        ends.next.is_some(),
    );
    if total {
        let counted = select::count(&api.read, listing, &filter, MAX_TOTAL + 1).await?;
        let (total, is_capped) = (counted.min(MAX_TOTAL), counted > MAX_TOTAL);
        body.push_str(",\"total\":");
        body.push_str(&total.to_string());
        body.push_str(if is_capped { ",\"total_is_capped\":true" } else { ",\"total_is_capped\":false" });
    }
    body.push('}');
    Ok(documents::json(body).into_response())
}

impl From<Listed> for Found {
    fn from(row: Listed) -> Self {
        let Listed { state, document, inner, returns, .. } = row;
        Self { place: 0, version: 0, state, document, inner_version: None, inner, returns }
    }
}

/// The cursors of a page.
struct Ends {
    next: Option<Cursor>,
    previous: Option<Cursor>,
}

impl Ends {
    /// `goes_on`: there are more rows in the direction in which the page was read.
    fn of(rows: &[Listed], from: Option<Cursor>, goes_on: bool, list: [u8; 8]) -> Self {
        let at = |row: &Listed, direction| Cursor { direction, list, at: row.at, id: row.id, inclusive: false };
        // Of an empty page, the row next to which it would begin. The way back has that row too.
        let turned = |direction| from.map(|from| from.turned(direction));
        let next = || rows.last().map(|row| at(row, Direction::Forward)).or_else(|| turned(Direction::Forward));
        let previous = || rows.first().map(|row| at(row, Direction::Back)).or_else(|| turned(Direction::Back));
        match from.map(|from| from.direction) {
            None => Self { next: next().filter(|_| goes_on), previous: None },
            Some(Direction::Forward) => Self { next: next().filter(|_| goes_on), previous: previous() },
            Some(Direction::Back) => Self { next: next(), previous: previous().filter(|_| goes_on) },
        }
    }
}
