//! Files and functions that fit a reader's head.

use super::sources::Source;

const LONGEST_FILE: usize = 300;
const LONGEST_FUNCTION: usize = 70;
/// Begins the sentence that a longer file has in its header.
const REASON: &str = "//! Long because";

#[test]
fn a_long_file_says_why() {
    let long: Vec<_> = Source::all()
        .into_iter()
        .filter(|source| source.code().count() > LONGEST_FILE && !source.text.contains(REASON))
        .map(|source| format!("{}: {} lines of code", source.path.display(), source.code().count()))
        .collect();
    assert!(long.is_empty(), "split these files, or say in the header why not ({REASON:?}): {long:#?}");
}

#[test]
fn a_function_fits_on_a_screen_but_for_its_sql() {
    let long: Vec<_> = Source::all().iter().flat_map(long_functions).collect();
    assert!(long.is_empty(), "split these functions: {long:#?}");
}

/// rustfmt closes a function with a brace as far to the right as its first line begins.
fn long_functions(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines: Vec<&str> = source.text.lines().collect();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
        let close = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let Some(length) = lines[start..].iter().position(|line| *line == close) else { continue };
        let code = without_raw_strings(&lines[start..=start + length]);
        if code > LONGEST_FUNCTION {
            found.push(format!("{}:{}: {code} lines", source.path.display(), start + 1));
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    let words = line.split_whitespace().take_while(|word| !word.starts_with("//"));
    let mut before = words.take_while(|word| *word != "fn");
    let modifier = |word: &str| word.starts_with("pub") || ["const", "async", "unsafe", "extern"].contains(&word);
    line.split_whitespace().any(|word| word == "fn") && before.all(modifier)
}

fn without_raw_strings(lines: &[&str]) -> usize {
    let mut inside = false;
    lines
        .iter()
        .filter(|line| {
            let was_inside = inside;
            inside = (inside || line.contains("r#\"")) && !line.contains("\"#");
            !was_inside
        })
        .count()
}

#[test]
fn there_is_one_module_style() {
    let old: Vec<_> =
        Source::all().into_iter().map(|source| source.path).filter(|path| path.ends_with("mod.rs")).collect();
    assert!(old.is_empty(), "name.rs stands beside name/, there is no mod.rs: {old:?}");
}

#[test]
fn a_long_function_is_found_and_its_sql_does_not_count() {
    let source = |body: &str, lines: usize| {
        let text = format!("impl Store {{\n    pub(crate) async fn find() {{\n{}    }}\n}}\n", body.repeat(lines));
        Source { path: "shop/src/store.rs".into(), text }
    };
    assert_eq!(long_functions(&source("        step();\n", 69)), ["shop/src/store.rs:2: 71 lines"]);
    assert!(long_functions(&source("        step();\n", 68)).is_empty());
    let statement = |lines| format!("        query!(r#\"\n{}        \"#);\n", "        select\n".repeat(lines));
    assert!(long_functions(&source(&statement(200), 1)).is_empty());
}
