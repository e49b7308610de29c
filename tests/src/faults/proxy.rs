//! A TCP proxy in this process that behaves like a bad network. A seed decides what happens to each connection.
//!
//! It never invents, changes or reorders bytes: the receiver gets a prefix of what was sent. The exception is
//! [`Mode::Blackhole`], after which the proxy cuts the connection. So a mistake in what a process receives is the
//! process's own.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// How the proxy treats all its connections, including those already open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Quiet,
    /// Each connection gets the troubles that the seed and its number decide. Some vanish, as when a firewall forgets
    /// them: neither side is told, and a side that waits without a time-out waits for ever.
    Stormy,
    /// Accepts bytes in this direction and discards them; the connection looks healthy. When the mode ends, the proxy
    /// resets every connection that lost bytes: the receiver could only misread what follows a gap.
    Blackhole(Direction),
}

/// A trouble of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Nothing moves for a while, and neither side is told.
    Stall(Duration),
    /// One side believes that the other has finished; the other direction stays open.
    HalfClose(Direction),
    /// Closed properly on both sides, in the middle of a message.
    Drop,
    /// Ended by RST on both sides.
    Reset,
    /// Forgotten, as by a firewall: all later bytes are lost, and neither side hears that the other has closed. It lasts
    /// until the client gives the connection up.
    Vanish,
}

impl Trouble {
    const fn name(self) -> &'static str {
        match self {
            Self::Stall(_) => "stalled",
            Self::HalfClose(_) => "half-closed",
            Self::Drop => "dropped",
            Self::Reset => "reset",
            Self::Vanish => "vanished",
        }
    }
}

/// What one direction of a connection must do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Stalled,
    HalfClosed(Direction),
}

/// Listens on its own port while it lives, and forwards connections to one target at a time.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: watch::Sender<SocketAddr>,
    mode: watch::Sender<Mode>,
    cuts: watch::Sender<u64>,
    lapses: watch::Sender<u64>,
    incidents: Incidents,
    accepting: tokio::task::JoinHandle<()>,
}

type Incidents = Arc<Mutex<BTreeMap<&'static str, u64>>>;

impl Proxy {
    /// Starts in [`Mode::Quiet`].
    pub async fn start(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (mode, cuts, lapses) = (watch::Sender::new(Mode::Quiet), watch::Sender::new(0), watch::Sender::new(0));
        let (target, incidents) = (watch::Sender::new(target), Incidents::default());
        let acceptor = Acceptor {
            target: target.subscribe(),
            seed,
            mode: mode.clone(),
            cuts: cuts.clone(),
            lapses: lapses.clone(),
            incidents: incidents.clone(),
        };
        let accepting = tokio::spawn(acceptor.run(listener));
        Ok(Self { address, target, mode, cuts, lapses, incidents, accepting })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// From now on connections lead to another target, as behind an address that moves from one machine to another. Resets
    /// those that are open.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
        self.cut_all();
    }

