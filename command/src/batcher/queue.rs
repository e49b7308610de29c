//! The queue of a batcher: commands in the order of their arrival, and no more of them than fit.

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use runtime::ApiError;
use runtime::backoff::Backoff;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Batched, refusals};

/// While a statement takes long, the commands that wait for it are looked through this often.
const LOOK_THROUGH_EVERY: Duration = Duration::from_millis(250);
/// The wait before a blocked command is tried again. Another process's batch holds its locks for a few milliseconds, so
/// the first tries are quick.
const RETRY: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(250));

pub(super) type Reply<K> = Result<<K as Batched>::Outcome, ApiError>;

/// What a command has while it waits.
pub(super) struct Ticket<K: Batched> {
    reply: oneshot::Sender<Reply<K>>,
    deadline: Instant,
    /// How often the command was found blocked.
    blocked: u32,
    /// A blocked command is not tried before.
    retry_at: Option<Instant>,
    /// Given back with the answer.
    _place: OwnedSemaphorePermit,
}

impl<K: Batched> Ticket<K> {
    /// The receiver is gone when the client has hung up. What its command has done stands all the same.
    pub(super) fn answer(self, reply: Reply<K>) {
        let _gone = self.reply.send(reply);
    }

    /// Returns the ticket if its command may be executed. Otherwise its client is gone, or it has waited for too long; then
    /// it is answered.
    pub(super) fn still_valid(self, now: Instant) -> Option<Self> {
        if self.reply.is_closed() {
            refusals::count::<K>("client_gone");
            return None;
        }
        if now >= self.deadline {
            self.answer(Err(refusals::not_started::<K>()));
            return None;
        }
        Some(self)
    }
}

struct Queued<K: Batched> {
    command: K::Command,
    ticket: Ticket<K>,
}

/// Commands that are executed together. Each has another key.
pub(super) struct Batch<K: Batched> {
    pub(super) commands: Vec<K::Command>,
    pub(super) tickets: Vec<Ticket<K>>,
}

impl<K: Batched> Batch<K> {
    pub(super) fn into_parts(self) -> impl Iterator<Item = (K::Command, Ticket<K>)> {
        self.commands.into_iter().zip(self.tickets)
    }
}

/// Where commands enter a queue.
pub(super) struct Entrance<K: Batched> {
    sender: mpsc::UnboundedSender<Queued<K>>,
    places: Arc<Semaphore>,
    deadline: Duration,
}

impl<K: Batched> Entrance<K> {
    /// Returns where the outcome will arrive.
    ///
    /// # Errors
    /// 503 when the queue is full, or its batcher has stopped.
    pub(super) fn enter(&self, command: K::Command) -> Result<oneshot::Receiver<Reply<K>>, ApiError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| refusals::full::<K>())?;
        let (reply, outcome) = oneshot::channel();
        let deadline = Instant::now() + self.deadline;
        let ticket = Ticket { reply, deadline, blocked: 0, retry_at: None, _place: place };
        self.sender.send(Queued { command, ticket }).map_err(|_| refusals::stopping())?;
        Ok(outcome)
    }
}

/// What a batcher sees of its queue.
pub(super) struct Queue<K: Batched> {
    /// Unbounded, because each command in it has one of the places.
    receiver: mpsc::UnboundedReceiver<Queued<K>>,
    /// Taken from the receiver and not executed yet: a batch has one command per key, and some are blocked.
    waiting: VecDeque<Queued<K>>,
}

/// A queue with that many places, whose commands are executed within `deadline` or not at all.
pub(super) fn queue<K: Batched>(places: usize, deadline: Duration) -> (Entrance<K>, Queue<K>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let entrance = Entrance { sender, places: Arc::new(Semaphore::new(places)), deadline };
    (entrance, Queue { receiver, waiting: VecDeque::new() })
}

