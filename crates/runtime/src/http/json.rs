//! JSON bodies.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use serde_json::{Value, json};

use super::body::{self, Buffer, content_length};
use super::explain::{explain, without_position};
use super::request::RequestInfo;
use crate::config::HttpLimits;
use crate::error::{ApiError, FieldErrors};

/// A JSON body as a `T`. An empty body counts as `{}`.
///
/// Refusals: 413 `BODY_TOO_LARGE`, 415 `UNSUPPORTED_MEDIA_TYPE`, 400 `MALFORMED_JSON` with line and column, 422
/// `VALIDATION_FAILED` with the path of the field.
#[derive(Debug, Clone, Copy)]
pub struct ApiJson<T>(pub T);

/// The same, with what the client sent.
#[derive(Debug, Clone)]
pub struct ApiJsonSent<T> {
    pub body: T,
    pub sent: SentJson,
}

/// The text of a body that was parsed.
#[derive(Debug, Clone)]
pub struct SentJson {
    text: Bytes,
    _buffer: Option<Buffer>,
}

impl SentJson {
    /// The text without its accidents: equal for two texts that differ only in white space, in the order of members or in
    /// how characters are escaped. It does not depend on what the service knows of the body: a version that knows one
    /// field more makes the same of the same text.
    pub fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        let mut value: Value = serde_json::from_slice(&self.text)?;
        value.sort_all_objects();
        serde_json::to_vec(&value)
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        ApiJsonSent::from_request(request, state).await.map(|ApiJsonSent { body, .. }| Self(body))
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for ApiJsonSent<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let info = request.extensions().get::<RequestInfo>();
        let limit = info.map_or_else(|| HttpLimits::default().max_body_bytes, |info| info.max_body_bytes);
        let buffer = info.map(|info| info.buffers.reserve(content_length(request.headers()), limit)).transpose()?;
        let (parts, body) = request.into_parts();
        let bytes = body::read(body, limit).await?;
        check_content_type(&parts.headers, bytes.is_empty())?;
        let text = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
        Ok(Self { body: parse(&text)?, sent: SentJson { text, _buffer: buffer } })
    }
}

fn check_content_type(headers: &HeaderMap, empty: bool) -> Result<(), ApiError> {
    let accepted = match headers.get(header::CONTENT_TYPE) {
        None => empty,
        Some(value) => value.to_str().is_ok_and(is_json),
    };
    if accepted {
        return Ok(());
    }
    let message = "the body must be JSON, with the header Content-Type: application/json";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message)
        .with_details(json!({ "supported": ["application/json", "application/*+json"] })))
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    if may_contain_nul(text) {
        refuse_nul(text)?;
    }
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(refuse_list(text));
    }
    serde_json::from_slice(text).map_err(|error| match error.classify() {
        Category::Data => misfit::<T>(text, &error),
        // serde_json reports a number in place of an enum as a syntax error. Only text that is not JSON has a real one.
        Category::Syntax | Category::Eof | Category::Io => match serde_json::from_slice::<Value>(text) {
            Ok(_) => misfit::<T>(text, &error),
            Err(error) => malformed(&error),
        },
    })
}

/// serde accepts a list in place of a struct, field by field in the order of the code. No client should depend on that.
fn refuse_list(text: &[u8]) -> ApiError {
    match serde_json::from_slice::<IgnoredAny>(text) {
        Ok(_) => explain("", "must be an object, not a list").into(),
        Err(error) => malformed(&error),
    }
}

fn malformed(error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    let what = error.to_string();
    let message = format!("the body is not valid JSON: {} at line {line}, column {column}", without_position(&what));
    ApiError::new(StatusCode::BAD_REQUEST, "MALFORMED_JSON", message)
        .with_details(json!({ "line": line, "column": column }))
}

/// Finding the path costs an allocation per field, so only a body that has already failed is read this way.
fn misfit<T: DeserializeOwned>(text: &[u8], error: &serde_json::Error) -> ApiError {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let field = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Err(located) => explain(&located.path().to_string(), &located.inner().to_string()),
        Ok(_) => explain("", &error.to_string()),
    };
    field.into()
}

/// Whether the text contains U+0000, raw or as the escape `\u0000`. Looks at bytes only, because it runs for every body.
fn may_contain_nul(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = text[at..].iter().position(|byte| matches!(byte, b'\\' | 0)) {
        let rest = &text[at + found..];
        if rest[0] == 0 || rest.starts_with(br"\u0000") {
            return true;
        }
        // The character after a backslash belongs to it: `\\u0000` is a backslash and five letters.
        at = (at + found + 2).min(text.len());
    }
    false
}

/// Postgres cannot store U+0000, so no text may contain it.
fn refuse_nul(text: &[u8]) -> Result<(), ApiError> {
    const MESSAGE: &str = "must not contain the character U+0000";
    if text.contains(&0) {
        return Err(explain("", MESSAGE).into());
    }
    let body: Value = serde_json::from_slice(text).map_err(|error| malformed(&error))?;
    let mut errors = FieldErrors::default();
    find_nul(&body, "", &mut |path| errors.add(path, MESSAGE));
    errors.finish()?;
    // It stood in a value that a later one of the same name replaced.
    Err(explain("", MESSAGE).into())
}

fn find_nul(value: &Value, path: &str, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) if text.contains('\0') => found(path),
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                find_nul(element, &format!("{path}[{index}]"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{}", name.replace('\0', "\u{FFFD}"));
                if name.contains('\0') {
                    found(&path);
                }
                find_nul(field, &path, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &'static str) -> String {
        let canonical =
            SentJson { text: Bytes::from_static(text.as_bytes()), _buffer: None }.canonical().expect("JSON");
        String::from_utf8(canonical).expect("JSON is UTF-8")
    }

    #[test]
    fn the_canonical_text_has_no_accidents() {
        let expected = r#"{"a":1,"b":{"c":"é","d":[2,1]}}"#;
        for text in [
            expected,
            r#"{ "b": { "d": [2, 1], "c": "\u00e9" }, "a": 1 }"#,
            "{\n\t\"a\": 1, \"b\": {\"c\": \"é\", \"d\": [2, 1]}}",
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn the_canonical_text_keeps_what_was_sent() {
        for other in [r#"{"a":1,"b":null}"#, r#"{"a":"1"}"#, r#"{"a":[2,1]}"#, r#"{"a":[1,2]}"#, "{}"] {
            assert_ne!(canonical(r#"{"a":1}"#), canonical(other), "{other}");
        }
    }
}
