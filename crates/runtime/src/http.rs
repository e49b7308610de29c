//! The HTTP middleware (what happens to every request before and after its handler), the extractors that answer in
//! the error shape, and the server.

mod serve;
pub mod accept;
mod connections;
mod middleware;
mod protect;
mod request;
mod json;
mod query;
mod body;
mod pdf;
mod explain;

pub use json::{ApiJson, ApiJsonSent, SentJson, parse as parse_json};
pub use middleware::layered;
pub use pdf::pdf_headers;
pub use query::ApiQuery;
pub use request::{ACTOR_HEADER, RequestContext, client_address};
pub use serve::{bind, serve};

pub use crate::request_id::{REQUEST_ID_HEADER, RequestId, current_request_id};
