//! `GET /`: a page with links to all parts of the system.

use axum::Router;
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};

/// Names and addresses, for the page and for the banner at start.
pub fn places(base_url: &str, gateway_url: &str) -> [(&'static str, String); 8] {
    [
        ("Commands and queries", format!("{base_url}/api/v1")),
        ("Console", format!("{base_url}/console")),
        ("Operators", format!("{base_url}/api/v1/ops/status")),
        ("API documentation", format!("{base_url}/docs")),
        ("Health", format!("{base_url}/health")),
        ("Readiness", format!("{base_url}/health/ready")),
        ("Metrics", format!("{base_url}/metrics")),
        ("Payment gateway (mock)", format!("{gateway_url}/refunds")),
    ]
}

pub(crate) fn routes(base_url: &str, gateway_url: &str) -> Router {
    let page = page(&places(base_url, gateway_url));
    Router::new().route("/", get(|| async { page }))
}

fn page(places: &[(&str, String)]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "ArtiCurated" }
                style { "body{font:16px/1.6 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem;color:#2b2320}"
                    "h1{font-weight:600}dt{color:#8a5a44}dd{margin:0 0 .8rem}a{color:inherit}" }
            }
            body {
                h1 { "ArtiCurated: orders and returns" }
                dl {
                    @for (what, url) in places {
                        dt { (what) }
                        dd { a href=(url) { (url) } }
                    }
                }
            }
        }
    }
}
