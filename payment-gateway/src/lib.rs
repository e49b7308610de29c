//! A payment gateway to test against: it refunds, records every refund in a ledger of its own, and fails on request.
//!
//! Invariant: the ledger holds one entry per idempotency key, under every injected fault and whenever the client hangs
//! up. It does not hold one entry per return: a client that pays twice under two keys must be found out.

mod api;
mod ledger;
mod faults;
mod callbacks;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anyhow::Context;
use clap::Args;
use runtime::{Clock, Ids};
use secrecy::{ExposeSecret, SecretString};

pub use api::{LedgerReport, openapi};
pub use faults::{FAULT_HEADER, Faults};

use crate::callbacks::Callbacks;
use crate::faults::FaultInjector;
use crate::ledger::Ledger;

/// How the mock behaves.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// File that keeps the ledger across restarts, one JSON object per line. Unset: it is kept in memory only.
    #[arg(long, env = "LEDGER_FILE")]
    pub ledger_file: Option<PathBuf>,
    /// Faults that hit calls by chance: `delay=MS`, `error=STATUS`, `timeout-after-success=MS`, `garbage`,
    /// `duplicate`, `pending=MS`, `declined`, separated by commas. The header X-Gateway-Fault takes the same for one call.
    #[arg(long, env = "GATEWAY_FAULTS", default_value = "")]
    pub gateway_faults: Faults,
    /// How likely each of `GATEWAY_FAULTS` is to hit a call, 0 to 1.
    #[arg(long, env = "GATEWAY_FAULT_RATE", default_value_t = 1.0, value_parser = runtime::config::ratio)]
    pub gateway_fault_rate: f64,
    /// Seed of the random faults: the same seed hits the same calls.
    #[arg(long, env = "GATEWAY_FAULT_SEED", default_value_t = 0)]
    pub gateway_fault_seed: u64,
    /// URL that is called when a refund that was under way is settled, like `http://127.0.0.1:8004/gateway/callbacks`. The call is
    /// signed with `GATEWAY_WEBHOOK_SECRET`.
    #[arg(long, env = "GATEWAY_CALLBACK_URL")]
    pub gateway_callback_url: Option<String>,
    /// Secret of those calls: `whsec_` and at least 24 bytes in base64.
    #[arg(long, env = "GATEWAY_WEBHOOK_SECRET", hide_env_values = true)]
    pub gateway_webhook_secret: Option<SecretString>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ledger_file: None,
            gateway_faults: Faults::default(),
            gateway_fault_rate: 1.0,
            gateway_fault_seed: 0,
            gateway_callback_url: None,
            gateway_webhook_secret: None,
        }
    }
}

/// The gateway's routes, without the HTTP middleware.
///
/// # Errors
/// When the ledger file cannot be read or written.
pub fn router(settings: Settings, clock: Clock, ids: Ids) -> anyhow::Result<axum::Router> {
    let ledger = match settings.ledger_file {
        None => Ledger::in_memory(),
        Some(path) => Ledger::open(&path).with_context(|| format!("cannot use LEDGER_FILE={}", path.display()))?,
    };
    let injector =
        FaultInjector::new(settings.gateway_faults, settings.gateway_fault_rate, settings.gateway_fault_seed);
    anyhow::ensure!(
        settings.gateway_callback_url.is_none() || settings.gateway_webhook_secret.is_some(),
        "GATEWAY_CALLBACK_URL needs GATEWAY_WEBHOOK_SECRET, with which the calls are signed"
    );
    let callbacks = settings.gateway_callback_url.zip(settings.gateway_webhook_secret);
    let callbacks = callbacks.map(|(url, secret)| Callbacks::new(&url, secret.expose_secret())).transpose()?;
    Ok(api::routes(Arc::new(api::Gateway { ledger, injector, callbacks, clock, ids, open_calls: AtomicUsize::new(0) })))
}
