//! The bugs that `scripts/mutants.sh` plants still fit the sources, and the tests that must catch them still exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::programs::root;

const CAUGHT_BY: &str = "Caught by: cargo test --workspace --test system ";

fn patches() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("tests/mutants")).expect("tests/mutants");
    let mut patches: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    patches.sort();
    patches
}

/// The names of all system tests (`module::function`, or deeper), read from the sources without compiling them.
fn collect(folder: &Path, prefix: &str, known: &mut BTreeSet<String>) {
    for file in fs::read_dir(folder).expect("the tests") {
        let file = file.expect("an entry").path();
        let Some(module) = file.file_stem().and_then(|name| name.to_str()) else { continue };
        let module = format!("{prefix}{module}::");
        let Ok(text) = fs::read_to_string(&file) else {
            collect(&file, &module, known);
            continue;
        };
        let functions =
            text.lines().filter_map(|line| line.strip_prefix("async fn ")?.split_once('(')).map(|(name, _)| name);
        known.extend(functions.map(|function| format!("{module}{function}")));
    }
}

#[test]
fn every_bug_can_still_be_planted() {
    let patches = patches();
    assert!(patches.len() >= 10, "{} bugs", patches.len());
    for patch in patches {
        let checked = Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(root()).output();
        let checked = checked.expect("git runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn every_bug_says_what_it_breaks_and_which_tests_catch_it() {
    let mut known = BTreeSet::new();
    collect(&root().join("tests/tests/system"), "", &mut known);
    for patch in patches() {
        let text = fs::read_to_string(&patch).expect("a patch is text");
        let after = |label: &str| text.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
        assert!(after("Breaks: ").ends_with('.'), "{} lacks a line \"Breaks: … .\"", patch.display());
        let tests: Vec<_> = after(CAUGHT_BY).split_whitespace().collect();
        assert!(!tests.is_empty(), "{} lacks a line \"Caught by: …\"", patch.display());
        for test in tests {
            assert!(known.contains(test), "{}: there is no test {test}", patch.display());
        }
    }
}
