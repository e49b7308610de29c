//! Operations that are to go. A line here announces one in each of its answers (`Deprecation`, RFC 9745; `Sunset`, RFC 8594) and in the
//! API's description; `docs/api.md` has the rule.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

/// An operation that is to go.
#[derive(Debug)]
pub struct Deprecation {
    pub method: &'static str,
    pub route: &'static str,
    /// Since this day there is something better.
    pub since: NaiveDate,
    /// It answers until this day begins (UTC): at least six months later.
    pub sunset: NaiveDate,
    /// What to call in its place.
    pub instead: &'static str,
}

/// None yet.
pub static DEPRECATED: &[Deprecation] = &[];

/// Days between the announcement and the end.
pub const NOTICE_DAYS: i64 = 183;

/// What is known of an operation.
pub fn of(method: &str, route: &str) -> Option<&'static Deprecation> {
    find(DEPRECATED, method, route)
}

fn find(table: &'static [Deprecation], method: &str, route: &str) -> Option<&'static Deprecation> {
    let method = if method == "HEAD" { "GET" } else { method };
    table.iter().find(|one| one.method == method && one.route == route)
}

/// Announces what the table says in the answers of these routes.
pub(crate) fn announce(routes: Router, table: &'static [Deprecation]) -> Router {
    if table.is_empty() {
        return routes;
    }
    routes.route_layer(from_fn_with_state(table, announced))
}

async fn announced(State(table): State<&'static [Deprecation]>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    let deprecation = find(table, request.method().as_str(), route);
    let mut answer = next.run(request).await;
    for (name, value) in deprecation.map(Deprecation::headers).into_iter().flatten() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

fn begins(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

impl Deprecation {
    fn headers(&self) -> [(header::HeaderName, String); 3] {
        [
            (header::HeaderName::from_static("deprecation"), format!("@{}", begins(self.since).timestamp())),
            (
                header::HeaderName::from_static("sunset"),
                begins(self.sunset).format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
            ),
            (header::LINK, "</docs>; rel=\"deprecation\"; type=\"text/html\"".to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::HeaderMap;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::table;

    const fn day(year: i32, month: u32, day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(year, month, day).expect("a day")
    }

    static OLD: &[Deprecation] = &[Deprecation {
        method: "GET",
        route: "/things/{id}",
        since: day(2026, 1, 1),
        sunset: day(2026, 7, 15),
        instead: "GET /better-things/{id}",
    }];

    async fn headers(method: &str, path: &str) -> HeaderMap {
        let routes = Router::new()
            .route("/things/{id}", get(async || "a thing").post(async || "another"))
            .route("/better-things/{id}", get(async || "a better thing"));
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        announce(routes, OLD).oneshot(request).await.expect("an answer").headers().clone()
    }

    #[tokio::test]
    async fn an_operation_that_is_to_go_says_so_and_no_other_does() {
        let old = headers("GET", "/things/7").await;
        assert_eq!(headers("HEAD", "/things/7").await["deprecation"], old["deprecation"]);
        assert_eq!(old["deprecation"], "@1767225600");
        assert_eq!(old["sunset"], "Wed, 15 Jul 2026 00:00:00 GMT");
        assert_eq!(old["link"], "</docs>; rel=\"deprecation\"; type=\"text/html\"");
        for (method, path) in [("POST", "/things/7"), ("GET", "/better-things/7")] {
            let headers = headers(method, path).await;
            assert!(!headers.contains_key("deprecation") && !headers.contains_key("sunset"), "{method} {path}");
        }
    }

    #[test]
    fn each_is_an_operation_and_announced_in_time() {
        for one in DEPRECATED {
            assert!(table::of(one.method, one.route).is_some(), "{} {}", one.method, one.route);
            assert!((one.sunset - one.since).num_days() >= NOTICE_DAYS, "{}", one.route);
        }
        assert!((OLD[0].sunset - OLD[0].since).num_days() >= NOTICE_DAYS);
    }
}
