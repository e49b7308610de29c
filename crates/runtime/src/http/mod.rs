//! The HTTP edge: what happens to every request before and after its handler, the extractors that answer in the
//! error shape, and the server.

mod body;
mod edge;
mod explain;
mod json;
mod query;
mod request;
mod serve;

pub use edge::layered;
pub use json::ApiJson;
pub use query::ApiQuery;
pub use request::{RequestContext, RequestId, current_request_id};
pub use serve::{bind, serve};
