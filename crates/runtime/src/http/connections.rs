//! The connections of a server: how many there are, what each is doing, and for how long.
//!
//! A client that sends nothing, or half of a request's head, costs a connection and little else, so an attacker opens many. Each has a
//! time-out, and when all places are taken the one that has been silent for the longest gives way, those first that have never sent a
//! whole request: a client that talks keeps its own.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// How long a client may take for the head of a request, from its first byte.
pub(super) const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may be silent between two requests, or while it takes an answer. Longer than the proxies in front of us keep a
/// connection, so that they close it first.
pub(super) const SILENT_FOR: Duration = Duration::from_secs(75);

/// Connections that are chosen at a time to give way. A look at all of them for each that comes would take a core at some hundred
/// per second.
const CHOSEN: usize = 256;
/// The same of those that have had an answer: until the next look they go before what has come since and never sent a whole request.
const CHOSEN_OF_GOOD: usize = 16;

/// What a connection is doing. The numbers are the lowest bits of [`Connection::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Nothing, or it takes an answer.
    Waiting = 0,
    /// A part of a request's head is here.
    Head = 1,
    /// A request is being answered.
    Answering = 2,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    started: Instant,
    /// A [`State`].
    state: AtomicU64,
    pub(super) close: CancellationToken,
}

impl Connection {
    /// Only the connection's own task does this.
    fn enter(&self, doing: Doing, has_answered: bool) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 16);
        self.state.store(State::new(now, has_answered, doing).0, Ordering::Relaxed);
    }

    fn state(&self) -> State {
        State(self.state.load(Ordering::Relaxed))
    }

    pub(super) fn is_answering(&self) -> bool {
        self.state().doing() == Doing::Answering
    }

    /// A request is here.
    pub(super) fn answers(&self) {
        self.enter(Doing::Answering, self.state().has_answered());
    }

    /// It is answered.
    pub(super) fn waits(&self) {
        self.enter(Doing::Waiting, true);
    }

    fn has_read(&self) {
        let state = self.state();
        if state.doing() == Doing::Waiting {
            self.enter(Doing::Head, state.has_answered());
        }
    }

    /// Also when the next request is partly here already: its sender is busy with this answer.
    fn has_written(&self) {
        let state = self.state();
        if state.doing() != Doing::Answering {
            self.enter(Doing::Waiting, state.has_answered());
        }
    }

    fn is_overdue(&self) -> bool {
        let state = self.state();
        let time = self.started.elapsed().saturating_sub(state.since());
        match state.doing() {
            Doing::Head => time > HEAD_WITHIN,
            Doing::Waiting => time > SILENT_FOR,
            // The request's own time-out ends it.
            Doing::Answering => false,
        }
    }
}

/// What a connection does, since when (milliseconds after its start), and whether a request was answered on it:
/// time × 8 + 4 if one was + [`Doing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    const fn new(since: u64, has_answered: bool, doing: Doing) -> Self {
        Self(since * 8 + if has_answered { 4 } else { 0 } + doing as u64)
    }

    const fn has_answered(self) -> bool {
        self.0 & 4 != 0
    }

    const fn doing(self) -> Doing {
        match self.0 % 4 {
            0 => Doing::Waiting,
            1 => Doing::Head,
            _ => Doing::Answering,
        }
    }

    /// After the connection's start.
    const fn since(self) -> Duration {
        Duration::from_millis(self.0 / 8)
    }
}

