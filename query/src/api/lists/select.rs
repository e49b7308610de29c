//! The statement of a list. It is put together at run time: a fixed one with `$1 is null or state = $1` gets one plan for all
//! combinations of filters, and that plan uses no index.
//!
//! A page is found first, by its ids, in one or several *branches*: one for each state that is asked for, because an index gives the
//! rows of one state in order and not those of two; and one for each place where a search may find its word. What is shown of the
//! rows is read for the page alone.

use chrono::{DateTime, Utc};
use contracts::EntityType;
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::Sort;
use crate::api::cursor::{Cursor, Direction};
use crate::words;

/// The longest page, in bytes of its documents. The first one is sent however long it is.
const MAX_PAGE_BYTES: i64 = 4 * 1024 * 1024;

/// A table that can be listed.
#[derive(Debug)]
pub(in crate::api) struct Listing {
    pub(in crate::api) table: &'static str,
    /// Whose words `read.search` has.
    pub(in crate::api) searched: Option<EntityType>,
    /// Columns that a search of one word may equal.
    pub(in crate::api) looked_up: &'static [&'static str],
    /// The state, as an expression.
    pub(in crate::api) state: &'static str,
    /// Members that are shown inside each document, of `listed`.
    pub(in crate::api) inner: &'static str,
    /// The returns that are shown inside each document.
    pub(in crate::api) returns: &'static str,
}

pub(in crate::api) const ORDERS: Listing = Listing {
    table: "read.orders",
    searched: Some(EntityType::Order),
    looked_up: &["tracking_number", "payment_transaction_id"],
    state: "listed.state",
    inner: "nullif(concat_ws(',',
                (select '\"invoice\":' || invoices.document::text from read.invoices where order_id = listed.id),
                (select '\"refunds\":[' || string_agg(refunds.document::text, ',' order by id) || ']'
                 from read.refunds where order_id = listed.id)), '')",
    returns: "(select '[' || string_agg(returns.document::text, ',' order by id) || ']'
               from read.returns where order_id = listed.id)",
};

pub(in crate::api) const RETURNS: Listing = Listing {
    table: "read.returns",
    searched: Some(EntityType::Return),
    looked_up: &["tracking_number"],
    state: "listed.state",
    inner: "nullif(concat_ws(',',
                (select '\"refund\":' || refunds.document::text from read.refunds where return_id = listed.id),
                (select '\"credit_note\":' || credit_notes.document::text from read.credit_notes where source_id = listed.id)), '')",
    returns: "null",
};

pub(in crate::api) const REFUNDS: Listing = Listing {
    table: "read.refunds",
    searched: None,
    looked_up: &[],
    state: "listed.state",
    inner: "(select '\"credit_note\":' || credit_notes.document::text from read.credit_notes where source_id = listed.id)",
    returns: "null",
};

pub(in crate::api) const INVOICES: Listing =
    Listing { table: "read.invoices", searched: None, looked_up: &[], state: "''", inner: "null", returns: "null" };

pub(in crate::api) const CREDIT_NOTES: Listing = Listing { table: "read.credit_notes", ..INVOICES };

