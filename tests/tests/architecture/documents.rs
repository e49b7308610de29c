//! The documents name files that exist.

use std::path::PathBuf;

use tests::programs::root;

/// The documents for people, and the folder that their links are relative to.
fn documents() -> Vec<PathBuf> {
    let markdown = |folder: PathBuf| {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect::<Vec<_>>()
    };
    [root().to_owned(), root().join("docs"), root().join("docs/decisions")].into_iter().flat_map(markdown).collect()
}

#[test]
fn every_path_in_backticks_exists() {
    const FOLDERS: [&str; 14] = [
        "command",
        "outbox-relay",
        "workers",
        "query",
        "operations",
        "payment-gateway",
        "standalone",
        "crates",
        "migrations",
        "tests",
        "bench",
        "deploy",
        "docs",
        "scripts",
    ];
    let mut missing = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document is text");
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = quoted.split_once('/').is_some_and(|(first, _)| FOLDERS.contains(&first));
            if is_path && !quoted.contains([' ', '{', '*']) && !root().join(quoted).exists() {
                missing.push(format!("{}: {quoted}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// "`command/src/place_order.rs` `place`": the function stands in the file.
#[test]
fn every_function_of_the_tour_is_in_the_file_that_is_named_before_it() {
    let text = std::fs::read_to_string(root().join("PROJECT_STRUCTURE.md")).expect("PROJECT_STRUCTURE.md");
    let parts: Vec<&str> = text.split('`').collect();
    let mut stops = 0;
    for stop in parts.windows(3).skip(1).step_by(2).filter(|stop| stop[1].trim().is_empty()) {
        let Ok(source) = std::fs::read_to_string(root().join(stop[0])) else { continue };
        let function = stop[2].rsplit("::").next().unwrap_or_default();
        let found = [format!("fn {function}("), format!("fn {function}<")].iter().any(|start| source.contains(start));
        assert!(found, "{} has no function {function}", stop[0]);
        stops += 1;
    }
    assert!(stops >= 15, "the tour has {stops} stops");
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document is text");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let folder = document.parent().expect("a document is in a folder");
            if !target.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
