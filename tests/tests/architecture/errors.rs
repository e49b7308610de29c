//! Every code of an error is explained, and nothing else is.

use std::collections::BTreeSet;

use tests::programs::root;

use crate::sources::Source;

/// Codes that stand in the first or second argument of a constructor, up to the next line's end.
fn codes() -> BTreeSet<String> {
    let starts = ["ApiError::new(", "not_found(", "conflict(", "unavailable(", "id_in_path(", "Self::new("];
    let mut codes = BTreeSet::new();
    for source in Source::all() {
        for start in starts {
            for rest in source.text.split(start).skip(1) {
                let arguments: String = rest.chars().take(160).collect();
                let arguments = arguments.split(");").next().unwrap_or_default();
                // The last one may be cut.
                let whole = arguments.matches('"').count() / 2;
                let quoted = arguments.split('"').skip(1).step_by(2).take(whole);
                codes.extend(quoted.filter(|text| is_code(text)).map(str::to_owned));
            }
        }
    }
    codes
}

fn is_code(text: &str) -> bool {
    text.len() > 5 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

#[test]
fn every_code_is_explained() {
    let missing: Vec<_> = codes().into_iter().filter(|code| !runtime::docs::explains(code)).collect();
    assert!(missing.is_empty(), "docs/errors.md does not explain {missing:?}");
}

#[test]
fn nothing_is_explained_that_does_not_exist() {
    let text = std::fs::read_to_string(root().join("docs/errors.md")).expect("a document");
    let sources = Source::all();
    let explained = text.lines().filter_map(|line| line.strip_prefix("### "));
    let unknown: Vec<_> =
        explained.filter(|code| !sources.iter().any(|source| source.text.contains(&format!("\"{code}\"")))).collect();
    assert!(unknown.is_empty(), "docs/errors.md explains {unknown:?}, which no code names");
}
