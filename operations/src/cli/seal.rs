//! `ops seal`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use runtime::Clock;
use secrecy::ExposeSecret;

use super::Common;
use crate::seal::make::{self, Made};
use crate::seal::{SealKey, SealSettings};

#[derive(Debug, Args)]
pub struct Seal {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    settings: SealSettings,
    /// Where the seals are kept: a folder or a bucket, as `INVOICE_STORE_URL`.
    #[arg(long = "seal-store-url", env = "SEAL_STORE_URL")]
    store_url: Option<String>,
    /// Prints a new key and its public key, and seals nothing.
    #[arg(long)]
    new_key: bool,
}

impl Seal {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { common, settings, store_url, new_key } = self;
        if new_key {
            let text = SealKey::generate()?;
            let public = SealKey::parse(text.expose_secret())?.public();
            println!("SEAL_KEY={}\nSEAL_PUBLIC_KEY={public}", text.expose_secret());
            return Ok(ExitCode::SUCCESS);
        }
        let key = settings.key()?.context("SEAL_KEY is not set: make a key with `ops seal --new-key`")?;
        let url = store_url.context("SEAL_STORE_URL is not set: name a folder or a bucket for the seals")?;
        let store = storage::open(&url).await?;
        let made = make::seal(&common.connect().await?, &store, &key, &Clock::system()).await?;
        common.print(&made, show)
    }
}

fn show(made: &Made) -> String {
    let last = made.last.map_or_else(|| "there is none yet".to_owned(), |last| format!("the last is number {last}"));
    format!("{} row(s) sealed in {} seal(s); {last}", made.rows, made.seals)
}
