//! Swagger UI at `/docs`. Its files are in the binary, so it works without a network.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use utoipa_swagger_ui::{Config, SwaggerUi};

const PATH: &str = "/api-docs/openapi.yml";

/// `GET /docs`, and the OpenAPI text that it shows.
pub fn routes(specification: &'static str) -> Router {
    let page = SwaggerUi::new("/docs").config(Config::from(PATH).validator_url("none"));
    Router::from(page)
        .route(PATH, get(move || async move { ([(header::CONTENT_TYPE, "application/yaml")], specification) }))
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
    }
}
