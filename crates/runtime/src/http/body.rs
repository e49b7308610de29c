//! Reading a body, up to a limit.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use serde_json::json;

use crate::error::ApiError;

/// How much of a body that is too large is read and discarded before the answer. When a server closes a connection
/// with unread input, the kernel resets it, and the client never sees the 413.
const DRAIN_BYTES: usize = 16 * 1024 * 1024;
const DRAIN_AT_MOST: Duration = Duration::from_secs(5);

/// 413, once the client has had the chance to finish sending.
pub(super) async fn refuse(body: Body, headers: &HeaderMap, limit: usize) -> ApiError {
    // A client that waits for `100 Continue` has sent nothing yet, and will not after this answer.
    if !headers.contains_key(header::EXPECT) {
        drain(body).await;
    }
    too_large(limit)
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
