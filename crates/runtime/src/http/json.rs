//! JSON bodies.

mod objects;

use std::collections::VecDeque;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use objects::Objects;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny};
use serde_json::error::Category;
use serde_json::{Value, json};
use uuid::Uuid;

use super::body::{self, Buffer, content_length};
use super::explain::{self, explain, without_position};
use super::request::RequestInfo;
use crate::config::HttpLimits;
use crate::error::{ApiError, FieldError, FieldErrors};

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

/// A JSON text as a `T`.
///
/// # Errors
/// 400 `MALFORMED_JSON` with line and column, 422 `VALIDATION_FAILED` with the path of each field.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    if may_contain_nul(text) {
        refuse_nul(text)?;
    }
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(refuse_list(text));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = T::deserialize(Objects(&mut deserializer)).and_then(|body| deserializer.end().map(|()| body));
    read.map_err(|error| match error.classify() {
        Category::Data => misfit::<T>(text, &error),
        // serde_json reports a number in place of an enum as a syntax error. Only text that is not JSON has a real one.
        Category::Syntax | Category::Eof | Category::Io => match serde_json::from_slice::<Value>(text) {
            Ok(_) => misfit::<T>(text, &error),
            Err(error) => malformed(&error),
        },
    })
}

/// Every body is an object, also one of which any JSON would be read.
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

/// Bodies up to this length are searched for all of their faults; of a longer one the first is named.
const SEARCHED_BYTES: usize = 8 * 1024;
/// Faults of one body that are named.
const MOST_FAULTS: usize = 20;

/// Finding the path costs an allocation per field, so only a body that has already failed is read this way.
///
/// A reader stops at the first fault. To find the next one, the value at fault is replaced by one of another kind, until the fault is
/// gone or another one comes.
fn misfit<T: DeserializeOwned>(text: &[u8], error: &serde_json::Error) -> ApiError {
    let fault = |located: serde_path_to_error::Error<serde_json::Error>| {
        explain(&located.path().to_string(), &located.inner().to_string())
    };
    let of_text = || match located::<T, _>(&mut serde_json::Deserializer::from_slice(text)) {
        Err(located) => fault(located),
        Ok(_) => explain("", &error.to_string()),
    };
    let body = serde_json::from_slice::<Value>(text).ok().filter(|_| text.len() <= SEARCHED_BYTES);
    let Some(mut body) = body else { return of_text().into() };
    // The members of a value have an order of their own, and all faults must be found in one order. A value has also lost what only the
    // text shows: a member that is there twice.
    let Err(located) = located::<T, _>(&body) else { return of_text().into() };
    let mut faults = vec![fault(located)];
    while faults.len() < MOST_FAULTS {
        let next = faults.last().and_then(|fault| next_fault::<T>(&mut body, fault));
        match next {
            Some(next) if faults.iter().all(|known| known.field != next.field) => faults.push(next),
            _ => break,
        }
    }
    // What is missing in a value that was put in place of a wrong one, no client has left out.
    let told = faults.iter().filter(|fault| !faults.iter().any(|other| is_within(&fault.field, &other.field)));
    ApiError::validation(told.cloned().collect())
}

