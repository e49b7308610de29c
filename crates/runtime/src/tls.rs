//! One TLS provider in the whole process.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::config::is_this_machine;

/// Makes ring the process's TLS provider. Safe to call again. reqwest is built without a provider of its own, and
/// panics on its first client if this was not called.
pub fn install() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Says once for each server that others can read what travels to it, unless that is this machine. `remedy` says how to encrypt it.
pub fn warn_without(server: &'static str, host: &str, remedy: &str) {
    static WARNED: Mutex<BTreeSet<(&'static str, String)>> = Mutex::new(BTreeSet::new());
    if is_this_machine(host) {
        return;
    }
    if WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert((server, host.to_owned())) {
        tracing::warn!(server, host, remedy, "what travels to this server need not be encrypted");
    }
}
