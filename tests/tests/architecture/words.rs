//! Code and documents use the words of their field: one word for one thing, and the actor named.

use std::path::{Path, PathBuf};

use tests::programs::root;

/// Words that have no place here, and what to write instead. The vocabulary itself is in `WORKFLOW_DESIGN.md`.
const WORDS: [(&str, &str); 29] = [
    ("whoever", "name the actor: the relay, the worker, the caller"),
    ("whatever", "name the thing, or \"any\""),
    ("whomever", "name the actor"),
    ("nobody", "name the actor, or \"no worker\", \"no client\""),
    ("somebody", "name the actor"),
    ("anybody", "name the actor, or \"any client\""),
    ("everybody", "name the actors, or \"every process\""),
    ("anew", "again"),
    ("begun", "started"),
    ("upkeep", "maintenance"),
    ("told again", "republished"),
    ("tell again", "republish"),
    ("tells again", "republishes"),
    ("made again", "rebuilt, created again"),
    ("make again", "rebuild, create again"),
    ("begin again", "restart"),
    ("begins again", "restarts"),
    ("bury", "dead-letter"),
    ("buries", "dead-letters"),
    ("buried", "dead-lettered"),
    ("poison", "undecodable"),
    ("lane", "batcher (of commands), shard group (of the relay), data loader (of look-ups)"),
    ("lanes", "batchers, shard groups, data loaders"),
    ("press", "document issuer"),
    ("intent", "request context"),
    ("teller", "republisher"),
    ("is wanted", "is expected, is required"),
    ("are wanted", "are expected, are required"),
    ("todo", "do it now, or file an issue"),
];

/// Names that others have given.
const FOREIGN: [&str; 4] = ["PoisonError", "press_key", "run_upkeep", "todo = \"warn\""];

/// Folders without prose of ours: generated files, private services, and snapshots of what users see.
const SKIPPED: [&str; 5] = ["target", "snapshots", "invoices", "servers", "fonts"];
const EXTENSIONS: [&str; 8] = ["rs", "md", "sql", "sh", "yml", "toml", "conf", "html"];
const FILES: [&str; 3] = ["Makefile", ".env.example", "Dockerfile"];
/// Users know released versions by the words of their time, and this file lists the words.
const EXEMPT: [&str; 2] = ["CHANGELOG.md", "tests/tests/architecture/words.rs"];

#[test]
fn texts_and_names_use_the_words_of_the_field() {
    let mut files = Vec::new();
    collect(root(), &mut files);
    assert!(files.len() > 300, "only {} files were found", files.len());
    let mut found = Vec::new();
    for path in files {
        let name = path.strip_prefix(root()).expect("below the workspace").display().to_string();
        if !EXEMPT.contains(&name.as_str()) {
            let mut text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            for foreign in FOREIGN {
                text = text.replace(foreign, "");
            }
            for (line, word, better) in banned(&text) {
                found.push(format!("{name}:{line}: {word:?}, write: {better}"));
            }
        }
    }
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                collect(&path, files);
            }
        } else if FILES.contains(&name.as_str())
            || path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
        {
            files.push(path);
        }
    }
}

/// Line, word and advice for each banned word. A phrase may be split over two lines.
fn banned(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let words = words(text);
    let mut found = Vec::new();
    for (word, better) in WORDS {
        let phrase: Vec<_> = word.split(' ').collect();
        for at in words.windows(phrase.len()) {
            if at.iter().map(|(_, word)| word.as_str()).eq(phrase.iter().copied()) {
                found.push((at[0].0, word, better));
            }
        }
    }
    found
}

/// The words of a text in lower case, with their lines. Names are words too: `begun_at` and `BegunAt` have two each.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let (mut word, mut after_lower) = (String::new(), false);
        for letter in text.chars().chain([' ']) {
            let starts_name = letter.is_uppercase() && after_lower;
            if (starts_name || !letter.is_alphabetic()) && !word.is_empty() {
                words.push((line, std::mem::take(&mut word)));
            }
            if letter.is_alphabetic() {
                word.extend(letter.to_lowercase());
            }
            after_lower = letter.is_lowercase();
        }
    }
    words
}

#[test]
fn a_banned_word_is_found_in_names_and_across_lines() {
    let found = |text: &str| banned(text).into_iter().map(|(line, word, _)| (line, word)).collect::<Vec<_>>();
    assert_eq!(
        found("/// Whoever reads.\nfn begun_at() {}\nstruct ShopLane;"),
        [(1, "whoever"), (2, "begun"), (3, "lane")]
    );
    assert_eq!(found("It is told\n-- again."), [(1, "told again")]);
    assert!(found("A plane lands; compress it; the intention began.").is_empty());
}
