//! Whether callers are asked who they are, and how.

use std::net::IpAddr;
use std::num::NonZeroU32;

use anyhow::bail;

use crate::token::TokenSettings;

/// Whether access is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Auth {
    /// Every client may do everything, and says who acts.
    None,
    /// Every request needs a key or a token.
    Required,
}

/// Who may call.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AccessSettings {
    /// Whether callers must prove who they are. Unset: `none` while the service listens on this machine only; on other addresses it must be
    /// set.
    #[arg(long, env = "AUTH", value_enum)]
    pub auth: Option<Auth>,
    #[command(flatten)]
    pub tokens: TokenSettings,
    /// Requests per second of one caller, on average over some seconds, with AUTH=required.
    #[arg(long, env = "RATE_LIMIT_PER_CALLER", default_value = "1000")]
    pub rate_limit_per_caller: Option<NonZeroU32>,
    /// Requests per second from one address that come from customers, or without a valid key or token, with AUTH=required.
    #[arg(long, env = "RATE_LIMIT_PER_ADDRESS", default_value = "50")]
    pub rate_limit_per_address: Option<NonZeroU32>,
}

impl AccessSettings {
    /// Whether access is checked by a service that listens on this address.
    ///
    /// # Errors
    /// When the address is open to others, and nothing says that they are let in.
    pub fn mode(&self, address: IpAddr) -> anyhow::Result<Auth> {
        match self.auth {
            Some(Auth::None) if !address.is_loopback() => {
                tracing::warn!(%address, "AUTH=none: every client that reaches this address may do everything");
                Ok(Auth::None)
            }
            Some(auth) => Ok(auth),
            None if address.is_loopback() => Ok(Auth::None),
            None => bail!(
                "AUTH is not set, and {address} can be reached from other machines: set AUTH=required, and make keys with `ops keys \
                 create`; or set AUTH=none, if something in front of it checks who calls"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_address_needs_a_decision() {
        let of = |auth: Option<Auth>, address: &str| {
            let settings = AccessSettings { auth, ..AccessSettings::default() };
            settings.mode(address.parse().expect("an address")).ok()
        };
        for (auth, address, expected) in [
            (None, "127.0.0.1", Some(Auth::None)),
            (None, "::1", Some(Auth::None)),
            (None, "0.0.0.0", None),
            (None, "192.0.2.1", None),
            (Some(Auth::None), "0.0.0.0", Some(Auth::None)),
            (Some(Auth::Required), "127.0.0.1", Some(Auth::Required)),
            (Some(Auth::Required), "0.0.0.0", Some(Auth::Required)),
        ] {
            assert_eq!(of(auth, address), expected, "{auth:?} {address}");
        }
    }
}
