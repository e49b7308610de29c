//! The parameters that all lists share, and how a list's query string is read.

use axum::http::Uri;
use runtime::ApiError;
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, PartialSchema};
use uuid::Uuid;

use super::select::{Filter, Walk};
use super::shape::Shape;
use crate::api::cursor::Cursor;
use crate::api::dates;
use crate::api::parameters::Parameters;

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;
const MAX_EMAIL: usize = 254;
const MAX_SEARCH: usize = 200;

/// The parameters of every list of what changes.
#[expect(dead_code, reason = "read by utoipa only")]
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ListParams {
    /// Created at or after this time: RFC 3339, or a date `YYYY-MM-DD`, which means its first moment in Asia/Kolkata.
    #[param(schema_with = dates::time_or_day)]
    created_from: Option<String>,
    /// Created before this time: RFC 3339, or a date `YYYY-MM-DD`, which includes that whole day in Asia/Kolkata.
    #[param(schema_with = dates::time_or_day)]
    created_to: Option<String>,
    /// Changed for the last time at or after this time. Read as `created_from`.
    #[param(schema_with = dates::time_or_day)]
    updated_from: Option<String>,
    /// Changed for the last time before this time. Read as `created_to`.
    #[param(schema_with = dates::time_or_day)]
    updated_to: Option<String>,
    /// The order of the list; `-` puts the newest first.
    #[param(schema_with = sort_of_changing)]
    sort: Option<String>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` or `prev_cursor` of another page. It is of a list with the same filters and the same order.
    cursor: Option<String>,
    /// `summary` shows the members that a table of orders, returns or refunds needs. Not together with `fields`.
    #[param(schema_with = view)]
    view: Option<String>,
    /// Whether the answer has `total`.
    total: Option<bool>,
    /// Consistency tokens, as the commands answered them in `X-Consistency-Token`, separated by commas, at most 20. The header of that name
    /// means the same. The response shows at least these versions.
    consistency: Option<String>,
}

/// The parameters of every list of what is issued once.
#[expect(dead_code, reason = "read by utoipa only")]
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct IssuedListParams {
    /// The order of the list; `-` puts the newest first.
    #[param(schema_with = sort_of_issued)]
    sort: Option<String>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` or `prev_cursor` of another page. It is of a list with the same filters and the same order.
    cursor: Option<String>,
    /// `summary` shows the members that a table of documents needs.
    #[param(schema_with = view)]
    view: Option<String>,
    /// Whether the answer has `total`.
    total: Option<bool>,
    /// Consistency tokens, as the commands answered them in `X-Consistency-Token`, separated by commas, at most 20. The header of that name
    /// means the same. The response shows at least these versions.
    consistency: Option<String>,
}

/// By what a list is sorted. Rows of the same time are sorted by their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct Sort {
    name: &'static str,
    pub(super) column: &'static str,
    /// The newest comes first.
    pub(super) descends: bool,
}

const fn sort(name: &'static str, column: &'static str, descends: bool) -> Sort {
    Sort { name, column, descends }
}

const CHANGING: [Sort; 4] = [
    sort("-created_at", "created_at", true),
    sort("created_at", "created_at", false),
    sort("-updated_at", "updated_at", true),
    sort("updated_at", "updated_at", false),
];
const ISSUED: [Sort; 2] = [sort("-issued_at", "created_at", true), sort("issued_at", "created_at", false)];

fn sort_of_changing() -> Schema {
    words(&CHANGING.map(|sort| sort.name))
}

fn sort_of_issued() -> Schema {
    words(&ISSUED.map(|sort| sort.name))
}

fn view() -> Schema {
    words(&["full", "summary"])
}

/// One of these words; the first one is the default.
fn words(all: &[&'static str]) -> Schema {
    let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(all.iter().copied()));
    schema.default(all.first().map(|first| json!(first))).into()
}

/// What the client asks for.
#[derive(Debug)]
pub(in crate::api) struct ListRequest {
    pub(in crate::api) filter: Filter,
    pub(in crate::api) walk: Walk,
    pub(in crate::api) shape: Shape,
    /// Of the filters and the order, for the cursors.
    pub(super) list: [u8; 8],
    /// Whether to count all that match.
    pub(super) total: bool,
    pub(in crate::api) consistency: Option<String>,
}

