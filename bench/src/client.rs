//! A lean HTTP/1.1 client on bare sockets. It reads only the status, the length and the body of a response, and the headers that
//! it is asked for.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for a response.
const DEADLINE: Duration = Duration::from_secs(30);

/// A connection that stays open, for one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// The last response.
    buffer: Vec<u8>,
    /// Where its body begins.
    head: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16_384), head: 0 })
    }

    /// Sends a request and returns the body of its response, which must have the expected status.
    pub(crate) async fn exchange(&mut self, request: &[u8], expected: u16) -> Result<&[u8]> {
        let status = self.send(request).await?;
        let body = &self.buffer[self.head..];
        if status != expected {
            let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let (line, body) = (String::from_utf8_lossy(line), String::from_utf8_lossy(body));
            bail!("{line} was answered with {status} instead of {expected}: {body}");
        }
        Ok(body)
    }

    /// Sends a request and returns the status of its response.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<u16> {
        timeout(DEADLINE, self.send_unlimited(request))
            .await
            .with_context(|| format!("no answer within {DEADLINE:?}"))?
    }

    /// A header of the last response, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(&self.buffer[..self.head]).ok()?.lines().find_map(|line| value(line, name))
    }

    async fn send_unlimited(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        self.head = loop {
            self.read().await?;
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let (status, length) = parse(&self.buffer[..self.head])?;
        while self.buffer.len() < self.head + length {
            self.read().await?;
        }
        ensure!(self.buffer.len() == self.head + length, "the answer is longer than it says");
        Ok(status)
    }

    async fn read(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the server hung up");
        Ok(())
    }
}

/// The status and the length of the body, from the head of a response.
fn parse(head: &[u8]) -> Result<(u16, usize)> {
    let head = std::str::from_utf8(head)?;
    let status = head.get(9..12).context("no status")?.parse()?;
    let length = head.lines().find_map(|line| value(line, "content-length"));
    Ok((status, length.context("an answer without content-length")?.parse()?))
}

/// The value of a header, if the line is of that header.
fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.eq_ignore_ascii_case(name).then(|| value.trim())
}
