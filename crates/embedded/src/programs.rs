//! Where the services' programs are installed.

use std::cmp::Reverse;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The oldest Postgres that the migrations support.
const OLDEST_POSTGRES: u32 = 15;

/// The folder with `initdb` and `postgres`, and the major version of the latter.
pub(crate) fn postgres() -> Result<(PathBuf, u32)> {
    let on_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let found = on_path
        .into_iter()
        .map(|folder| folder.join("postgres"))
        // A link in a folder of the PATH leads to the folder that holds the other programs.
        .filter_map(|program| program.canonicalize().ok())
        .filter_map(|program| program.parent().map(Path::to_owned))
        .chain(subfolders("/usr/lib/postgresql").into_iter().map(|folder| folder.join("bin")))
        .chain(named_by_pg_config());
    let mut too_old = None;
    for folder in found.filter(|folder| folder.join("initdb").exists() && folder.join("postgres").exists()) {
        match postgres_version(&folder)? {
            version if version >= OLDEST_POSTGRES => return Ok((folder, version)),
            version => too_old = Some(version),
        }
    }
    let seen =
        too_old.map_or_else(|| "none was found".to_owned(), |version| format!("only version {version} was found"));
    bail!("PostgreSQL {OLDEST_POSTGRES} or later is needed, {seen}: apt-get install postgresql (or set DATABASE_URL)");
}

fn named_by_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn postgres_version(folder: &Path) -> Result<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)"; a beta says "16beta1".
    let word = text.split_whitespace().nth(2).unwrap_or_default();
    let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("cannot read the version of Postgres from {text:?}"))
}

/// The folder of `RabbitMQ`'s own scripts. The script on the PATH is Debian's wrapper, which only runs as the service's
/// user.
pub(crate) fn rabbitmq() -> Result<PathBuf> {
    subfolders("/usr/lib/rabbitmq/lib")
        .into_iter()
        .map(|folder| folder.join("sbin"))
        .find(|folder| folder.join("rabbitmq-server").exists())
        .context("RabbitMQ is not installed: apt-get install rabbitmq-server (or set RABBITMQ_URL)")
}

/// Subfolders, the newest version first: "16" before "15", "x-3.12.1" before "x-3.9.27".
fn subfolders(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort_by_key(|path| Reverse(numbers(path)));
    found
}

fn numbers(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}
