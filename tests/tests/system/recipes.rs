//! The recipes of `docs/api.md`, as they stand there.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use standalone::Part;
use tests::System;
use tests::programs::root;
use tokio::process::Command;

/// Printing an invoice takes a second or two, on a busy machine more.
const WITHIN: Duration = Duration::from_secs(60);

/// The title and the shell commands of each recipe.
fn recipes(text: &str) -> Vec<(&str, &str)> {
    let sections = text.split("\n## ").skip(1);
    sections
        .filter_map(|section| {
            let (title, rest) = section.split_once('\n')?;
            let (_, block) = rest.split_once("```sh\n")?;
            Some((title, block.split_once("\n```")?.0))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recipe_does_what_it_says() -> Result<()> {
    let text = std::fs::read_to_string(root().join("docs/api.md"))?;
    let recipes = recipes(&text);
    ensure!(recipes.len() >= 10, "docs/api.md has {} recipes", recipes.len());
    let system = System::start(|options| options.parts = Part::ALL.to_vec()).await?;
    let folder = tempfile::tempdir()?;
    for (title, commands) in recipes {
        let shell = Command::new("bash")
            .args(["-euo", "pipefail", "-c", commands])
            .env("API", format!("{}/api/v1", system.base_url()))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let done = tokio::time::timeout(WITHIN, shell).await.with_context(|| format!("{title}: no end"))??;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{title}: {} {}{said}", done.status, String::from_utf8_lossy(&done.stdout));
    }
    system.finish().await
}
