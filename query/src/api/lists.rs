//! Lists: their query parameters, and one page of stored documents.

use axum::response::{IntoResponse, Response};
use contracts::{OrderDocument, OrderState, RefundDocument, RefundStatus, ReturnDocument, ReturnState};
use runtime::ApiError;
use serde::Deserialize;
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::cursor::Cursor;
use super::parameters::Parameters;
use super::store::{self, Filter, Listing};
use super::{dates, documents};

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;
/// The limits of the command service; nothing longer can exist.
const MAX_CUSTOMER_ID: usize = 64;
const MAX_ORDER_NUMBER: usize = 32;

/// One page of orders.
#[derive(Debug, Deserialize, ToSchema)]
pub struct OrderPage {
    /// At most `limit`, and fewer when they are longer than 4 MiB together.
    pub data: Vec<OrderDocument>,
    /// Send it as `cursor` to get the next page; null on the last page.
    pub next_cursor: Option<String>,
    pub has_more: bool,
}

/// One page of returns.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ReturnPage {
    /// At most `limit`, and fewer when they are longer than 4 MiB together.
    pub data: Vec<ReturnDocument>,
    /// Send it as `cursor` to get the next page; null on the last page.
    pub next_cursor: Option<String>,
    pub has_more: bool,
}

/// One page of refunds.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RefundPage {
    /// At most `limit`, and fewer when they are longer than 4 MiB together.
    pub data: Vec<RefundDocument>,
    /// Send it as `cursor` to get the next page; null on the last page.
    pub next_cursor: Option<String>,
    pub has_more: bool,
}

/// The query parameters of the list of orders; others are refused.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OrderListParams {
    #[param(value_type = Option<contracts::schema::OrderState>)]
    state: Option<String>,
    #[param(min_length = 1, max_length = 64)]
    customer_id: Option<String>,
    #[param(min_length = 1, max_length = 32)]
    order_number: Option<String>,
    /// Created at or after this time: RFC 3339, or a date `YYYY-MM-DD`, which means its first moment in Asia/Kolkata.
    #[param(schema_with = dates::time_or_day)]
    created_from: Option<String>,
    /// Created before this time: RFC 3339, or a date `YYYY-MM-DD`, which includes that whole day in Asia/Kolkata.
    #[param(schema_with = dates::time_or_day)]
    created_to: Option<String>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the previous page. Send it with the same filters.
    cursor: Option<String>,
    /// Consistency tokens, as the commands answered them in `X-Consistency-Token`, separated by commas, at most 20. The header of that name
    /// means the same. The response shows at least these versions.
    consistency: Option<String>,
}

/// The query parameters of the list of returns; others are refused.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReturnListParams {
    #[param(value_type = Option<contracts::schema::ReturnState>)]
    state: Option<String>,
    #[param(value_type = Option<Uuid>)]
    order_id: Option<String>,
    #[param(min_length = 1, max_length = 64)]
    customer_id: Option<String>,
    #[param(min_length = 1, max_length = 32)]
    order_number: Option<String>,
    /// Requested at or after this time: RFC 3339, or a date `YYYY-MM-DD`, which means its first moment in Asia/Kolkata.
    #[param(schema_with = dates::time_or_day)]
    created_from: Option<String>,
    /// Requested before this time: RFC 3339, or a date `YYYY-MM-DD`, which includes that whole day in Asia/Kolkata.
    #[param(schema_with = dates::time_or_day)]
    created_to: Option<String>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the previous page. Send it with the same filters.
    cursor: Option<String>,
    /// Consistency tokens, as the commands answered them in `X-Consistency-Token`, separated by commas, at most 20. The header of that name
    /// means the same. The response shows at least these versions.
    consistency: Option<String>,
}

/// The query parameters of the list of refunds; others are refused.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RefundListParams {
    #[param(value_type = Option<contracts::schema::RefundStatus>)]
    status: Option<String>,
    #[param(value_type = Option<Uuid>)]
    order_id: Option<String>,
    /// Created at or after this time: RFC 3339, or a date `YYYY-MM-DD`, which means its first moment in Asia/Kolkata.
    #[param(schema_with = dates::time_or_day)]
    created_from: Option<String>,
    /// Created before this time: RFC 3339, or a date `YYYY-MM-DD`, which includes that whole day in Asia/Kolkata.
    #[param(schema_with = dates::time_or_day)]
    created_to: Option<String>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the previous page. Send it with the same filters.
    cursor: Option<String>,
    /// Consistency tokens, as the commands answered them in `X-Consistency-Token`, separated by commas, at most 20. The header of that name
    /// means the same. The response shows at least these versions.
    consistency: Option<String>,
}