impl<K: Batched> Queue<K> {
    /// Takes up to `limit` commands, one per key, in the order of their arrival. A command that waits for its next try
    /// keeps the later ones with its key waiting.
    pub(super) fn next_batch(&mut self, limit: usize, now: Instant) -> Batch<K> {
        self.receive();
        let mut batch = Batch { commands: Vec::new(), tickets: Vec::new() };
        let mut later = VecDeque::new();
        let mut keys = HashSet::new();
        while batch.commands.len() < limit
            && let Some(Queued { command, ticket }) = self.waiting.pop_front()
        {
            let Some(ticket) = ticket.still_valid(now) else { continue };
            let is_first = keys.insert(K::key(&command));
            if is_first && ticket.retry_at.is_none_or(|retry_at| retry_at <= now) {
                batch.commands.push(command);
                batch.tickets.push(ticket);
            } else {
                later.push_back(Queued { command, ticket });
            }
        }
        later.append(&mut self.waiting);
        self.waiting = later;
        batch
    }

    /// Puts a command that was found blocked back before all others: those with its key arrived later. When its next try
    /// would come too late it is answered with `outcome`, which says that it was blocked.
    pub(super) fn put_back(&mut self, command: K::Command, mut ticket: Ticket<K>, outcome: K::Outcome) {
        ticket.blocked += 1;
        let retry_at = Instant::now() + RETRY.delay(ticket.blocked);
        if retry_at >= ticket.deadline {
            refusals::count::<K>("locked");
            ticket.answer(Ok(outcome));
            return;
        }
        ticket.retry_at = Some(retry_at);
        self.waiting.push_front(Queued { command, ticket });
    }

    /// Waits until there may be a command to execute. False: none is left, and the service is stopping.
    pub(super) async fn wait(&mut self, shutdown: &CancellationToken) -> bool {
        let retry_at = self.waiting.iter().filter_map(|queued| queued.ticket.retry_at).min();
        tokio::select! {
            biased;
            received = self.receiver.recv() => {
                // Without a sender there is no handler, so no command is waited for.
                let Some(queued) = received else { return false };
                self.waiting.push_back(queued);
                true
            }
            () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => true,
            () = shutdown.cancelled(), if self.waiting.is_empty() => false,
        }
    }

