//! The documents name files that exist.

use std::path::{Path, PathBuf};

use tests::programs::root;

/// The folders of the workspace. A quoted path that starts with one of them is a full path.
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

/// The documents for people, and the folder that their links are relative to.
fn documents() -> Vec<PathBuf> {
    let markdown = |folder: PathBuf| {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect::<Vec<_>>()
    };
    [root().to_owned(), root().join("docs"), root().join("docs/decisions")].into_iter().flat_map(markdown).collect()
}

fn is_full_path(quoted: &str) -> bool {
    quoted.split_once('/').is_some_and(|(first, _)| FOLDERS.contains(&first))
}

#[test]
fn every_path_in_backticks_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document is text");
        for quoted in text.split('`').skip(1).step_by(2) {
            if is_full_path(quoted) && !quoted.contains([' ', '{', '*']) && !root().join(quoted).exists() {
                missing.push(format!("{}: {quoted}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A file that the tour names, and the function that it names right after the file.
struct Stop {
    file: PathBuf,
    function: Option<String>,
}

/// The files of the tour in `PROJECT_STRUCTURE.md`. A path without a crate is relative to the folder of the last full path.
fn tour() -> Vec<Stop> {
    let text = std::fs::read_to_string(root().join("PROJECT_STRUCTURE.md")).expect("PROJECT_STRUCTURE.md");
    let (_, tour) = text.split_once("\n## Follow one order\n").expect("the heading of the tour");
    let (tour, _) = tour.split_once("\n## ").expect("the heading after the tour");
    let parts: Vec<&str> = tour.split('`').collect();
    let (mut folder, mut stops) = ("", Vec::new());
    for (at, quoted) in parts.iter().copied().enumerate().skip(1).step_by(2) {
        let is_file = Path::new(quoted).extension().is_some_and(|extension| extension == "rs" || extension == "sql");
        if !is_file {
            continue;
        }
        let file = if is_full_path(quoted) {
            folder = quoted.rsplit_once('/').map_or("", |(folder, _)| folder);
            root().join(quoted)
        } else {
            root().join(folder).join(quoted)
        };
        let function = match &parts[at + 1..] {
            [between, function, ..] if between.trim().is_empty() => Some((*function).to_owned()),
            _ => None,
        };
        stops.push(Stop { file, function });
    }
    assert!(stops.len() >= 40, "the tour names {} files", stops.len());
    stops
}

#[test]
fn every_path_of_the_tour_leads_to_a_file() {
    let missing: Vec<_> = tour().into_iter().map(|stop| stop.file).filter(|file| !file.is_file()).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// "`command/src/place_order.rs` `place`": the function stands in the file.
#[test]
fn every_function_of_the_tour_is_in_the_file_that_is_named_before_it() {
    let mut functions = 0;
    for Stop { file, function } in tour() {
        let Some(function) = function else { continue };
        let source = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let name = function.rsplit("::").next().unwrap_or_default();
        let found = [format!("fn {name}("), format!("fn {name}<")].iter().any(|start| source.contains(start));
        assert!(found, "{} has no function {name}", file.display());
        functions += 1;
    }
    assert!(functions >= 25, "the tour names {functions} functions");
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
