//! Reads parts of requests, and events, without network or database, for the targets in `fuzz/`.

use access::ConsistencyKey;
use axum::http::HeaderMap;
use messaging::inbox::Job;

use crate::api::{Cursor, Tokens};
use crate::projector::batch::Batch;

/// The cursor that this text is, written again.
pub fn cursor(text: &str) -> Option<String> {
    Cursor::decode(text).map(Cursor::encode)
}

/// Of how many orders, returns and refunds the tokens of a request are; `None`: they are refused.
pub fn consistency_tokens(key: &ConsistencyKey, headers: &HeaderMap, parameter: Option<&str>) -> Option<usize> {
    Tokens::parse(key, headers, parameter).map(|tokens| tokens.len()).ok()
}

/// Whether the projector can read the event of a job.
pub fn is_readable(job: &Job) -> bool {
    Batch::decode_with(std::slice::from_ref(job), |_| false).1.is_empty()
}