    /// Runs a statement. While it takes long, commands whose time is up are answered.
    pub(super) async fn look_through_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            match timeout(LOOK_THROUGH_EVERY, work.as_mut()).await {
                Ok(done) => return done,
                Err(_elapsed) => self.look_through(Instant::now()),
            }
        }
    }

    fn look_through(&mut self, now: Instant) {
        self.receive();
        for Queued { command, ticket } in std::mem::take(&mut self.waiting) {
            if let Some(ticket) = ticket.still_valid(now) {
                self.waiting.push_back(Queued { command, ticket });
            }
        }
    }

    fn receive(&mut self) {
        while let Ok(queued) = self.receiver.try_recv() {
            self.waiting.push_back(queued);
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::PgConnection;
    use uuid::Uuid;

    use super::*;

    /// Commands that are pairs of a key and a number.
    struct Pairs;

    impl Batched for Pairs {
        type Command = (u8, u8);
        type Outcome = bool;
        type Key = u8;
        const NAME: &'static str = "pairs";

        fn key(command: &(u8, u8)) -> u8 {
            command.0
        }

        fn aggregate(_: &(u8, u8)) -> Uuid {
            Uuid::nil()
        }

        async fn execute(_: &mut PgConnection, batch: &[(u8, u8)]) -> sqlx::Result<Vec<bool>> {
            Ok(vec![true; batch.len()])
        }

        fn changed(outcome: &bool) -> bool {
            *outcome
        }

        fn blocked(outcome: &bool) -> bool {
            !outcome
        }
    }

    const DEADLINE: Duration = Duration::from_secs(10);

    /// The commands of a batch, which is answered.
    fn executed(batch: Batch<Pairs>) -> Vec<(u8, u8)> {
        let answered = batch.into_parts().map(|(command, ticket)| {
            ticket.answer(Ok(true));
            command
        });
        answered.collect()
    }

    #[tokio::test]
    async fn what_waits_is_bounded_wherever_it_waits() {
        let (entrance, mut queue) = queue::<Pairs>(3, DEADLINE);
        let mut clients: Vec<_> = (0..3).map(|n| entrance.enter((1, n)).expect("a place")).collect();
        assert_eq!(entrance.enter((2, 0)).expect_err("no place").code, "TOO_MANY_COMMANDS");
        // All three are taken from the channel, but only one of them can be in a batch.
        let batch = queue.next_batch(64, Instant::now());
        assert_eq!(batch.commands, [(1, 0)]);
        assert_eq!(entrance.enter((2, 0)).expect_err("no place").code, "TOO_MANY_COMMANDS");
        executed(batch);
        assert!(clients.remove(0).await.is_ok_and(|outcome| outcome.is_ok()));
        let _fourth = entrance.enter((2, 0)).expect("the place of the first");
    }

    #[tokio::test]
    async fn a_command_whose_client_is_gone_is_not_executed() {
        let (entrance, mut queue) = queue::<Pairs>(3, DEADLINE);
        let (gone, _stays) = (entrance.enter((1, 0)).expect("a place"), entrance.enter((1, 1)).expect("a place"));
        drop(gone);
        assert_eq!(executed(queue.next_batch(64, Instant::now())), [(1, 1)]);
    }

    #[tokio::test]
    async fn a_command_is_executed_before_its_deadline_or_never() {
        let (entrance, mut queue) = queue::<Pairs>(3, DEADLINE);
        let client = entrance.enter((1, 0)).expect("a place");
        queue.look_through(Instant::now());
        queue.look_through(Instant::now() + DEADLINE);
        let refusal = client.await.expect("an answer").expect_err("a refusal");
        assert_eq!((refusal.status.as_u16(), refusal.code), (503, "COMMAND_NOT_STARTED"));

        let client = entrance.enter((1, 1)).expect("a place");
        assert_eq!(executed(queue.next_batch(64, Instant::now() + DEADLINE)), []);
        assert_eq!(client.await.expect("an answer").expect_err("a refusal").code, "COMMAND_NOT_STARTED");
    }

    #[tokio::test]
    async fn a_blocked_command_keeps_its_place_among_those_with_its_key() {
        let (entrance, mut queue) = queue::<Pairs>(9, DEADLINE);
        let _clients: Vec<_> =
            [(1, 0), (2, 0), (1, 1), (3, 0)].map(|command| entrance.enter(command).expect("a place")).into();
        for (command, ticket) in queue.next_batch(2, Instant::now()).into_parts() {
            if command.0 == 1 { queue.put_back(command, ticket, false) } else { ticket.answer(Ok(true)) }
        }
        let retry_at = queue.waiting[0].ticket.retry_at.expect("a time");
        assert!(retry_at <= Instant::now() + RETRY.base);
        assert_eq!(executed(queue.next_batch(64, retry_at - Duration::from_nanos(1))), [(3, 0)]);
        assert_eq!(executed(queue.next_batch(64, retry_at)), [(1, 0)]);
        assert_eq!(executed(queue.next_batch(64, retry_at)), [(1, 1)]);
    }

    #[tokio::test]
    async fn a_command_that_stays_blocked_is_told_so_before_its_deadline() {
        let (entrance, mut queue) = queue::<Pairs>(9, Duration::from_millis(400));
        let client = entrance.enter((1, 0)).expect("a place");
        let shutdown = CancellationToken::new();
        while queue.wait(&shutdown).await {
            for (command, ticket) in queue.next_batch(1, Instant::now()).into_parts() {
                queue.put_back(command, ticket, false);
            }
            if queue.waiting.is_empty() {
                shutdown.cancel();
            }
        }
        assert_eq!(client.await.expect("an answer").ok(), Some(false), "it was blocked, and nothing else");
    }
}
