//! Natural batching: commands that arrive while a commit is in flight form the next slice.
//!
//! A lane carries out one slice at a time. A slice is one statement, so a lane needs neither a transaction nor a
//! lock of its own, adds no delay to a single command, and under load pays one commit for many commands. An
//! aggregate always takes the same lane, and never twice in one slice, because a statement sees each row once.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};

use messaging::Hint;
use runtime::{ApiError, Tasks, database};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Commands that may wait in one lane; beyond it the service says that it is overloaded.
const WAITING: usize = 4_096;

/// How wide the service is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) lanes: usize,
    /// Commands in a slice at most.
    pub(crate) slice: usize,
}

/// A kind of command whose slices are one statement.
pub(crate) trait Slices: Copy + Send + Sync + 'static {
    type Command: Send + Sync + 'static;
    type Outcome: Send + 'static;
    /// What two commands must not share in one slice.
    type Key: Hash + Eq + Send;
    /// Names the kind in metrics.
    const NAME: &'static str;

    fn key(command: &Self::Command) -> Self::Key;

    /// What the event of a command is about.
    fn aggregate(command: &Self::Command) -> Uuid;

    /// Carries out a slice: all of it commits or none. The outcomes stand in the order of the commands.
    fn execute(
        conn: &mut PgConnection,
        slice: &[Self::Command],
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Outcome>>> + Send;

    /// Whether an outcome has written something, so that the relay should be told.
    fn changed(outcome: &Self::Outcome) -> bool;
}

type Reply<S> = oneshot::Sender<Result<<S as Slices>::Outcome, ApiError>>;

/// A command on its way, and where its outcome is awaited.
struct Waiting<S: Slices> {
    command: S::Command,
    reply: Reply<S>,
}

/// The lanes of one kind of command.
#[derive(Debug)]
pub(crate) struct Lanes<S: Slices> {
    lanes: Vec<mpsc::Sender<Waiting<S>>>,
}

impl<S: Slices> Lanes<S> {
    pub(crate) fn start(_kind: S, pool: &PgPool, size: Size, hint: &Hint, tasks: &Tasks) -> Self {
        let lanes = (0..size.lanes)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(WAITING);
                let lane = Lane {
                    pool: pool.clone(),
                    connection: None,
                    limit: size.slice,
                    hint: hint.clone(),
                    waiting: VecDeque::new(),
                    receiver,
                };
                let shutdown = tasks.shutdown.clone();
                tasks.spawn(S::NAME, async move {
                    // The lane ends when the last handler is gone, or at shutdown once nobody waits any more.
                    lane.run(shutdown).await;
                });
                sender
            })
            .collect();
        Self { lanes }
    }

    /// Carries out a command in some slice of its lane. Dropping this future does not undo the command.
    pub(crate) async fn execute(&self, command: S::Command) -> Result<S::Outcome, ApiError> {
        let lane = &self.lanes[self.lane_of(&command)];
        let (reply, outcome) = oneshot::channel();
        lane.try_send(Waiting { command, reply }).map_err(|_| {
            ApiError::unavailable(format!("{WAITING} commands are waiting, or the service is stopping"))
        })?;
        outcome.await.map_err(|_| ApiError::unavailable("the service is stopping"))?
    }

    fn lane_of(&self, command: &S::Command) -> usize {
        let mut hasher = DefaultHasher::new();
        S::key(command).hash(&mut hasher);
        usize::try_from(hasher.finish() % self.lanes.len() as u64).unwrap_or_default()
    }
}

struct Lane<S: Slices> {
    pool: PgPool,
    /// Kept from slice to slice: taking one from the pool and giving it back costs a round trip.
    connection: Option<PoolConnection<Postgres>>,
    limit: usize,
    hint: Hint,
    waiting: VecDeque<Waiting<S>>,
    receiver: mpsc::Receiver<Waiting<S>>,
}