/// All connections of a server.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    most: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    by_id: HashMap<u64, Arc<Connection>>,
    /// Those that give way next, the last one first, unless they have done something since.
    chosen: Vec<(Arc<Connection>, State)>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// Gives a new connection a place: the place of the one that has been silent for the longest, when all are taken. `None`: every
    /// connection is being answered.
    pub(super) fn admit(&self) -> Option<Arc<Connection>> {
        let mut open = self.lock();
        if open.by_id.len() < self.most {
            open.chosen.clear();
        } else if !open.close_longest_silent() {
            return None;
        }
        open.next_id += 1;
        let connection = Arc::new(Connection {
            id: open.next_id,
            started: Instant::now(),
            state: AtomicU64::new(0),
            close: CancellationToken::new(),
        });
        open.by_id.insert(connection.id, connection.clone());
        Some(connection)
    }

    /// Closes the connection that has been silent for the longest, of those that have never sent a whole request if there are any.
    pub(super) fn make_room(&self) {
        self.lock().close_longest_silent();
    }

    /// Closes those that wait for the rest of a head. The others end with a graceful shutdown.
    pub(super) fn close_half_heads(&self) {
        for connection in self.lock().by_id.values().filter(|one| one.state().doing() == Doing::Head) {
            connection.close.cancel();
        }
    }

    pub(super) fn forget(&self, connection: &Connection) {
        self.lock().by_id.remove(&connection.id);
    }

    /// Closes those that have taken too long.
    pub(super) fn close_overdue(&self) {
        let overdue: Vec<_> = self.lock().by_id.values().filter(|one| one.is_overdue()).cloned().collect();
        for connection in overdue {
            connection.close.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// `false`: every connection is being answered.
    fn close_longest_silent(&mut self) -> bool {
        loop {
            while let Some((connection, state)) = self.chosen.pop() {
                if connection.state() == state && self.by_id.remove(&connection.id).is_some() {
                    connection.close.cancel();
                    return true;
                }
            }
            self.chosen = self.choose();
            if self.chosen.is_empty() {
                return false;
            }
        }
    }

    /// Those that have been silent for the longest, the one to go first last.
    ///
    /// One that has never sent a whole request goes before one that has: a burst of silent ones must not throw good clients out.
    fn choose(&self) -> Vec<(Arc<Connection>, State)> {
        let each = self.by_id.values().map(|connection| (connection, connection.state()));
        let silent = each.filter(|(_, state)| state.doing() != Doing::Answering);
        let (good, never): (Vec<_>, Vec<_>) = silent.partition(|(_, state)| state.has_answered());
        let mut chosen = longest(never, CHOSEN);
        if chosen.len() < CHOSEN_OF_GOOD {
            chosen.extend(longest(good, CHOSEN_OF_GOOD - chosen.len()));
        }
        chosen.reverse();
        chosen.into_iter().map(|(connection, state)| (connection.clone(), state)).collect()
    }
}

/// So many of them that have been silent for the longest, the longest first.
fn longest(mut silent: Vec<(&Arc<Connection>, State)>, most: usize) -> Vec<(&Arc<Connection>, State)> {
    let since = |(connection, state): &(&Arc<Connection>, State)| connection.started + state.since();
    if silent.len() > most {
        silent.select_nth_unstable_by_key(most, since);
        silent.truncate(most);
    }
    silent.sort_unstable_by_key(since);
    silent
}

/// A stream that tells its connection what is read and written.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) connection: Arc<Connection>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.connection.has_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.connection.has_written();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.connection.has_written();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_is_silent_for_the_longest_gives_way() {
        let connections = Connections::new(3);
        let [first, second, third] = [(); 3].map(|()| connections.admit().expect("a place"));
        first.answers();
        second.has_read();
        // Silent since before the second came, but it has had an answer.
        third.waits();
        let fourth = connections.admit().expect("the place of the second");
        assert!(second.close.is_cancelled());
        assert!(!first.close.is_cancelled() && !third.close.is_cancelled());
        for busy in [&third, &fourth] {
            busy.answers();
        }
        assert!(connections.admit().is_none(), "all are being answered");
        connections.forget(&third);
        assert!(connections.admit().is_some());
    }

    #[test]
    fn one_that_was_chosen_and_talks_again_stays() {
        let connections = Connections::new(3);
        let [first, second, third] = [(); 3].map(|()| connections.admit().expect("a place"));
        let _fourth = connections.admit().expect("the place of the first");
        assert!(first.close.is_cancelled());
        second.answers();
        second.waits();
        let _fifth = connections.admit().expect("the place of the third");
        assert!(third.close.is_cancelled() && !second.close.is_cancelled());
    }

    #[test]
    fn half_a_head_and_silence_have_a_time_out_and_an_answer_has_its_own() {
        let since = |doing: Doing, ago: Duration| {
            let started = Instant::now().checked_sub(ago).expect("the machine runs for longer");
            let state = AtomicU64::new(State::new(0, true, doing).0);
            Connection { id: 0, started, state, close: CancellationToken::new() }
        };
        let (short, long) = (Duration::from_secs(9), Duration::from_secs(11));
        assert!(!since(Doing::Head, short).is_overdue() && since(Doing::Head, long).is_overdue());
        let (short, long) = (Duration::from_secs(70), Duration::from_secs(80));
        assert!(!since(Doing::Waiting, short).is_overdue() && since(Doing::Waiting, long).is_overdue());
        assert!(!since(Doing::Answering, long).is_overdue());
    }
}