    /// Resets every open connection; it still accepts new ones.
    pub fn cut_all(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Forgets every open connection, as [`Trouble::Vanish`] does; new ones are passed on.
    pub fn forget_all(&self) {
        self.lapses.send_modify(|lapses| *lapses += 1);
    }

    /// Its faults so far, with their counts.
    pub fn incidents(&self) -> BTreeMap<&'static str, u64> {
        self.incidents.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Acceptor {
    target: watch::Receiver<SocketAddr>,
    seed: u64,
    mode: watch::Sender<Mode>,
    cuts: watch::Sender<u64>,
    lapses: watch::Sender<u64>,
    incidents: Incidents,
}

impl Acceptor {
    /// Connections end with this future, because its set owns them.
    async fn run(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        for number in 0.. {
            let Ok((client, _)) = listener.accept().await else { continue };
            while connections.try_join_next().is_some() {}
            let connection = Connection {
                chance: StdRng::seed_from_u64(self.seed.wrapping_add(number)),
                mode: self.mode.subscribe(),
                cuts: self.cuts.subscribe(),
                lapses: self.lapses.subscribe(),
                incidents: self.incidents.clone(),
                swallowed: AtomicBool::new(false),
            };
            // Read after the subscription to cuts: a connection to a target that is left is reset.
            let target = *self.target.borrow();
            connections.spawn(async move {
                match TcpStream::connect(target).await {
                    Ok(server) => connection.serve(client, server).await,
                    // The closest a proxy can come to a server that is down.
                    Err(_) => drop(client.set_zero_linger()),
                }
            });
        }
    }
}

struct Connection {
    chance: StdRng,
    mode: watch::Receiver<Mode>,
    cuts: watch::Receiver<u64>,
    lapses: watch::Receiver<u64>,
    incidents: Incidents,
    /// Whether a black hole has discarded bytes.
    swallowed: AtomicBool,
}

impl Connection {
    async fn serve(mut self, mut client: TcpStream, mut server: TcpStream) {
        // Nagle's algorithm would delay answers; the processes switch it off as well.
        let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        let (state, heeded) = watch::channel(State::Open);
        let delay = draw_delay(&mut self.chance);
        let mut cuts = self.cuts.clone();
        let end = {
            let (client_in, client_out) = client.split();
            let (server_in, server_out) = server.split();
            let way = |direction| Way {
                direction,
                delay,
                mode: self.mode.clone(),
                state: heeded.clone(),
                swallowed: &self.swallowed,
            };
            let pumps = async {
                tokio::join!(
                    way(Direction::ToServer).pump(client_in, server_out),
                    way(Direction::ToClient).pump(server_in, client_out),
                );
            };
            let troubles = troubles(&mut self.chance, self.mode.clone(), &state, &self.incidents, &self.swallowed);
            tokio::select! {
                () = pumps => Trouble::Drop,
                end = troubles => end,
                _ = cuts.changed() => Trouble::Reset,
                _ = self.lapses.changed() => Trouble::Vanish,
            }
        };
        if end == Trouble::Reset || end == Trouble::Vanish && is_cut_while_lost(&mut client, &mut server, cuts).await {
            let _ = client.set_zero_linger().and_then(|()| server.set_zero_linger());
        }
    }
}

/// Discards the bytes of a vanished connection until the client gives it up, or until the proxy cuts it.
async fn is_cut_while_lost(client: &mut TcpStream, server: &mut TcpStream, mut cuts: watch::Receiver<u64>) -> bool {
    let (mut from_client, mut from_server) = (tokio::io::sink(), tokio::io::sink());
    let server_is_not_heard = async {
        let _ = tokio::io::copy(server, &mut from_server).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = tokio::io::copy(client, &mut from_client) => false,
        () = server_is_not_heard => false,
        _ = cuts.changed() => true,
    }
}

/// Runs the troubles of a connection until one ends it, and returns that one.
async fn troubles(
    chance: &mut StdRng,
    mut mode: watch::Receiver<Mode>,
    state: &watch::Sender<State>,
    incidents: &Incidents,
    swallowed: &AtomicBool,
) -> Trouble {
    loop {
        let current = *mode.borrow_and_update();
        if current != Mode::Stormy {
            // An error means that the proxy is gone, and this connection with it.
            let _ = mode.changed().await;
            if swallowed.load(Ordering::Relaxed) {
                return Trouble::Reset;
            }
            continue;
        }
        let (after, trouble) = draw(chance);
        tokio::select! {
            _ = mode.changed() => continue,
            () = sleep(after) => {}
        }
        *incidents.lock().unwrap_or_else(PoisonError::into_inner).entry(trouble.name()).or_default() += 1;
        match trouble {
            Trouble::Stall(length) => {
                state.send_replace(State::Stalled);
                tokio::select! { _ = mode.changed() => {}, () = sleep(length) => {} }
                state.send_replace(State::Open);
            }
            Trouble::HalfClose(direction) => {
                state.send_replace(State::HalfClosed(direction));
                // With a limit: a peer that waits for the open half waits as long as this lasts.
                tokio::select! { _ = mode.changed() => {}, () = sleep(HALF_CLOSED) => {} }
                return Trouble::Drop;
            }
            Trouble::Drop | Trouble::Reset | Trouble::Vanish => return trouble,
        }
    }
}

/// How long the open half of a half-closed connection stays.
const HALF_CLOSED: Duration = Duration::from_secs(3);

/// The next trouble of a connection, and when it comes.
fn draw(chance: &mut StdRng) -> (Duration, Trouble) {
    let after = Duration::from_millis(chance.random_range(200..12_000));
    let trouble = match chance.random_range(0..7) {
        0..=2 => Trouble::Stall(Duration::from_millis(chance.random_range(50..4_000))),
        3 => Trouble::HalfClose(if chance.random_bool(0.5) { Direction::ToServer } else { Direction::ToClient }),
        4 => Trouble::Drop,
        5 => Trouble::Vanish,
        _ => Trouble::Reset,
    };
    (after, trouble)
}

/// One connection in three is slow: this is its delay per piece of data.
fn draw_delay(chance: &mut StdRng) -> Duration {
    let millis = chance.random_range(1..20);
    if chance.random_range(0..3) == 0 { Duration::from_millis(millis) } else { Duration::ZERO }
}

/// Forwards one direction of a connection.
struct Way<'a> {
    direction: Direction,
    delay: Duration,
    mode: watch::Receiver<Mode>,
    state: watch::Receiver<State>,
    swallowed: &'a AtomicBool,
}

impl Way<'_> {
    async fn pump(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
        let closed = State::HalfClosed(self.direction);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let mut state = self.state.clone();
            let read = tokio::select! {
                read = from.read(&mut buffer) => read.unwrap_or(0),
                _ = state.wait_for(|state| *state == closed) => 0,
            };
            if read == 0 {
                let _ = to.shutdown().await;
                return;
            }
            // An error means that the connection is being dropped.
            let _ = self.state.wait_for(|state| *state != State::Stalled).await;
            let mode = *self.mode.borrow();
            if mode == Mode::Blackhole(self.direction) {
                self.swallowed.store(true, Ordering::Relaxed);
                continue;
            }
            if mode == Mode::Stormy && !self.delay.is_zero() {
                sleep(self.delay).await;
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;

    /// An echo server behind a proxy.
    async fn echo(seed: u64) -> Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let target = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Ok(Proxy::start(target, seed).await?)
    }

    async fn said(stream: &mut TcpStream, text: &str) -> io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Reads from a connection until it ends, and tells how it ended.
    async fn end(stream: &mut TcpStream) -> Result<usize, io::ErrorKind> {
        let mut rest = Vec::new();
        tokio::time::timeout(crate::waiting::SOON, stream.read_to_end(&mut rest))
            .await
            .expect("the connection ends")
            .map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn a_quiet_proxy_passes_everything_on_until_it_cuts() -> Result<()> {
        let proxy = echo(1).await?;
        let mut stream = TcpStream::connect(proxy.address()).await?;
        assert_eq!(said(&mut stream, "hello").await?, "hello");
        proxy.cut_all();
        assert_eq!(end(&mut stream).await, Err(io::ErrorKind::ConnectionReset));
        let mut again = TcpStream::connect(proxy.address()).await?;
        assert_eq!(said(&mut again, "again").await?, "again");
        Ok(())
    }

    #[tokio::test]
    async fn it_leads_to_another_target_and_leaves_the_old_one() -> Result<()> {
        let (proxy, other) = (echo(1).await?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let mut left = TcpStream::connect(proxy.address()).await?;
        assert_eq!(said(&mut left, "hello").await?, "hello");
        proxy.lead_to(other.local_addr()?);
        assert_eq!(end(&mut left).await, Err(io::ErrorKind::ConnectionReset));
        let (mut client, (mut server, _)) = tokio::try_join!(TcpStream::connect(proxy.address()), other.accept())?;
        client.write_all(b"hello").await?;
        let mut heard = [0; 5];
        server.read_exact(&mut heard).await?;
        assert_eq!(&heard, b"hello");
        Ok(())
    }

    #[tokio::test]
    async fn a_black_hole_takes_one_direction_and_resets_what_it_took_from() -> Result<()> {
        let proxy = echo(1).await?;
        let mut harmed = TcpStream::connect(proxy.address()).await?;
        let mut idle = TcpStream::connect(proxy.address()).await?;
        assert_eq!(said(&mut harmed, "before").await?, "before");
        assert_eq!(said(&mut idle, "before").await?, "before");
        proxy.set(Mode::Blackhole(Direction::ToClient));
        harmed.write_all(b"lost").await?;
        let nothing = tokio::time::timeout(Duration::from_millis(200), harmed.read_u8()).await;
        assert!(nothing.is_err(), "neither the answer nor an error may arrive: {nothing:?}");
        proxy.set(Mode::Quiet);
        assert_eq!(end(&mut harmed).await, Err(io::ErrorKind::ConnectionReset));
        assert_eq!(said(&mut idle, "after").await?, "after");
        Ok(())
    }

    #[tokio::test]
    async fn a_forgotten_connection_is_silent_and_a_new_one_works() -> Result<()> {
        let proxy = echo(1).await?;
        let mut old = TcpStream::connect(proxy.address()).await?;
        assert_eq!(said(&mut old, "before").await?, "before");
        proxy.forget_all();
        let mut new = TcpStream::connect(proxy.address()).await?;
        assert_eq!(said(&mut new, "after").await?, "after");
        old.write_all(b"lost").await?;
        let nothing = tokio::time::timeout(Duration::from_millis(200), old.read_u8()).await;
        assert!(nothing.is_err(), "neither an answer nor an error may arrive: {nothing:?}");
        Ok(())
    }

    #[test]
    fn a_seed_draws_the_same_troubles_again() {
        let draws = |seed| {
            let mut chance = StdRng::seed_from_u64(seed);
            (0..50).map(|_| draw(&mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(draws(3), draws(3));
        assert_ne!(draws(3), draws(4));
        for kind in ["stalled", "half-closed", "dropped", "reset", "vanished"] {
            assert!(draws(3).iter().any(|(_, trouble)| trouble.name() == kind), "{kind}");
        }
    }
}
