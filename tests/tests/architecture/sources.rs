//! The workspace's own Rust files.

use std::path::{Path, PathBuf};

use tests::programs::root;

/// A source file without its unit tests.
pub(crate) struct Source {
    /// Relative to the workspace.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// All sources below `src/` of all crates, without files of unit tests.
    pub(crate) fn all() -> Vec<Self> {
        let mut found = Vec::new();
        for folder in crates() {
            collect(&folder.join("src"), &mut found);
        }
        assert!(found.len() > 200, "only {} sources were found", found.len());
        found
    }

    /// Lines that are neither empty nor comments.
    pub(crate) fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
    }
}

/// The folders of all crates of the workspace.
pub(crate) fn crates() -> Vec<PathBuf> {
    let inside = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.join("Cargo.toml").is_file()).collect::<Vec<_>>()
    };
    let mut folders = inside(root());
    folders.extend(inside(&root().join("crates")));
    folders.sort();
    folders
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            if !path.ends_with("tests") {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).expect("a source is text");
            let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            let path = path.strip_prefix(root()).expect("below the workspace").to_owned();
            found.push(Source { path, text: text[..tests].to_owned() });
        }
    }
}