/// Whether a path leads into what another one leads to, as `items[0].sku` into `items[0]`.
fn is_within(path: &str, whole: &str) -> bool {
    !whole.is_empty() && path.strip_prefix(whole).is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// Reads with the path of the first fault.
fn located<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, serde_path_to_error::Error<D::Error>> {
    serde_path_to_error::deserialize(Objects(deserializer))
}

/// Mends a fault, and returns the next one. `None`: there is no other, or this one cannot be mended.
fn next_fault<T: DeserializeOwned>(body: &mut Value, fault: &FieldError) -> Option<FieldError> {
    let values = [json!(""), json!(1), json!(Uuid::nil()), json!([]), json!({}), json!(false), Value::Null];
    // Last: a member that is removed may be missed only at the end of its object, after other faults in it.
    let mut substitutes: VecDeque<Option<Value>> = values.into_iter().map(Some).chain([None]).collect();
    let mut choice = one_of(&fault.message);
    substitutes.extend(choice.clone().map(Some));
    while let Some(substitute) = substitutes.pop_front() {
        let mut mended = body.clone();
        if !replace(&mut mended, &fault.field, substitute) {
            continue;
        }
        let Err(located) = located::<T, _>(&mended) else { return None };
        let next = explain(&located.path().to_string(), &located.inner().to_string());
        if next.field != fault.field {
            *body = mended;
            return Some(next);
        }
        if choice.is_none() {
            choice = one_of(&next.message);
            substitutes.extend(choice.clone().map(Some));
        }
    }
    None
}

/// A value that would be taken, if the message of a fault names some.
fn one_of(message: &str) -> Option<Value> {
    message.strip_prefix(explain::ONE_OF)?.split(", ").next().map(|value| json!(value))
}

/// Puts another value in place of that at `path` (`items[0].quantity`), or removes it. False: there is no such place.
fn replace(body: &mut Value, path: &str, value: Option<Value>) -> bool {
    let mut place = body;
    let steps: Vec<&str> =
        path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty()).collect();
    let Some((last, parents)) = steps.split_last() else { return false };
    for step in parents {
        let next = match place {
            Value::Object(members) => members.get_mut(*step),
            Value::Array(elements) => step.parse::<usize>().ok().and_then(|index| elements.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return false };
        place = next;
    }
    match (place, value) {
        (Value::Object(members), Some(value)) => {
            members.insert((*last).to_owned(), value);
            true
        }
        (Value::Object(members), None) => members.remove(*last).is_some(),
        (Value::Array(elements), Some(value)) => {
            let element = last.parse::<usize>().ok().and_then(|index| elements.get_mut(index));
            element.map(|element| *element = value).is_some()
        }
        _ => false,
    }
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

    #[test]
    fn all_faults_are_named_at_once() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "it is only read into")]
        struct Order {
            number: String,
            items: Vec<Item>,
            #[serde(default)]
            note: Option<String>,
        }

        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "it is only read into")]
        struct Item {
            sku: String,
            quantity: i64,
            #[serde(default)]
            shape: Shape,
        }

        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(rename_all = "UPPERCASE")]
        enum Shape {
            #[default]
            Bowl,
            Vase,
        }

        let named = |text: &str| -> Vec<(String, String)> {
            let error = parse::<Order>(text.as_bytes()).expect_err("it has faults");
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let fields = error.details["fields"].as_array().expect("a list");
            fields.iter().map(|field| (text(&field["field"]), text(&field["code"]))).collect()
        };
        let expected = |fields: &[(&str, &str)]| -> Vec<(String, String)> {
            fields.iter().map(|(field, code)| ((*field).to_owned(), (*code).to_owned())).collect()
        };
        assert_eq!(
            named(r#"{"items":[{"sku":7,"quantity":"two"},{"quantity":1,"colour":"red"}],"note":4,"extra":1}"#),
            expected(&[
                ("extra", "UNKNOWN"),
                ("items[0].quantity", "TYPE"),
                ("items[0].sku", "TYPE"),
                ("items[1].colour", "UNKNOWN"),
                ("items[1].sku", "REQUIRED"),
                ("note", "TYPE"),
                ("number", "REQUIRED"),
            ])
        );
        assert_eq!(named(r#"{"number":"x","items":{}}"#), expected(&[("items", "TYPE")]));
        assert_eq!(named("7"), expected(&[("", "TYPE")]));
        // What follows on a value that is none of the known ones, or is of another kind.
        for shape in ["\"CUBE\"", "7", "[]"] {
            let text = format!(r#"{{"items":[{{"sku":"x","quantity":1,"shape":{shape}}}],"note":4}}"#);
            let fields: Vec<_> = named(&text).into_iter().map(|(field, _)| field).collect();
            assert_eq!(fields, ["items[0].shape", "note", "number"], "{shape}");
        }
    }
}
