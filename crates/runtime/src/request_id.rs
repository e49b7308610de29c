//! The id under which a request is answered, logged and passed on.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};

use crate::clock::Ids;

/// Taken from the client or made, echoed on every answer, logged, and passed on to what the request causes.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
const MAX_LENGTH: usize = 128;

tokio::task_local! {
    pub(crate) static REQUEST_ID: RequestId;
}

/// The id of the request that this task is answering. Tasks spawned by a handler do not inherit it.
pub fn current_request_id() -> Option<RequestId> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    text: Arc<str>,
}

impl RequestId {
    /// The client's id if it can be echoed and logged unchanged; otherwise a new one.
    pub(crate) fn of(headers: &HeaderMap, ids: &Ids) -> Self {
        let given = headers.get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
        match given {
            Some(text) if is_acceptable(text) => Self { text: text.into() },
            _ => Self { text: Arc::from(&*ids.next().as_hyphenated().encode_lower(&mut [0; 36])) },
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.text).expect("visible ASCII")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_acceptable(text: &str) -> bool {
    (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
