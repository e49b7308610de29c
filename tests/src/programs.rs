//! The programs of the workspace, built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The folder of the programs; the first call builds them if anything has changed.
///
/// # Panics
/// When they do not compile.
pub fn folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = profile_folder();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "--target-dir"]).arg(folder.parent().expect("target/"));
        build.args((!cfg!(debug_assertions)).then_some("--release"));
        // The whole workspace, as for the tests: fewer packages would unite to other features, and compile them anew.
        build.args(["--workspace", "--bins"]);
        // What cargo tells this program of its own package would make build scripts run again, ring's among them, and
        // then half of the dependencies be compiled again: here, and at the next build outside as well.
        for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                build.env_remove(name);
            }
        }
        let built = build.current_dir(root()).env("SQLX_OFFLINE", "true").status().expect("cargo runs");
        assert!(built.success(), "the programs do not compile");
        folder
    });
    &FOLDER
}

/// The folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// `target/<profile>`: programs stand in it, tests in its subfolder `deps`.
pub(crate) fn profile_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a file");
    let folder = program.parent().expect("a program stands in a folder");
    if folder.ends_with("deps") { folder.parent().expect("target/<profile>").to_owned() } else { folder.to_owned() }
}
