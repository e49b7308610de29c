//! Builds the programs of the workspace for the tests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long `standalone migrate` may take, which repeats what does not get its locks.
const MIGRATED_WITHIN: Duration = Duration::from_secs(120);

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
        // The whole workspace, as for the tests. With fewer packages cargo would unify other features and recompile.
        build.args(["--workspace", "--bins"]);
        // Cargo sets these variables for this package. Build scripts that read them (ring's does) would run again, and
        // cargo would recompile half of the dependencies: here, and once more in the next build outside the tests.
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

/// Migrates a database to the schema of the release whose programs are in this folder.
pub async fn migrate(database_url: &str, programs: &Path) -> Result<()> {
    let mut command = tokio::process::Command::new(programs.join("standalone"));
    command.arg("migrate").kill_on_drop(true);
    command.env_clear().envs(environment()).env("DATABASE_URL", database_url).env("LOG", "error");
    let output = tokio::time::timeout(MIGRATED_WITHIN, command.output()).await.context("standalone migrate")??;
    ensure!(output.status.success(), "standalone migrate: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The variables that a program started by a test keeps from the environment of the test: where programs are found, and
/// where `make coverage` wants to have a report of what ran.
pub fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    ["PATH", "HOME", "LANG", "CHROMIUM_PATH", "LLVM_PROFILE_FILE"]
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// The root folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// `target/<profile>`: it contains the programs, its subfolder `deps` the tests.
pub(crate) fn profile_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a file");
    let folder = program.parent().expect("a program stands in a folder");
    if folder.ends_with("deps") { folder.parent().expect("target/<profile>").to_owned() } else { folder.to_owned() }
}
