//! Reading a body, up to a limit.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// How much of a body that is too large is read and discarded before the answer. When a server closes a connection
/// with unread input, the kernel resets it, and the client never sees the 413.
const DRAIN_BYTES: usize = 16 * 1024 * 1024;
const DRAIN_AT_MOST: Duration = Duration::from_secs(5);

/// Bodies above this size count against the bytes that are read at a time.
const SMALL_BYTES: usize = 64 * 1024;

/// The bytes of bodies that may be read at a time. Slow clients with large bodies cannot take all of the memory.
#[derive(Clone, Debug)]
pub(super) struct Buffers(Arc<Semaphore>);

/// A part of them, until it is dropped.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Buffers {
    /// At least one body of the largest size fits.
    pub(super) fn new(bytes: usize, largest: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.max(largest).min(Semaphore::MAX_PERMITS))))
    }

    /// Room for a body of this length, or of any length up to the limit.
    ///
    /// # Errors
    /// 503 when others have taken it.
    pub(super) fn reserve(&self, length: Option<u64>, limit: usize) -> Result<Buffer, ApiError> {
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(limit).min(limit);
        if length <= SMALL_BYTES {
            return Ok(Buffer { _permit: None });
        }
        let permit = self.0.clone().try_acquire_many_owned(u32::try_from(length).unwrap_or(u32::MAX));
        permit.map(|permit| Buffer { _permit: Some(Arc::new(permit)) }).map_err(|_| overloaded("large bodies"))
    }
}

/// 503: there is too much to do already. Nothing was done for this request.
pub(super) fn overloaded(with: &str) -> ApiError {
    let message = format!("the service is busy with other {with}; nothing was done, try again in a second");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED", message)
}

/// 413, once the client has had the chance to finish sending.
pub(super) async fn refuse(body: Body, headers: &HeaderMap, limit: usize) -> ApiError {
    // A client that waits for `100 Continue` has sent nothing yet, and will not after this answer.
    if !headers.contains_key(header::EXPECT) {
        drain(body).await;
    }
    too_large(limit)
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body, or 413 when it is longer than `limit` bytes.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut frames = body.into_data_stream();
    // Almost every body arrives in one piece, which needs no copy.
    let Some(first) = frames.next().await.transpose().map_err(|error| unreadable(&error))? else {
        return Ok(Bytes::new());
    };
    if first.len() > limit {
        drain(Body::from_stream(frames)).await;
        return Err(too_large(limit));
    }
    let Some(second) = frames.next().await else { return Ok(first) };
    let mut whole = Vec::with_capacity((first.len() * 2).min(limit));
    whole.extend_from_slice(&first);
    let mut next = Some(second);
    while let Some(frame) = next {
        let frame = frame.map_err(|error| unreadable(&error))?;
        if whole.len() + frame.len() > limit {
            drain(Body::from_stream(frames)).await;
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&frame);
        next = frames.next().await;
    }
    Ok(whole.into())
}

async fn drain(body: Body) {
    let mut frames = body.into_data_stream();
    let read_on = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = frames.next().await {
            seen += frame.len();
            if seen > DRAIN_BYTES {
                break;
            }
        }
    };
    // The answer is sent in any case; a client that sends more slowly than this may not see it.
    let _ = tokio::time::timeout(DRAIN_AT_MOST, read_on).await;
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "BODY_TOO_LARGE",
        format!("the body is larger than the limit of {limit} bytes"),
    )
    .with_details(json!({ "limit_bytes": limit }))
}

fn unreadable(error: &axum::Error) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "BODY_INCOMPLETE", format!("the body could not be read to its end: {error}"))
}