/// Reads a list's query string, parameter by parameter.
#[derive(Debug)]
pub(super) struct Reader {
    list: &'static str,
    parameters: Parameters,
    filter: Filter,
    sorts: &'static [Sort],
}

impl Reader {
    pub(super) fn of<P: Known>(list: &'static str, uri: &Uri) -> Self {
        let parameters = Parameters::read(uri, &P::names());
        Self { list, parameters, filter: Filter::default(), sorts: &CHANGING }
    }

    /// One value or several, separated by commas.
    pub(super) fn states<T: Copy>(&mut self, name: &str, all: &[T], word: fn(T) -> &'static str) {
        let expected =
            format!("must be one or several of {}", all.iter().map(|one| word(*one)).collect::<Vec<_>>().join(", "));
        let known = |text: &str| all.iter().map(|one| word(*one)).find(|known| *known == text.trim());
        let mut states =
            self.parameters.take(name, &expected, |text| text.split(',').map(known).collect::<Option<Vec<_>>>());
        if let Some(states) = &mut states {
            states.sort_unstable();
            states.dedup();
        }
        self.filter.states = states.unwrap_or_default();
    }

    pub(super) fn one_of<T: Copy>(&mut self, name: &'static str, all: &[T], word: fn(T) -> &'static str) {
        let given = self.parameters.given(name).map(str::to_owned);
        if let Some(one) = self.parameters.one_of(name, given.as_deref(), all, word) {
            self.filter.texts.push((name, word(one).to_owned()));
        }
    }

    pub(super) fn text(&mut self, name: &'static str, max_length: usize) {
        if let Some(text) = self.parameters.text(name, max_length) {
            self.filter.texts.push((name, text));
        }
    }

    pub(super) fn email(&mut self) {
        if let Some(email) = self.parameters.text("email", MAX_EMAIL) {
            self.filter.texts.push(("email", email.to_lowercase()));
        }
    }

    pub(super) fn sku(&mut self, max_length: usize) {
        self.filter.sku = self.parameters.text("sku", max_length);
    }

    pub(super) fn search(&mut self) {
        self.filter.search = self.parameters.text("q", MAX_SEARCH);
    }

    pub(super) fn id(&mut self, name: &'static str) {
        if let Some(id) = self.parameters.take(name, "must be a UUID", |text| Uuid::try_parse(text).ok()) {
            self.filter.ids.push((name, id));
        }
    }

    pub(super) fn times(&mut self) {
        self.period("created_at", "created_from", "created_to");
        self.period("updated_at", "updated_from", "updated_to");
    }

    pub(super) fn issued(&mut self) {
        self.sorts = &ISSUED;
        self.period("created_at", "issued_from", "issued_to");
    }

    fn period(&mut self, column: &'static str, from: &'static str, to: &'static str) {
        let start = self.parameters.take(from, dates::EXPECTED, dates::parse_from);
        let end = self.parameters.take(to, dates::EXPECTED, dates::parse_to);
        if start.zip(end).is_some_and(|(start, end)| end < start) {
            self.parameters.reject(to, format!("must not be before {from}"));
        }
        self.filter.from.extend(start.map(|start| (column, start)));
        self.filter.to.extend(end.map(|end| (column, end)));
    }

