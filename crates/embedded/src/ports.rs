//! Ports of the loopback interface.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Below the ports that Linux gives to outgoing connections. One of those could take a port before the program listens on it that
/// the port is meant for.
const FIRST: u16 = 15_000;
const PORTS: u16 = 17_000;
const TRIES: usize = 100;

/// A port of the loopback interface that is free at this moment.
pub fn free_port() -> io::Result<u16> {
    let random = || FIRST + u16::try_from(RandomState::new().hash_one(()) % u64::from(PORTS)).unwrap_or(0);
    match (0..TRIES).map(|_| random()).find(|port| is_free(*port)) {
        Some(port) => Ok(port),
        None => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()),
    }
}

/// The chosen port, or else the port of the last run if it is free, or else any free port.
pub(crate) fn claim(chosen: Option<u16>, last: Option<u16>, what: &str) -> Result<u16> {
    if let Some(port) = chosen {
        if !is_free(port) {
            bail!("port {port}, chosen for {what}, is in use by another program");
        }
        return Ok(port);
    }
    match last {
        Some(port) if is_free(port) => Ok(port),
        _ => Ok(free_port()?),
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
