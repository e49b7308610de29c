//! One TLS provider in the whole process.

/// Makes ring the process's TLS provider. Safe to call again. reqwest is built without a provider of its own, and
/// panics on its first client if this was not called.
pub fn install() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
