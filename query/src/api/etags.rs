//! `ETag` and 304 for what has no version of its own: lists, histories, reports. The tag is a hash of the answer, so it saves its way and
//! not its making. Documents and PDFs have tags of their own, which save both.

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runtime::ApiError;
use sha2::{Digest, Sha256};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Required, ResponseBuilder};

use super::documents::client_has;

/// The longest answer that is hashed. Pages have at most 4 MiB, and some members around them.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of the hash that a tag has.
const TAG_BYTES: usize = 12;

/// Tags answers that are whole and have no tag yet.
pub(super) async fn tag(request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let headers = request.headers().clone();
    let answer = next.run(request).await;
    let is_plain = answer.status() == StatusCode::OK && !answer.headers().contains_key(header::ETAG);
    let length = answer.body().size_hint().exact();
    if !is_read || !is_plain || length.is_none_or(|length| length > MAX_BYTES) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let whole = match to_bytes(body, usize::MAX).await {
        Ok(whole) => whole,
        Err(error) => return ApiError::internal(error).into_response(),
    };
    let hash = Sha256::digest(&whole);
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash[..TAG_BYTES]));
    if client_has(&headers, &etag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    if let Ok(etag) = etag.parse() {
        parts.headers.insert(header::ETAG, etag);
    }
    Response::from_parts(parts, Body::from(whole))
}

/// Says so of every read whose description says nothing of tags yet.
pub(crate) fn describe(api: &mut OpenApi) {
    for operation in api.paths.paths.values_mut().filter_map(|item| item.get.as_mut()) {
        let answer = operation.responses.responses.get("200");
        let is_whole = matches!(answer, Some(RefOr::T(answer)) if answer.content.contains_key("application/json")
            && !answer.content.contains_key("text/event-stream") && !answer.headers.contains_key("etag"));
        if is_whole {
            describe_one(operation);
        }
    }
}

fn describe_one(operation: &mut Operation) {
    let text = || ObjectBuilder::new().schema_type(Type::String).build();
    let parameter = ParameterBuilder::new()
        .name("if-none-match")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The `ETag` of an earlier response."))
        .schema(Some(text()));
    operation.parameters.get_or_insert_with(Vec::new).push(RefOr::T(parameter.build()));
    let responses = &mut operation.responses.responses;
    if let Some(RefOr::T(answer)) = responses.get_mut("200") {
        let etag = HeaderBuilder::new().schema(Some(text())).description(Some("A hash of the answer."));
        answer.headers.insert("etag".to_owned(), etag.build().into());
    }
    let unchanged = ResponseBuilder::new().description("Unchanged.").build();
    responses.entry("304".to_owned()).or_insert(RefOr::T(unchanged));
}
