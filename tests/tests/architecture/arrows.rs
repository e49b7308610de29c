//! The arrows between crates are those that `PROJECT_STRUCTURE.md` draws: no more, and no fewer.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use tests::programs::root;

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The lines of the fenced block that follows the comment `<!-- <name> -->`, split at `separator`.
fn block(document: &str, name: &str, separator: &str) -> Arrows {
    let (_, after) = document.split_once(&format!("<!-- {name} -->")).unwrap_or_else(|| panic!("no block {name:?}"));
    let inside = after.split("```").nth(1).expect("a fenced block");
    let lines = inside.lines().filter_map(|line| line.split_once(separator));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let drawn: Arrows = lines.map(|(from, to)| (from.trim().to_owned(), words(to))).collect();
    assert!(!drawn.is_empty(), "the block {name:?} is empty");
    drawn
}

fn document() -> String {
    std::fs::read_to_string(root().join("PROJECT_STRUCTURE.md")).expect("PROJECT_STRUCTURE.md")
}

/// (crate, what it depends on, whether only its tests do).
fn dependencies() -> Vec<(String, String, bool)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = |of: &Value| of["name"].as_str().expect("a name").to_owned();
            found.push((name(package), name(dependency), dependency["kind"] == "dev"));
        }
    }
    found
}

#[test]
fn no_crate_depends_on_another_unless_the_picture_has_the_arrow() {
    let drawn = block(&document(), "arrows", "→");
    let mut real: Arrows = drawn.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
    for (from, to, only_tests) in dependencies() {
        let target = drawn.get(&to);
        if target.is_none() {
            continue;
        }
        if only_tests {
            let allowed = to == "embedded" || drawn[&from].contains(&to);
            assert!(
                allowed,
                "the tests of {from} depend on {to}: only on embedded may tests depend beyond the picture"
            );
        } else {
            real.get_mut(&from).unwrap_or_else(|| panic!("{from} is not in the picture")).insert(to);
        }
    }
    for (name, arrows) in &drawn {
        assert_eq!(arrows, &real[name], "arrows of {name}: left as PROJECT_STRUCTURE.md draws them, right as they are");
    }
}

#[test]
fn every_crate_is_in_the_picture() {
    let drawn = block(&document(), "arrows", "→");
    for (name, _, _) in dependencies() {
        assert!(drawn.contains_key(&name), "{name} is not in the picture of PROJECT_STRUCTURE.md");
    }
}

#[test]
fn some_packages_are_named_by_their_owner_only() {
    let owners = block(&document(), "owners", "only in");
    for (from, to, _) in dependencies() {
        if let Some(allowed) = owners.get(&to) {
            assert!(allowed.contains(&from), "{from} depends on {to}, which belongs to {allowed:?}");
        }
    }
}

#[test]
fn processes_do_not_depend_on_each_other() {
    const PROCESSES: [&str; 6] = ["command", "outbox-relay", "workers", "query", "operations", "payment-gateway"];
    for (from, to, _) in dependencies() {
        let both = PROCESSES.contains(&from.as_str()) && PROCESSES.contains(&to.as_str());
        assert!(!both, "{from} depends on {to}: processes meet in events, never in code");
    }
}

#[test]
fn domain_is_pure() {
    const ALLOWED: [&str; 4] = ["chrono", "chrono-tz", "thiserror", "uuid"];
    for (from, to, only_tests) in dependencies() {
        let pure = from != "domain" || only_tests || ALLOWED.contains(&to.as_str());
        assert!(pure, "domain depends on {to}: its rules are pure functions without IO, async, randomness or serde");
    }
}
