//! Lists: what may be asked for, and one page of stored documents.

use axum::response::{IntoResponse, Response};
use contracts::{OrderDocument, OrderState, ReturnDocument, ReturnState};
use runtime::{ApiError, FieldError};
use serde::Deserialize;
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::cursor::Cursor;
use super::store::{self, Filter, Listing};
use super::{dates, documents};

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;
/// As the command service takes them; nothing longer can exist.
const MAX_CUSTOMER_ID: usize = 64;
const MAX_ORDER_NUMBER: usize = 32;

/// One page of orders.
#[derive(Debug, Deserialize, ToSchema)]
pub struct OrderPage {
    pub data: Vec<OrderDocument>,
    /// `cursor` of the next page; null on the last.
    pub next_cursor: Option<String>,
    pub has_more: bool,
}

/// One page of returns.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ReturnPage {
    pub data: Vec<ReturnDocument>,
    /// `cursor` of the next page; null on the last.
    pub next_cursor: Option<String>,
    pub has_more: bool,
}

/// What the list of orders understands; anything else is refused.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OrderListParams {
    #[param(value_type = Option<contracts::schema::OrderState>)]
    state: Option<String>,
    #[param(max_length = 64)]
    customer_id: Option<String>,
    #[param(max_length = 32)]
    order_number: Option<String>,
    /// Created at or after: RFC 3339, or a date `YYYY-MM-DD`, from its first moment in Asia/Kolkata.
    created_from: Option<String>,
    /// Created before: RFC 3339, or a date `YYYY-MM-DD`, that whole day in Asia/Kolkata included.
    created_to: Option<String>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the page before; send the same filters with it.
    cursor: Option<String>,
    /// Consistency tokens (`order:<id>@<version>`, `return:<id>@<version>`), separated by commas, at most 20; the
    /// header `X-Consistency-Token` means the same. The answer has these versions at least.
    consistency: Option<String>,
}

/// What the list of returns understands; anything else is refused.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReturnListParams {
    #[param(value_type = Option<contracts::schema::ReturnState>)]
    state: Option<String>,
    #[param(value_type = Option<Uuid>)]
    order_id: Option<String>,
    #[param(max_length = 64)]
    customer_id: Option<String>,
    #[param(max_length = 32)]
    order_number: Option<String>,
    /// Requested at or after: RFC 3339, or a date `YYYY-MM-DD`, from its first moment in Asia/Kolkata.
    created_from: Option<String>,
    /// Requested before: RFC 3339, or a date `YYYY-MM-DD`, that whole day in Asia/Kolkata included.
    created_to: Option<String>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the page before; send the same filters with it.
    cursor: Option<String>,
    /// Consistency tokens (`order:<id>@<version>`, `return:<id>@<version>`), separated by commas, at most 20; the
    /// header `X-Consistency-Token` means the same. The answer has these versions at least.
    consistency: Option<String>,
}

impl OrderListParams {
    /// The filter and the consistency tokens; 422 naming every parameter that is wrong.
    pub(super) fn parse(self) -> Result<(Filter, Option<String>), ApiError> {
        let mut wrong = Wrong::default();
        let filter = Filter {
            state: wrong.unless_one_of("state", self.state, &OrderState::ALL, OrderState::as_str),
            order_id: None,
            customer_id: wrong.unless_short("customer_id", self.customer_id, MAX_CUSTOMER_ID),
            order_number: wrong.unless_short("order_number", self.order_number, MAX_ORDER_NUMBER),
            created_from: wrong.unless("created_from", self.created_from, dates::EXPECTED, dates::parse_from),
            created_to: wrong.unless("created_to", self.created_to, dates::EXPECTED, dates::parse_to),
            after: wrong.unless("cursor", self.cursor, CURSOR_EXPECTED, Cursor::decode),
            limit: wrong.unless_limit(self.limit),
        };
        wrong.finish(filter).map(|filter| (filter, self.consistency))
    }
}

impl ReturnListParams {
    /// As [`OrderListParams::parse`].
    pub(super) fn parse(self) -> Result<(Filter, Option<String>), ApiError> {
        let mut wrong = Wrong::default();
        let filter = Filter {
            state: wrong.unless_one_of("state", self.state, &ReturnState::ALL, ReturnState::as_str),
            order_id: wrong.unless("order_id", self.order_id, "must be a UUID", |text| Uuid::try_parse(text).ok()),
            customer_id: wrong.unless_short("customer_id", self.customer_id, MAX_CUSTOMER_ID),
            order_number: wrong.unless_short("order_number", self.order_number, MAX_ORDER_NUMBER),
            created_from: wrong.unless("created_from", self.created_from, dates::EXPECTED, dates::parse_from),
            created_to: wrong.unless("created_to", self.created_to, dates::EXPECTED, dates::parse_to),
            after: wrong.unless("cursor", self.cursor, CURSOR_EXPECTED, Cursor::decode),
            limit: wrong.unless_limit(self.limit),
        };
        wrong.finish(filter).map(|filter| (filter, self.consistency))
    }
}