impl OrderListParams {
    /// The filter and the consistency tokens; 422 with every parameter that is wrong.
    pub(super) fn parse(self) -> Result<(Filter, Option<String>), ApiError> {
        let mut parameters = Parameters::default();
        let filter = Filter {
            owner: None,
            state: parameters
                .one_of("state", self.state.as_deref(), &OrderState::ALL, OrderState::as_str)
                .map(OrderState::as_str),
            order_id: None,
            customer_id: parameters.text("customer_id", self.customer_id.as_deref(), MAX_CUSTOMER_ID),
            order_number: parameters.text("order_number", self.order_number.as_deref(), MAX_ORDER_NUMBER),
            ..shared(&mut parameters, [&self.created_from, &self.created_to, &self.cursor], self.limit)
        };
        parameters.finish()?;
        Ok((filter, self.consistency))
    }
}

impl ReturnListParams {
    /// As [`OrderListParams::parse`].
    pub(super) fn parse(self) -> Result<(Filter, Option<String>), ApiError> {
        let mut parameters = Parameters::default();
        let filter = Filter {
            owner: None,
            state: parameters
                .one_of("state", self.state.as_deref(), &ReturnState::ALL, ReturnState::as_str)
                .map(ReturnState::as_str),
            order_id: parameters
                .parse("order_id", self.order_id.as_deref(), "must be a UUID", |text| Uuid::try_parse(text).ok()),
            customer_id: parameters.text("customer_id", self.customer_id.as_deref(), MAX_CUSTOMER_ID),
            order_number: parameters.text("order_number", self.order_number.as_deref(), MAX_ORDER_NUMBER),
            ..shared(&mut parameters, [&self.created_from, &self.created_to, &self.cursor], self.limit)
        };
        parameters.finish()?;
        Ok((filter, self.consistency))
    }
}

impl RefundListParams {
    /// As [`OrderListParams::parse`].
    pub(super) fn parse(self) -> Result<(Filter, Option<String>), ApiError> {
        let mut parameters = Parameters::default();
        let filter = Filter {
            owner: None,
            state: parameters
                .one_of("status", self.status.as_deref(), &RefundStatus::ALL, RefundStatus::as_str)
                .map(RefundStatus::as_str),
            order_id: parameters
                .parse("order_id", self.order_id.as_deref(), "must be a UUID", |text| Uuid::try_parse(text).ok()),
            ..shared(&mut parameters, [&self.created_from, &self.created_to, &self.cursor], self.limit)
        };
        parameters.finish()?;
        Ok((filter, self.consistency))
    }
}

/// The part of the filter that all lists have.
fn shared(parameters: &mut Parameters, [from, to, cursor]: [&Option<String>; 3], limit: Option<i64>) -> Filter {
    let created_from = parameters.parse("created_from", from.as_deref(), dates::EXPECTED, dates::parse_from);
    let created_to = parameters.parse("created_to", to.as_deref(), dates::EXPECTED, dates::parse_to);
    if created_from.zip(created_to).is_some_and(|(from, to)| to < from) {
        parameters.reject("created_to", "must not be before created_from");
    }
    let after =
        parameters.parse("cursor", cursor.as_deref(), "must be the next_cursor of a previous page", Cursor::decode);
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        parameters.reject("limit", format!("must be from 1 to {MAX_LIMIT}"));
    }
    Filter { created_from, created_to, after, limit, ..Filter::default() }
}

/// One page, assembled from the stored text of the documents.
pub(super) async fn page(read: &PgPool, listing: &Listing, filter: &Filter) -> Result<Response, ApiError> {
    let mut rows = store::list(read, listing, filter).await?;
    let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let found = rows.first().and_then(|row| usize::try_from(row.found).ok()).unwrap_or(0);
    rows.truncate(limit);
    let has_more = rows.len() < found;
    let next = rows.last().filter(|_| has_more).map(|row| Cursor { created_at: row.created_at, id: row.id });

    let text =
        rows.iter().map(|row| row.document.len() + row.inner.as_ref().map_or(0, String::len) + 16).sum::<usize>();
    let mut body = String::with_capacity(text + 128);
    body.push_str("{\"data\":[");
    for (place, row) in rows.into_iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        body.push_str(&documents::with_members(row.document, row.inner.as_deref()));
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
            assert_eq!(
                OrderListParams { limit: Some(limit), ..OrderListParams::default() }.parse().is_ok(),
                fine,
                "{limit}"
            );
        }
        assert_eq!(OrderListParams::default().parse().expect("fine").0.limit, DEFAULT_LIMIT);
    }

    #[test]
    fn a_period_that_ends_before_it_begins_is_refused() {
        let period = |from: &str, to: &str| OrderListParams {
            created_from: Some(from.to_owned()),
            created_to: Some(to.to_owned()),
            ..OrderListParams::default()
        };
        assert!(period("2026-01-31", "2026-01-31").parse().is_ok(), "one day");
        assert!(
            period("2026-01-31", "2026-01-30").parse().is_ok(),
            "an empty period is accepted, a reversed one is not"
        );
        assert!(period("2026-01-31", "2026-01-29").parse().is_err());
    }
}
