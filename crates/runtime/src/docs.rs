//! Swagger UI at `/docs`. Its files are in the binary, so it works without a network.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use utoipa_swagger_ui::{Config, SwaggerUi};

const SPECIFICATION: &str = include_str!("../../../API-SPECIFICATION.yml");
const SPECIFICATION_PATH: &str = "/api-docs/openapi.yml";

/// `GET /docs` and the specification it reads.
pub fn routes() -> Router {
    let page = SwaggerUi::new("/docs").config(Config::from(SPECIFICATION_PATH).validator_url("none"));
    Router::from(page)
        .route(SPECIFICATION_PATH, get(|| async { ([(header::CONTENT_TYPE, "application/yaml")], SPECIFICATION) }))
}