impl<S: Slices> Lane<S> {
    async fn run(mut self, shutdown: tokio_util::sync::CancellationToken) {
        loop {
            if self.waiting.is_empty() {
                tokio::select! {
                    biased;
                    next = self.receiver.recv() => match next {
                        Some(first) => self.waiting.push_back(first),
                        None => return,
                    },
                    () = shutdown.cancelled() => return,
                }
            }
            while let Ok(next) = self.receiver.try_recv() {
                self.waiting.push_back(next);
            }
            let (commands, replies) = self.next_slice();
            self.carry_out(commands, replies).await;
        }
    }

    /// Takes up to `limit` commands, one per key, in the order of their arrival.
    fn next_slice(&mut self) -> (Vec<S::Command>, Vec<Reply<S>>) {
        let (mut commands, mut replies, mut later) = (Vec::new(), Vec::new(), VecDeque::new());
        let mut keys = HashSet::new();
        while commands.len() < self.limit
            && let Some(next) = self.waiting.pop_front()
        {
            if keys.insert(S::key(&next.command)) {
                commands.push(next.command);
                replies.push(next.reply);
            } else {
                later.push_back(next);
            }
        }
        later.append(&mut self.waiting);
        self.waiting = later;
        (commands, replies)
    }

    async fn carry_out(&mut self, commands: Vec<S::Command>, replies: Vec<Reply<S>>) {
        metrics::histogram!("command_slice_size", "kind" => S::NAME)
            .record(f64::from(u32::try_from(commands.len()).unwrap_or(u32::MAX)));
        match self.execute(&commands).await {
            Ok(outcomes) => {
                debug_assert_eq!(outcomes.len(), replies.len(), "one outcome per command");
                self.tell_relay(commands.iter().zip(&outcomes));
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    answer::<S>(reply, Ok(outcome));
                }
            }
            // The database refused the statement, so nothing of it happened: one command must not spoil the others.
            Err(sqlx::Error::Database(_)) => self.one_by_one(commands, replies).await,
            Err(error) => {
                tracing::warn!(%error, commands = commands.len(), "slice failed");
                for reply in replies {
                    answer::<S>(reply, Err(ApiError::unavailable("the database did not answer")));
                }
            }
        }
    }

    fn tell_relay<'a>(&self, done: impl Iterator<Item = (&'a S::Command, &'a S::Outcome)>) {
        let mut changed =
            done.filter(|(_, outcome)| S::changed(outcome)).map(|(command, _)| S::aggregate(command)).peekable();
        if changed.peek().is_some() {
            self.hint.send_about(changed);
        }
    }

    /// Runs the statement on the lane's connection. Whatever the server did not itself refuse leaves the connection
    /// in doubt, so it is closed.
    async fn execute(&mut self, slice: &[S::Command]) -> sqlx::Result<Vec<S::Outcome>> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        runtime::faults::point("command.slice.ready");
        let outcomes = database::limited(S::execute(&mut connection, slice)).await;
        runtime::faults::point("command.slice.committed");
        match &outcomes {
            Ok(_) | Err(sqlx::Error::Database(_)) => self.connection = Some(connection),
            Err(_) => drop(connection.detach()),
        }
        outcomes
    }

    async fn one_by_one(&mut self, commands: Vec<S::Command>, replies: Vec<Reply<S>>) {
        for (command, reply) in commands.iter().zip(replies) {
            let outcome = self.execute(std::slice::from_ref(command)).await;
            let outcome = outcome.map_err(ApiError::from).and_then(|mut outcomes| {
                outcomes.pop().ok_or_else(|| ApiError::internal("a slice of one command had no outcome"))
            });
            self.tell_relay(outcome.iter().map(|outcome| (command, outcome)));
            answer::<S>(reply, outcome);
        }
    }
}

/// A client that has hung up is no reason to do anything: its command stands.
fn answer<S: Slices>(reply: Reply<S>, outcome: Result<S::Outcome, ApiError>) {
    let _gone = reply.send(outcome);
}
