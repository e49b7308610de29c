//! The command line: secrets come from the environment or from files, and `ops keys` makes keys.

use anyhow::{Context, Result};
use tests::Database;

use super::{Client, guarded};
use crate::operations::{ops, ops_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_comes_from_the_environment_or_a_file_and_never_from_the_command_line() -> Result<()> {
    let database = Database::new().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("url");
    std::fs::write(&file, format!("{}\n", database.url))?;
    let file = file.to_str().context("a plain path")?;
    ops_with(&[("DATABASE_URL_FILE", file)], &["status"]).await?.exited(0);
    let both = ops_with(&[("DATABASE_URL_FILE", file), ("DATABASE_URL", &database.url)], &["status"]).await?.exited(2);
    assert!(both.err.contains("DATABASE_URL and DATABASE_URL_FILE are both set"), "{}", both.err);
    let missing = ops_with(&[("DATABASE_URL_FILE", "/nowhere")], &["status"]).await?.exited(2);
    assert!(missing.err.contains("names /nowhere, which cannot be read"), "{}", missing.err);
    let shown = ops_with(&[], &["status", "--database-url", &database.url]).await?.exited(2);
    assert!(shown.err.contains("DATABASE_URL is a secret"), "{}", shown.err);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_makes_lists_rotates_and_revokes_keys() -> Result<()> {
    let system = guarded(|_| ()).await?;
    let database = &system.database;
    let made = ops(database, &["keys", "create", "--name", "shop-front", "--role", "staff", "--reason", "first"])
        .await?
        .exited(0);
    let text = made.out.lines().next().context("a key")?.to_owned();
    let front = Client { system: &system, credentials: text.clone() };
    front.get("/orders").await?.expect(200);
    let again = ["keys", "create", "--name", "shop-front", "--role", "staff", "--reason", "again"];
    assert!(ops(database, &again).await?.exited(1).err.contains("is valid already: rotate it, revoke it"));
    let unbound = ["keys", "create", "--name", "asha", "--role", "customer", "--reason", "an app"];
    assert!(ops(database, &unbound).await?.exited(1).err.contains("customer_id is required"));

    let listed = ops(database, &["keys", "list"]).await?.exited(0).out;
    assert!(
        listed.contains("shop-front") && listed.contains("everywhere") && !listed.contains(&text[20..]),
        "{listed}"
    );
    let id = listed.lines().find(|line| line.contains("shop-front")).and_then(|line| line.split_whitespace().next());
    let id = id.context("an id")?;
    let rotated = ops(database, &["keys", "rotate", id, "--reason", "every quarter"]).await?.exited(0).out;
    assert!(rotated.contains("The earlier key works until"), "{rotated}");
    let second = Client { credentials: rotated.lines().next().context("a key")?.to_owned(), ..front.clone() };
    front.get("/orders").await?.expect(200);
    second.get("/orders").await?.expect(200);
    let revoked = ops(database, &["keys", "revoke", id, "--reason", "it leaked"]).await?.exited(0).out;
    assert!(revoked.contains("is revoked"), "{revoked}");
    system.finish().await
}
