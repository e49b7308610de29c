//! Outbox and audit have one writer each.

use std::path::PathBuf;

use tests::programs::root;

use super::sources::Source;

/// The textbook statements that ours are measured against.
const TEXTBOOK: [&str; 3] = ["bench/sql/placement.sql", "bench/sql/transition.sql", "bench/sql/without_chain.sql"];

#[test]
fn one_function_inserts_into_the_outbox_and_one_into_the_audit() {
    let mut texts: Vec<(PathBuf, String)> =
        Source::all().into_iter().map(|source| (source.path, source.text)).collect();
    for folder in ["migrations", "bench/sql"] {
        for entry in std::fs::read_dir(root().join(folder)).expect("a folder of SQL") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("SQL is text");
            texts.push((path.strip_prefix(root()).expect("below the workspace").to_owned(), text));
        }
    }
    for (table, owner) in [
        ("messaging.outbox", "migrations/0003_messaging.sql"),
        ("command.state_transitions", "migrations/0002_command.sql"),
    ] {
        let insert = format!("insert into {table}");
        let mut inserts = Vec::new();
        for (path, text) in &texts {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
            if !TEXTBOOK.iter().any(|textbook| path.ends_with(textbook)) {
                // Not tables whose names begin like this one.
                let same = |(at, _): &(usize, &str)| !text[at + insert.len()..].starts_with('_');
                inserts.extend(text.match_indices(&insert).filter(same).map(|_| path.display().to_string()));
            }
        }
        assert_eq!(inserts, [owner], "everything else calls the function in {owner}");
    }
}