/// The rows that the client asks for.
#[derive(Debug, Default)]
pub(in crate::api) struct Filter {
    /// The customer whose rows alone the caller may see.
    pub(in crate::api) owner: Option<String>,
    /// One of these; empty: all.
    pub(in crate::api) states: Vec<&'static str>,
    /// Columns that have these values.
    pub(in crate::api) texts: Vec<(&'static str, String)>,
    pub(in crate::api) ids: Vec<(&'static str, Uuid)>,
    pub(in crate::api) sku: Option<String>,
    /// The text of a search, which has a word.
    pub(in crate::api) search: Option<String>,
    /// Columns and the times from which on, inclusive.
    pub(in crate::api) from: Vec<(&'static str, DateTime<Utc>)>,
    /// Columns and the times up to which, exclusive.
    pub(in crate::api) to: Vec<(&'static str, DateTime<Utc>)>,
}

/// One way to find rows of the page.
#[derive(Debug, Clone)]
struct Branch<'f> {
    state: Option<&'static str>,
    words: Option<String>,
    equals: Option<(&'static str, &'f str)>,
}

impl Filter {
    fn branches(&self, listing: &Listing) -> Vec<Branch<'_>> {
        let words = match (self.search.as_deref().map(words::query), self.sku.as_deref().map(exact_sku)) {
            (None, sku) => sku,
            // A search without a word finds nothing: the empty query.
            (Some(None), _) => Some(String::new()),
            (Some(Some(words)), None) => Some(words),
            (Some(Some(words)), Some(sku)) => Some(format!("{words} & {sku}")),
        };
        let mut found = vec![Branch { state: None, words, equals: None }];
        let word = self.search.as_deref().map(str::trim).filter(|text| !text.contains(char::is_whitespace));
        for (column, word) in listing.looked_up.iter().zip(word.into_iter().cycle()) {
            found.push(Branch { state: None, words: self.sku.as_deref().map(exact_sku), equals: Some((column, word)) });
        }
        if self.states.is_empty() {
            return found;
        }
        let in_state = |state| found.iter().map(move |branch| Branch { state: Some(state), ..branch.clone() });
        self.states.iter().flat_map(|state| in_state(*state)).collect()
    }
}

fn exact_sku(sku: &str) -> String {
    words::exactly(&words::exact_sku(sku))
}

/// Where a page begins, and which way it goes.
#[derive(Debug)]
pub(in crate::api) struct Walk {
    pub(in crate::api) sort: Sort,
    pub(in crate::api) from: Option<Cursor>,
    pub(in crate::api) limit: i64,
}

impl Walk {
    pub(super) fn direction(&self) -> Direction {
        self.from.map_or(Direction::Forward, |cursor| cursor.direction)
    }

    /// Whether the statement reads from the newest to the oldest.
    fn descends(&self) -> bool {
        self.sort.descends == (self.direction() == Direction::Forward)
    }
}

#[derive(Debug, FromRow)]
pub(in crate::api) struct Listed {
    pub(in crate::api) id: Uuid,
    /// The time by which the list is sorted.
    pub(in crate::api) at: DateTime<Utc>,
    pub(in crate::api) state: String,
    pub(in crate::api) document: String,
    pub(in crate::api) inner: Option<String>,
    pub(in crate::api) returns: Option<String>,
    /// How many rows there are in place of these: at most one more than the limit.
    pub(in crate::api) found: i64,
}

/// Returns one row more than the limit when there is one, so that the caller knows whether there is another page; and fewer when these
/// are very long. Going back, the last row of the page comes first.
pub(in crate::api) async fn page(
    read: &PgPool,
    listing: &Listing,
    filter: &Filter,
    walk: &Walk,
    shows_inner: bool,
) -> sqlx::Result<Vec<Listed>> {
    let (inner, returns) = if shows_inner { (listing.inner, listing.returns) } else { ("null", "null") };
    let order = if walk.descends() { "at desc, id desc" } else { "at, id" };
    let mut query = QueryBuilder::<Postgres>::new("with page as materialized (select id, at from (");
    push_branches(&mut query, listing, filter, Some(walk), walk.limit + 1);
    query.push(format!(") as found order by {order} limit ")).push_bind(walk.limit + 1);
    query.push(format!(
        ") select id, at, state, document, \"inner\", returns, found
         from (select *, row_number() over (order by {order}) as place, count(*) over () as found,
                      sum(octet_length(document) + coalesce(octet_length(\"inner\"), 0) + coalesce(octet_length(returns), 0))
                          over (order by {order}) as bytes
               from (select page.id, page.at, {state}::text as state, listed.document::text as document,
                            {inner}::text as \"inner\", {returns}::text as returns
                     from page join {table} as listed on listed.id = page.id) as shown) as sized
         where place = 1 or bytes <= ",
        state = listing.state,
        table = listing.table,
    ));
    query.push_bind(MAX_PAGE_BYTES).push(format!(" order by {order}"));
    query.build_query_as().persistent(false).fetch_all(read).await
}

/// How many rows there are, at most `at_most`.
pub(in crate::api) async fn count(
    read: &PgPool,
    listing: &Listing,
    filter: &Filter,
    at_most: i64,
) -> sqlx::Result<i64> {
    let mut query = QueryBuilder::<Postgres>::new("select count(*) from (select id from (");
    push_branches(&mut query, listing, filter, None, at_most);
    query.push(") as found limit ").push_bind(at_most).push(") as counted");
    query.build_query_scalar().persistent(false).fetch_one(read).await
}

fn push_branches(
    query: &mut QueryBuilder<Postgres>,
    listing: &Listing,
    filter: &Filter,
    walk: Option<&Walk>,
    limit: i64,
) {
    // An order may be found by its words and by its parcel; it is in one state only.
    let union = if filter.search.is_some() { ") union (" } else { ") union all (" };
    query.push("(");
    for (place, branch) in filter.branches(listing).into_iter().enumerate() {
        if place > 0 {
            query.push(union);
        }
        push_branch(query, listing, filter, branch, walk, limit);
    }
    query.push(")");
}

fn push_branch(
    query: &mut QueryBuilder<Postgres>,
    listing: &Listing,
    filter: &Filter,
    branch: Branch<'_>,
    walk: Option<&Walk>,
    limit: i64,
) {
    let column = walk.map_or("created_at", |walk| walk.sort.column);
    // Both have the time of creation, and the table of words has an index for it of its own.
    let by_words = branch.words.is_some() && column == "created_at";
    let (at, id) =
        if by_words { ("found.created_at".to_owned(), "found.id") } else { (format!("listed.{column}"), "listed.id") };
    query.push(format!("select {id} as id, {at} as at from {} as listed", listing.table));
    if let (Some(words), Some(kind)) = (branch.words, listing.searched) {
        query.push(" join read.search as found on found.id = listed.id and found.kind = ").push_bind(kind.as_str());
        query.push(" and found.words @@ ").push_bind(words).push("::text::tsquery");
    }
    query.push(" where true");
    if let Some((column, word)) = branch.equals {
        query
            .push(format!(" and listed.{column} = any("))
            .push_bind(vec![word.to_owned(), word.to_uppercase()])
            .push(")");
    }
    if let Some(owner) = &filter.owner {
        query.push(" and listed.customer_id = ").push_bind(owner.clone());
    }
    if let Some(state) = branch.state {
        query.push(" and listed.state = ").push_bind(state);
    }
    for (column, text) in &filter.texts {
        query.push(format!(" and listed.{column} = ")).push_bind(text.clone());
    }
    for (column, id) in &filter.ids {
        query.push(format!(" and listed.{column} = ")).push_bind(*id);
    }
    for (column, from) in &filter.from {
        query.push(format!(" and listed.{column} >= ")).push_bind(*from);
    }
    for (column, to) in &filter.to {
        query.push(format!(" and listed.{column} < ")).push_bind(*to);
    }
    if let Some(walk) = walk {
        let (before, order) = if walk.descends() { ("<", "desc") } else { (">", "asc") };
        if let Some(Cursor { at: last, id: last_id, inclusive, .. }) = walk.from {
            let or_itself = if inclusive { "=" } else { "" };
            query
                .push(format!(" and ({at}, {id}) {before}{or_itself} ("))
                .push_bind(last)
                .push(", ")
                .push_bind(last_id)
                .push(")");
        }
        query.push(format!(" order by {at} {order}, {id} {order}"));
    }
    query.push(" limit ").push_bind(limit);
}
