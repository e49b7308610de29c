//! What is wrong with the fields of a request.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::ApiError;

/// One invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// As the client wrote it: `items[0].quantity`. Empty for the request as a whole.
    pub(crate) field: String,
    /// Continues the field's name: "must be at least 1".
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// What programs decide by. Our messages have a few forms, and each form has a code.
    fn code(&self) -> &'static str {
        let message = self.message.strip_prefix("the request ").unwrap_or(&self.message);
        let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if has(&["is required", "must not be empty"]) {
            "REQUIRED"
        } else if has(&["is not a known"]) {
            "UNKNOWN"
        } else if has(&["is given more than once", "must be different from each other"]) {
            "DUPLICATE"
        } else if has(&["characters long", "must be at most"]) {
            "LENGTH"
        } else if has(&["must be one of", "must be one or several of", "must be among"]) {
            "NOT_ONE_OF"
        } else if message.starts_with("must be") && has(&[", not "]) {
            "TYPE"
        } else if has(&[
            "is too large",
            "is too small",
            "must be from ",
            "must be a whole number from",
            "must be at least",
            "must be more than",
        ]) {
            "RANGE"
        } else {
            "INVALID"
        }
    }
}

/// Collects every invalid field of a request, so that the client can correct all of them at once.
#[derive(Debug, Default)]
#[must_use = "finish() turns the collected errors into an answer"]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// `message` continues the field's name: `add("quantity", "must be at least 1")`.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError::new(field, message));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// 422 `VALIDATION_FAILED` when a field is invalid; `details.fields` lists all of them, in the order in which
    /// they were added.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::validation(self.0)) }
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::validation(vec![error])
    }
}

impl ApiError {
    /// 422 `VALIDATION_FAILED` for a single field. [`FieldErrors`] collects several.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        FieldError::new(field, message).into()
    }

    /// 422 `VALIDATION_FAILED`; `details.fields` lists every invalid field.
    pub(crate) fn validation(fields: Vec<FieldError>) -> Self {
        let message = match fields.as_slice() {
            [FieldError { field, message }] if field.is_empty() => message.clone(),
            [FieldError { field, message }] => format!("{field} {message}"),
            several => format!("{} fields are not valid", several.len()),
        };
        let fields: Vec<Value> = fields
            .into_iter()
            .map(|error| json!({ "field": error.field, "code": error.code(), "message": error.message }))
            .collect();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_FAILED", message)
            .with_details(json!({ "fields": fields }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_field_is_named_in_the_message() {
        let error = ApiError::invalid_field("items[0].quantity", "must be at least 1");
        assert_eq!((error.status.as_u16(), error.code), (422, "VALIDATION_FAILED"));
        assert_eq!(error.message, "items[0].quantity must be at least 1");
        assert_eq!(
            error.details,
            json!({"fields": [{"field": "items[0].quantity", "code": "RANGE", "message": "must be at least 1"}]})
        );
    }

    #[test]
    fn several_fields_are_reported_together() {
        let mut errors = FieldErrors::default();
        assert!(errors.is_empty());
        errors.add("sku", "is required");
        errors.add("quantity", "must be at least 1");
        assert!(!errors.is_empty());
        let error = errors.finish().expect_err("two invalid fields");
        assert_eq!((error.code, error.message.as_str()), ("VALIDATION_FAILED", "2 fields are not valid"));
        let fields = json!([
            {"field": "sku", "code": "REQUIRED", "message": "is required"},
            {"field": "quantity", "code": "RANGE", "message": "must be at least 1"},
        ]);
        assert_eq!(error.details["fields"], fields);
        assert!(FieldErrors::default().finish().is_ok());
    }

    #[test]
    fn every_form_of_a_message_has_a_code() {
        for (message, code) in [
            ("is required", "REQUIRED"),
            ("must not be empty", "REQUIRED"),
            ("is not a known field", "UNKNOWN"),
            ("is not a known parameter; known are state", "UNKNOWN"),
            ("is given more than once", "DUPLICATE"),
            ("must be 1 to 64 characters long", "LENGTH"),
            ("must be one of PAID, SHIPPED", "NOT_ONE_OF"),
            ("must be a whole number, not text", "TYPE"),
            ("the request must be an object, not a list", "TYPE"),
            ("must be from 1 to 100", "RANGE"),
            ("must be a whole number from 1 to 100", "RANGE"),
            ("is not valid: something else", "INVALID"),
            ("must be a UUID", "INVALID"),
        ] {
            assert_eq!(FieldError::new("x", message).code(), code, "{message}");
        }
    }
}
