//! One TLS provider in the whole process.

/// Makes ring the process's TLS provider. Safe to call again; reqwest is built without a provider of its own and
/// panics on its first client if nobody has called this.
pub fn install() {
    // An error means that a provider is there already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