    /// 422 with every parameter that is wrong.
    pub(super) fn finish<T: PartialSchema>(mut self, summary: &[&str]) -> Result<ListRequest, ApiError> {
        let sort = self.parameters.given("sort").map(str::to_owned);
        let sort =
            self.parameters.one_of("sort", sort.as_deref(), self.sorts, |sort| sort.name).unwrap_or(self.sorts[0]);
        let list = self.fingerprint(sort);
        let limit = self.parameters.take("limit", &format!("must be a whole number from 1 to {MAX_LIMIT}"), |text| {
            text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit))
        });
        let from =
            self.parameters.take("cursor", "must be the next_cursor or prev_cursor of another page", Cursor::decode);
        if from.is_some_and(|cursor| cursor.list != list) {
            self.parameters.reject("cursor", "is of another list: send it with the filters and the sort of its page");
        }
        let shape = Shape::read::<T>(&mut self.parameters, summary);
        let total = self.parameters.take("total", "must be true or false", |text| text.parse().ok()).unwrap_or(false);
        let consistency = self.parameters.given("consistency").map(str::to_owned);
        self.parameters.finish()?;
        let walk = Walk { sort, from, limit: limit.unwrap_or(DEFAULT_LIMIT) };
        Ok(ListRequest { filter: self.filter, walk, shape, list, total, consistency })
    }

    /// Tells lists apart: those with other filters or another order.
    fn fingerprint(&self, sort: Sort) -> [u8; 8] {
        let digest = Sha256::digest(format!("{} {:?} {}", self.list, self.filter, sort.name));
        let mut start = [0; 8];
        start.copy_from_slice(&digest[..8]);
        start
    }
}

/// The parameters that a list knows.
pub(super) trait Known {
    fn names() -> Vec<String>;
}

impl<A: IntoParams, B: IntoParams> Known for (A, B) {
    fn names() -> Vec<String> {
        let all = [A::into_params, B::into_params].into_iter();
        all.flat_map(|params| params(|| Some(ParameterIn::Query))).map(|parameter: Parameter| parameter.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::api::lists::filters;

    fn orders(query: &str) -> Result<ListRequest, ApiError> {
        filters::orders(&format!("/orders?{query}").parse().expect("a URI"))
    }

    fn fields(error: &ApiError) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let fields = error.details["fields"].as_array().expect("a list");
        fields.iter().map(|field| (text(&field["field"]), text(&field["message"]))).collect()
    }

    #[test]
    fn every_wrong_parameter_is_named_at_once() {
        let long = "c".repeat(65);
        let wrong = format!(
            "state=PAID,EATEN&customer_id={long}&order_number=&created_from=soon&created_to=later&limit=101&cursor=garbage&sort=price\
             &colour=red&total=maybe&view=tiny&q=&sku=x&sku=y"
        );
        let fields = fields(&orders(&wrong).expect_err("all wrong"));
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "colour",
                "sku",
                "state",
                "customer_id",
                "order_number",
                "q",
                "created_from",
                "created_to",
                "sort",
                "limit",
                "cursor",
                "view",
                "total",
            ]
        );
        let message = |name: &str| fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str());
        assert_eq!(
            message("state"),
            Some(
                "must be one or several of PENDING_PAYMENT, PAID, PROCESSING_IN_WAREHOUSE, SHIPPED, DELIVERED, CANCELLED"
            )
        );
        assert!(message("colour").is_some_and(|message| message.contains("known are state, customer_id, email,")));
    }

    #[test]
    fn limits_hold_at_their_edges() {
        for (limit, fine) in [("0", false), ("1", true), ("100", true), ("101", false), ("-1", false), ("1.5", false)] {
            assert_eq!(orders(&format!("limit={limit}")).is_ok(), fine, "{limit}");
        }
        assert_eq!(orders("").expect("fine").walk.limit, DEFAULT_LIMIT);
    }

    #[test]
    fn a_period_that_ends_before_it_begins_is_refused() {
        let period = |from: &str, to: &str| orders(&format!("created_from={from}&created_to={to}"));
        assert!(period("2026-01-31", "2026-01-31").is_ok(), "one day");
        assert!(period("2026-01-31", "2026-01-30").is_ok(), "an empty period is accepted, a reversed one is not");
        assert!(period("2026-01-31", "2026-01-29").is_err());
    }

    #[test]
    fn a_cursor_is_of_one_list() {
        let list = orders("state=PAID").expect("fine").list;
        for (query, same) in [
            ("state=PAID", true),
            ("state=PAID&limit=3&view=summary", true),
            ("state=PAID,PAID", true),
            ("state=PAID&sort=-created_at", true),
            ("state=SHIPPED", false),
            ("state=PAID&sort=created_at", false),
            ("", false),
        ] {
            assert_eq!(orders(query).expect("fine").list == list, same, "{query}");
        }
    }
}
