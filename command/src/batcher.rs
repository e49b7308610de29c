//! Natural batching: commands that arrive while a commit is in flight form the next batch.
//!
//! A batcher executes one batch at a time. A batch is one statement, so a batcher needs no transaction and no lock
//! of its own. It adds no delay to a single command, and under load many commands share one commit. Commands with
//! the same key always go to the same batcher and never share a batch, because a statement sees each row once.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};

use messaging::Hint;
use runtime::{ApiError, Tasks, database};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Commands that may wait for one batcher. Further ones are refused with 503.
const QUEUE_LIMIT: usize = 4_096;

/// How many batchers a kind of command has, and how large their batches may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) batchers: usize,
    /// Commands in one batch, at most.
    pub(crate) batch: usize,
}

/// A kind of command whose batches are one statement.
pub(crate) trait Batched: Send + Sync + 'static {
    type Command: Send + Sync + 'static;
    type Outcome: Send + 'static;
    /// Commands with equal keys must not share a batch.
    type Key: Hash + Eq + Send;
    /// Names the kind in metrics and in the log.
    const NAME: &'static str;

    fn key(command: &Self::Command) -> Self::Key;

    /// The aggregate that the command's event is about.
    fn aggregate(command: &Self::Command) -> Uuid;

    /// Executes a batch: all of it commits, or none of it. Returns one outcome per command, in the same order.
    fn execute(
        conn: &mut PgConnection,
        batch: &[Self::Command],
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Outcome>>> + Send;

    /// Whether the command wrote an event, so that the relay should be woken.
    fn changed(outcome: &Self::Outcome) -> bool;
}

type Reply<K> = oneshot::Sender<Result<<K as Batched>::Outcome, ApiError>>;

/// A command in a batcher's queue, and where to send its outcome.
struct Queued<K: Batched> {
    command: K::Command,
    reply: Reply<K>,
}

/// The batchers of one kind of command.
#[derive(Debug)]
pub(crate) struct Batchers<K: Batched> {
    queues: Vec<mpsc::Sender<Queued<K>>>,
}

impl<K: Batched> Batchers<K> {
    pub(crate) fn start(pool: &PgPool, size: Size, hint: &Hint, tasks: &Tasks) -> Self {
        let queues = (0..size.batchers)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(QUEUE_LIMIT);
                let batcher = Batcher::<K> {
                    pool: pool.clone(),
                    connection: None,
                    limit: size.batch,
                    hint: hint.clone(),
                    waiting: VecDeque::new(),
                    receiver,
                };
                tasks.spawn(K::NAME, batcher.run(tasks.shutdown.clone()));
                sender
            })
            .collect();
        Self { queues }
    }

    /// Executes a command in one of the next batches. Dropping this future does not undo the command.
    pub(crate) async fn execute(&self, command: K::Command) -> Result<K::Outcome, ApiError> {
        let queue = &self.queues[self.index(&command)];
        let (reply, outcome) = oneshot::channel();
        queue.try_send(Queued { command, reply }).map_err(|_| {
            ApiError::unavailable(format!("{QUEUE_LIMIT} commands are waiting, or the service is stopping"))
        })?;
        outcome.await.map_err(|_| ApiError::unavailable("the service is stopping"))?
    }

    fn index(&self, command: &K::Command) -> usize {
        let mut hasher = DefaultHasher::new();
        K::key(command).hash(&mut hasher);
        usize::try_from(hasher.finish() % self.queues.len() as u64).unwrap_or_default()
    }
}

struct Batcher<K: Batched> {
    pool: PgPool,
    /// Kept from batch to batch: taking one from the pool and giving it back costs a round trip.
    connection: Option<PoolConnection<Postgres>>,
    limit: usize,
    hint: Hint,
    waiting: VecDeque<Queued<K>>,
    receiver: mpsc::Receiver<Queued<K>>,
}

impl<K: Batched> Batcher<K> {
    /// Ends when the last handler is gone, or at shutdown once no command is waiting.
    async fn run(mut self, shutdown: CancellationToken) {
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
            let (commands, replies) = self.next_batch();
            self.execute_and_reply(commands, replies).await;
        }
    }

    /// Takes up to `limit` commands, one per key, in the order of their arrival.
    fn next_batch(&mut self) -> (Vec<K::Command>, Vec<Reply<K>>) {
        let (mut commands, mut replies, mut later) = (Vec::new(), Vec::new(), VecDeque::new());
        let mut keys = HashSet::new();
        while commands.len() < self.limit
            && let Some(next) = self.waiting.pop_front()
        {
            if keys.insert(K::key(&next.command)) {
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

    async fn execute_and_reply(&mut self, commands: Vec<K::Command>, replies: Vec<Reply<K>>) {
        metrics::histogram!("command_batch_size", "kind" => K::NAME)
            .record(f64::from(u32::try_from(commands.len()).unwrap_or(u32::MAX)));
        match self.execute(&commands).await {
            Ok(outcomes) => {
                debug_assert_eq!(outcomes.len(), replies.len(), "one outcome per command");
                self.wake_relay(commands.iter().zip(&outcomes));
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    send::<K>(reply, Ok(outcome));
                }
            }
            // The database refused the statement, so none of it happened. Each command is tried alone, because one
            // that is refused must not fail the others.
            Err(sqlx::Error::Database(_)) => self.one_by_one(commands, replies).await,
            Err(error) => {
                tracing::warn!(%error, commands = commands.len(), "batch failed: the database did not answer");
                for reply in replies {
                    send::<K>(reply, Err(ApiError::unavailable("the database did not answer")));
                }
            }
        }
    }

    fn wake_relay<'a>(&self, done: impl Iterator<Item = (&'a K::Command, &'a K::Outcome)>) {
        let mut changed =
            done.filter(|(_, outcome)| K::changed(outcome)).map(|(command, _)| K::aggregate(command)).peekable();
        if changed.peek().is_some() {
            self.hint.send_about(changed);
        }
    }

    /// Runs the statement on the batcher's connection. After any error but a refusal by the server, the state of the
    /// connection is unknown, so it is closed.
    async fn execute(&mut self, batch: &[K::Command]) -> sqlx::Result<Vec<K::Outcome>> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        runtime::faults::point("command.batch.ready");
        let outcomes = database::limited(K::execute(&mut connection, batch)).await;
        runtime::faults::point("command.batch.committed");
        match &outcomes {
            Ok(_) | Err(sqlx::Error::Database(_)) => self.connection = Some(connection),
            Err(_) => drop(connection.detach()),
        }
        outcomes
    }

    async fn one_by_one(&mut self, commands: Vec<K::Command>, replies: Vec<Reply<K>>) {
        for (command, reply) in commands.iter().zip(replies) {
            let outcome = self.execute(std::slice::from_ref(command)).await;
            let outcome = outcome.map_err(ApiError::from).and_then(|mut outcomes| {
                outcomes.pop().ok_or_else(|| ApiError::internal("a batch of one command had no outcome"))
            });
            self.wake_relay(outcome.iter().map(|outcome| (command, outcome)));
            send::<K>(reply, outcome);
        }
    }
}

/// The receiver is gone when the client has hung up. Its command stands all the same.
fn send<K: Batched>(reply: Reply<K>, outcome: Result<K::Outcome, ApiError>) {
    let _gone = reply.send(outcome);
}
