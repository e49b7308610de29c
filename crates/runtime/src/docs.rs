//! Swagger UI at `/docs`, and the codes of errors at `/docs/errors`. All of it is in the binary, so it works without a network.

use std::fmt::Write;

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use utoipa_swagger_ui::{Config, SwaggerUi};

const PATH: &str = "/api-docs/openapi.yml";
/// The codes of errors, as a page for people who read the sources.
const ERRORS: &str = include_str!("../../../docs/errors.md");

/// `GET /docs`, and the OpenAPI text that it shows.
pub fn routes(specification: &'static str) -> Router {
    let page = SwaggerUi::new("/docs").config(Config::from(PATH).validator_url("none"));
    Router::from(page)
        .route(PATH, get(move || async move { ([(header::CONTENT_TYPE, "application/yaml")], specification) }))
        .route("/docs/errors", get(|| async { Html(errors()) }))
}

/// The same as a page of which each code is an anchor. The text has headings, paragraphs, `code` and one block of JSON.
fn errors() -> String {
    let style = "body{font:16px/1.5 system-ui;max-width:46rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}\
                 h3{margin-bottom:0;font-family:monospace}h3:target{background:Highlight;color:HighlightText}pre{overflow:auto}";
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Errors</title><style>{style}</style></head><body>"
    );
    for block in ERRORS.split("\n\n").map(str::trim) {
        let _infallible = if let Some(code) = block.strip_prefix("### ") {
            write!(page, "<h3 id=\"{code}\">{code}</h3>")
        } else if let Some(title) = block.strip_prefix("## ") {
            write!(page, "<h2>{title}</h2>")
        } else if let Some(title) = block.strip_prefix("# ") {
            write!(page, "<h1>{title}</h1>")
        } else if let Some(json) = block.strip_prefix("```json") {
            write!(page, "<pre><code>{}</code></pre>", json.trim_end_matches("```").trim())
        } else {
            let parts = block.split('`').enumerate();
            let parts =
                parts.map(|(n, part)| if n % 2 == 0 { part.to_owned() } else { format!("<code>{part}</code>") });
            write!(page, "<p>{}</p>", parts.collect::<String>())
        };
    }
    page + "</body></html>"
}

/// Whether a code is explained.
pub fn explains(code: &str) -> bool {
    ERRORS.lines().any(|line| line.strip_prefix("### ") == Some(code))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn get(path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = routes("openapi: 3.1.0").oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn the_page_and_all_it_loads_come_from_here() {
        assert_eq!(get("/docs").await.0, 303);
        let (status, page) = get("/docs/").await;
        assert_eq!(status, 200);
        assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
        assert_eq!(get("/docs/swagger-ui-bundle.js").await.0, 200);
        assert!(get("/docs/swagger-initializer.js").await.1.contains(PATH));
        assert_eq!(get(PATH).await.1, "openapi: 3.1.0");
        let (status, errors) = get("/docs/errors").await;
        assert_eq!(status, 200);
        assert!(errors.contains("<h3 id=\"ORDER_NOT_FOUND\">ORDER_NOT_FOUND</h3><p>404. "), "{errors}");
        assert!(errors.contains("<code>If-Match</code>") && !errors.contains('`'), "{errors}");
    }
}
