//! Siblings in a crate's module tree do not depend on each other in a circle. A parent and its child may.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::Source;

/// The path of a module, from its crate on: `["command", "store", "orders"]`.
type Module = Vec<String>;
/// Of the children of one module: who uses whom, and the file that shows it.
type Siblings = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn no_siblings_use_each_other_in_a_circle() {
    let sources = Source::all();
    let modules: BTreeSet<Module> = sources.iter().map(module).collect();
    let mut families: BTreeMap<Module, Siblings> = BTreeMap::new();
    for source in &sources {
        let here = module(source);
        for used in uses(source, &here, &modules) {
            let common = here.iter().zip(&used).take_while(|(a, b)| a == b).count();
            if common == here.len() || common == used.len() {
                continue; // An ancestor or a descendant.
            }
            let arrows = families.entry(here[..common].to_vec()).or_default().entry(here[common].clone()).or_default();
            arrows.insert(used[common].clone(), source.path.display().to_string());
        }
    }
    let circles: Vec<_> = families.iter().flat_map(|(parent, siblings)| circles(parent, siblings)).collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

/// `command/src/store/orders.rs` is `command::store::orders`; `lib.rs` and `main.rs` are the crate itself.
fn module(source: &Source) -> Module {
    let path = source.path.with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let src = parts.iter().position(|part| part == "src").expect("below src/");
    let mut module = vec![parts[src - 1].clone()];
    module.extend(parts[src + 1..].iter().filter(|part| !["lib", "main", "mod"].contains(&part.as_str())).cloned());
    module
}

/// The modules that a file names by `crate::` or `super::`, in `use` lines and in its code.
fn uses(source: &Source, here: &Module, modules: &BTreeSet<Module>) -> BTreeSet<Module> {
    let code: String = source.code().collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            continue;
        }
        for path in paths(&code[at..]) {
            let mut target = here.clone();
            for part in path {
                match part.as_str() {
                    "crate" => target.truncate(1),
                    "super" => drop(target.pop()),
                    _ => target.push(part),
                }
            }
            // As far as it names a module; what follows is an item in it.
            while !target.is_empty() && !modules.contains(&target) {
                target.pop();
            }
            if target.len() > 1 {
                found.insert(target);
            }
        }
    }
    found
}

/// The paths that `a::{b, c::d}` stands for, as lists of names.
fn paths(text: &str) -> Vec<Vec<String>> {
    let (mut prefix, mut rest) = (Vec::new(), text);
    loop {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end > 0 {
            prefix.push(rest[..end].to_owned());
        }
        rest = &rest[end..];
        let Some(after) = rest.strip_prefix("::") else { return vec![prefix] };
        rest = after;
        if let Some(group) = rest.strip_prefix('{') {
            let below = branches(group);
            return below.into_iter().flat_map(paths).map(|path| [prefix.clone(), path].concat()).collect();
        }
    }
}

/// The parts of a brace group, split at its own commas.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(group[start..at].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(group[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// One line for each sibling that can reach itself.
fn circles(parent: &Module, siblings: &Siblings) -> Vec<String> {
    let mut found = Vec::new();
    for start in siblings.keys() {
        let (mut open, mut seen) = (vec![vec![start.clone()]], BTreeSet::new());
        while let Some(way) = open.pop() {
            let last = way.last().expect("a way has a start");
            for next in siblings.get(last).into_iter().flat_map(BTreeMap::keys) {
                if next == start {
                    let files: Vec<_> =
                        way.iter().zip(way[1..].iter().chain([next])).map(|(a, b)| siblings[a][b].as_str()).collect();
                    found.push(format!(
                        "in {}: {} → {next} ({})",
                        parent.join("::"),
                        way.join(" → "),
                        files.join(", ")
                    ));
                } else if seen.insert(next.clone()) {
                    open.push([way.clone(), vec![next.clone()]].concat());
                }
            }
        }
    }
    found
}

#[test]
fn a_circle_is_found() {
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.to_owned() };
    let sources = [
        file("shop/src/api.rs", "use crate::placing::{self, Order};\n"),
        file("shop/src/placing.rs", "use crate::{App, api::Answer};\n"),
        file("shop/src/lib.rs", "mod api;\n"),
    ];
    let modules: BTreeSet<Module> = sources.iter().map(module).collect();
    let used = |at: usize| uses(&sources[at], &module(&sources[at]), &modules);
    assert_eq!(used(0), BTreeSet::from([vec!["shop".to_owned(), "placing".to_owned()]]));
    assert_eq!(used(1), BTreeSet::from([vec!["shop".to_owned(), "api".to_owned()]]));
}