const CURSOR_EXPECTED: &str = "must be the next_cursor of an earlier page";

/// Collects what is wrong with a request, so that the client is told everything at once.
#[derive(Debug, Default)]
struct Wrong(Vec<FieldError>);

impl Wrong {
    fn unless<T>(
        &mut self,
        field: &str,
        text: Option<String>,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(&text?);
        if parsed.is_none() {
            self.0.push(FieldError::new(field, expected));
        }
        parsed
    }

    fn unless_one_of<T: Copy>(
        &mut self,
        field: &str,
        text: Option<String>,
        allowed: &[T],
        name: fn(T) -> &'static str,
    ) -> Option<&'static str> {
        let names: Vec<_> = allowed.iter().map(|one| name(*one)).collect();
        let expected = format!("must be one of {}", names.join(", "));
        self.unless(field, text, &expected, |text| names.into_iter().find(|name| *name == text))
    }

    fn unless_short(&mut self, field: &str, text: Option<String>, most: usize) -> Option<String> {
        let expected = format!("must be 1 to {most} characters long");
        self.unless(field, text, &expected, |text| (1..=most).contains(&text.chars().count()).then(|| text.to_owned()))
    }

    fn unless_limit(&mut self, limit: Option<i64>) -> i64 {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            self.0.push(FieldError::new("limit", format!("must be from 1 to {MAX_LIMIT}")));
        }
        limit
    }

    fn finish(mut self, filter: Filter) -> Result<Filter, ApiError> {
        if filter.created_from.zip(filter.created_to).is_some_and(|(from, to)| to < from) {
            self.0.push(FieldError::new("created_to", "must not be before created_from"));
        }
        if self.0.is_empty() { Ok(filter) } else { Err(ApiError::validation(self.0)) }
    }
}

/// One page, made of the documents as they are stored.
pub(super) async fn page(read: &PgPool, listing: &Listing, filter: &Filter) -> Result<Response, ApiError> {
    let mut rows = store::list(read, listing, filter).await?;
    let asked = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > asked;
    rows.truncate(asked);
    let next = rows.last().filter(|_| has_more).map(|row| Cursor { created_at: row.created_at, id: row.id });

    let text =
        rows.iter().map(|row| row.document.len() + row.inner.as_ref().map_or(0, String::len) + 16).sum::<usize>();
    let mut body = String::with_capacity(text + 128);
    body.push_str("{\"data\":[");
    for (place, row) in rows.into_iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        body.push_str(&documents::spliced(row.document, row.inner.as_deref()));
    }
    body.push_str("],\"next_cursor\":");
    match next {
        Some(cursor) => body.extend(["\"", &cursor.encode(), "\""]),
        None => body.push_str("null"),
    }
    body.push_str(if has_more { ",\"has_more\":true}" } else { ",\"has_more\":false}" });
    Ok(documents::json(body).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nothing() -> OrderListParams {
        OrderListParams {
            state: None,
            customer_id: None,
            order_number: None,
            created_from: None,
            created_to: None,
            limit: None,
            cursor: None,
            consistency: None,
        }
    }

    #[test]
    fn every_wrong_parameter_is_named_at_once() {
        let wrong = OrderListParams {
            state: Some("EATEN".to_owned()),
            customer_id: Some("c".repeat(65)),
            order_number: Some(String::new()),
            created_from: Some("soon".to_owned()),
            created_to: Some("later".to_owned()),
            limit: Some(101),
            cursor: Some("garbage".to_owned()),
            consistency: None,
        };
        let error = wrong.parse().expect_err("all wrong");
        let fields = error.details["fields"].as_array().expect("a list");
        let names: Vec<_> = fields.iter().map(|field| field["field"].as_str().expect("a name")).collect();
        assert_eq!(names, ["state", "customer_id", "order_number", "created_from", "created_to", "cursor", "limit"]);
        assert_eq!(
            fields[0]["message"],
            json!("must be one of PENDING_PAYMENT, PAID, PROCESSING_IN_WAREHOUSE, SHIPPED, DELIVERED, CANCELLED")
        );
    }

    #[test]
    fn limits_hold_at_their_edges() {
        for (limit, fine) in [(0, false), (1, true), (100, true), (101, false), (-1, false), (i64::MAX, false)] {
            assert_eq!(OrderListParams { limit: Some(limit), ..nothing() }.parse().is_ok(), fine, "{limit}");
        }
        assert_eq!(nothing().parse().expect("fine").0.limit, DEFAULT_LIMIT);
    }

    #[test]
    fn a_period_that_ends_before_it_begins_is_refused() {
        let period = |from: &str, to: &str| OrderListParams {
            created_from: Some(from.to_owned()),
            created_to: Some(to.to_owned()),
            ..nothing()
        };
        assert!(period("2026-01-31", "2026-01-31").parse().is_ok(), "one day");
        assert!(period("2026-01-31", "2026-01-30").parse().is_ok(), "an empty period, but not a reversed one");
        assert!(period("2026-01-31", "2026-01-29").parse().is_err());
    }
}
