//! Parses query parameters and collects what is wrong with them, so that the client learns everything at once.

use runtime::{ApiError, FieldErrors};

/// Each method returns `None` for a parameter that is absent or wrong; `finish` tells which.
#[derive(Debug, Default)]
pub(super) struct Parameters(FieldErrors);

impl Parameters {
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

    pub(super) fn text(&mut self, name: &str, text: Option<&str>, max_length: usize) -> Option<String> {
        let expected = format!("must be 1 to {max_length} characters long");
        self.parse(name, text, &expected, |text| {
            (1..=max_length).contains(&text.chars().count()).then(|| text.to_owned())
        })
    }

    pub(super) fn reject(&mut self, name: &str, message: impl Into<String>) {
        self.0.add(name, message);
    }

    /// 422 with every parameter that is wrong.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        self.0.finish()
    }
}
