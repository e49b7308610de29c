//! Parses query parameters and collects what is wrong with them, so that the client learns everything at once.

use std::collections::HashMap;

use axum::extract::Query;
use axum::http::Uri;
use runtime::{ApiError, FieldErrors};

/// Lists: `a,b`, or given once for each value.
const LISTS: [&str; 4] = ["state", "status", "types", "fields"];

/// Each method returns `None` for a parameter that is absent or wrong; `finish` tells which.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    given: HashMap<String, String>,
    errors: FieldErrors,
}

impl Parameters {
    /// The parameters of a query string. Those that are not known, and those that are there twice, are wrong; but generated clients send
    /// some lists value by value.
    pub(super) fn read(uri: &Uri, known: &[String]) -> Self {
        let mut parameters = Self::default();
        let pairs = match Query::<Vec<(String, String)>>::try_from_uri(uri) {
            Ok(Query(pairs)) => pairs,
            Err(error) => {
                parameters.reject("", error.body_text());
                return parameters;
            }
        };
        for (name, value) in pairs {
            if value.contains('\0') || name.contains('\0') {
                parameters.reject(&name.replace('\0', "\u{fffd}"), "must not contain the character U+0000");
            } else if !known.contains(&name) {
                let shown: String = name.chars().take(64).collect();
                parameters.reject(&shown, format!("is not a known parameter; known are {}", known.join(", ")));
            } else if let Some(given) = parameters.given.get_mut(&name) {
                if LISTS.contains(&name.as_str()) {
                    given.push(',');
                    given.push_str(&value);
                } else {
                    parameters.reject(&name, "is given more than once");
                }
            } else {
                parameters.given.insert(name, value);
            }
        }
        parameters
    }

    /// What the client has sent.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// [`parse`](Self::parse) of what the client has sent.
    pub(super) fn take<T>(&mut self, name: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.given.remove(name);
        self.parse(name, text.as_deref(), expected, parse)
    }

    /// `expected` completes a sentence that starts with the parameter's name: "must be …".
    pub(super) fn parse<T>(
        &mut self,
        name: &str,
        text: Option<&str>,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(text?);
        if parsed.is_none() {
            self.reject(name, expected);
        }
        parsed
    }

    /// One of the words that `word` gives for `all`.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        name: &str,
        text: Option<&str>,
        all: &[T],
        word: fn(T) -> &'static str,
    ) -> Option<T> {
        let expected = || format!("must be one of {}", all.iter().map(|one| word(*one)).collect::<Vec<_>>().join(", "));
        self.parse(name, text, &expected(), |text| all.iter().copied().find(|one| word(*one) == text))
    }

    pub(super) fn text(&mut self, name: &str, max_length: usize) -> Option<String> {
        let expected = format!("must be 1 to {max_length} characters long");
        self.take(name, &expected, |text| (1..=max_length).contains(&text.chars().count()).then(|| text.to_owned()))
    }

    pub(super) fn reject(&mut self, name: &str, message: impl Into<String>) {
        self.errors.add(name, message);
    }

    /// 422 with every parameter that is wrong.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        self.errors.finish()
    }
}
