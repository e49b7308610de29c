//! Natural batching: commands that arrive while a commit is in flight form the next batch.
//!
//! A batcher executes one batch at a time. A batch is one statement, so a batcher needs no transaction and no lock
//! of its own. It adds no delay to a single command, and under load many commands share one commit. Commands with
//! the same key always go to the same batcher and never share a batch, because a statement sees each row once.
//!
//! A command is executed in the order of its arrival (among those with its key), within its deadline, and while its
//! client waits, or not at all: see [`queue`].

mod queue;
mod session;
mod refusals;

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use messaging::Hint;
use runtime::{ApiError, Tasks, database};
use sqlx::error::DatabaseError;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use queue::{Batch, Entrance, Queue, Ticket};
use session::Session;

/// Commands that may wait for one batcher. Further ones are refused.
const PLACES: usize = 4_096;

/// How many batchers a kind of command has, and how large their batches may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) batchers: usize,
    /// Commands in one batch, at most.
    pub(crate) batch: usize,
    /// How long a command may wait before it is executed.
    pub(crate) deadline: Duration,
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

    /// Whether the command did nothing because another transaction holds its aggregate. It is tried again until its
    /// deadline, and the others go on meanwhile.
    fn blocked(outcome: &Self::Outcome) -> bool;
}

/// The batchers of one kind of command.
pub(crate) struct Batchers<K: Batched> {
    entrances: Vec<Entrance<K>>,
}

impl<K: Batched> Batchers<K> {
    pub(crate) fn start(pool: &PgPool, size: Size, hint: &Hint, tasks: &Tasks) -> Self {
        let entrances = (0..size.batchers)
            .map(|_| {
                let (entrance, queue) = queue::queue(PLACES, size.deadline);
                let session = Session::new(pool.clone());
                let batcher = Batcher::<K> { queue, session, limit: size.batch, hint: hint.clone() };
                tasks.spawn(K::NAME, batcher.run(tasks.shutdown.clone()));
                entrance
            })
            .collect();
        Self { entrances }
    }

    /// Executes a command in one of the next batches. Dropping this future does not undo the command, but if no batch has
    /// it yet, none will.
    pub(crate) async fn execute(&self, command: K::Command) -> Result<K::Outcome, ApiError> {
        let outcome = self.entrances[self.index(&command)].enter(command)?;
        outcome.await.map_err(|_| refusals::stopping())?
    }

    fn index(&self, command: &K::Command) -> usize {
        let mut hasher = DefaultHasher::new();
        K::key(command).hash(&mut hasher);
        usize::try_from(hasher.finish() % self.entrances.len() as u64).unwrap_or_default()
    }
}

struct Batcher<K: Batched> {
    queue: Queue<K>,
    session: Session,
    limit: usize,
    hint: Hint,
}

impl<K: Batched> Batcher<K> {
    /// Ends when the last handler is gone, or at shutdown once no command is waiting.
    async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let batch = self.queue.next_batch(self.limit, Instant::now());
            if !batch.commands.is_empty() {
                self.execute_and_answer(batch).await;
            } else if !self.queue.wait(&shutdown).await {
                return;
            }
        }
    }

    async fn execute_and_answer(&mut self, batch: Batch<K>) {
        metrics::histogram!("command_batch_size", "kind" => K::NAME)
            .record(f64::from(u32::try_from(batch.commands.len()).unwrap_or(u32::MAX)));
        match self.execute(&batch.commands).await {
            Ok(outcomes) => self.answer(batch, outcomes),
            // The database refused the statement, so none of it happened. Each command is tried alone, because one
            // that is refused must not fail the others.
            Err(error) if may_be_due_to_one_command(&error) => self.one_by_one(batch).await,
            Err(error) => refuse_all(&error, batch.tickets),
        }
    }

    async fn execute(&mut self, commands: &[K::Command]) -> sqlx::Result<Vec<K::Outcome>> {
        self.queue.look_through_during(self.session.execute::<K>(commands)).await
    }

    /// Answers each command with its outcome. Those that were blocked are tried again later.
    fn answer(&mut self, batch: Batch<K>, outcomes: Vec<K::Outcome>) {
        debug_assert_eq!(outcomes.len(), batch.tickets.len(), "one outcome per command");
        self.wake_relay(batch.commands.iter().zip(&outcomes));
        for ((command, ticket), outcome) in batch.into_parts().zip(outcomes) {
            if K::blocked(&outcome) {
                self.queue.put_back(command, ticket, outcome);
            } else {
                ticket.answer(Ok(outcome));
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

    async fn one_by_one(&mut self, batch: Batch<K>) {
        let mut rest = batch.into_parts();
        while let Some((command, ticket)) = rest.next() {
            let Some(ticket) = ticket.still_valid(Instant::now()) else { continue };
            match self.execute(std::slice::from_ref(&command)).await {
                Ok(outcomes) => self.answer(Batch { commands: vec![command], tickets: vec![ticket] }, outcomes),
                Err(error) if may_be_due_to_one_command(&error) => ticket.answer(Err(error.into())),
                Err(error) => {
                    return refuse_all(&error, std::iter::once(ticket).chain(rest.map(|(_, ticket)| ticket)));
                }
            }
        }
    }
}

/// Whether the database may have refused a batch because of one of its commands. It is not so when the connection has
/// ended, and when the server lacks resources (SQLSTATE class 53), was told to stop (57, which includes a statement over
/// its time limit) or could not lock a table (55P03): then the commands one by one would fail, or wait, as well.
fn may_be_due_to_one_command(error: &sqlx::Error) -> bool {
    !database::ends_connection(error)
        && error
            .as_database_error()
            .and_then(DatabaseError::code)
            .is_some_and(|code| !["53", "57", "55P03"].iter().any(|class| code.starts_with(class)))
}

fn refuse_all<K: Batched>(error: &sqlx::Error, tickets: impl IntoIterator<Item = Ticket<K>>) {
    let mut commands = 0;
    for ticket in tickets {
        commands += 1;
        ticket.answer(Err(ApiError::unavailable("the database did not execute the batch")));
    }
    tracing::warn!(kind = K::NAME, %error, commands, "batch failed");
}
