//! Waking a sleeping loop in milliseconds, without depending on it.
//!
//! A [`Hint`] sends NOTIFY outside any transaction of a command, at most once per [`DEBOUNCE`]: NOTIFY inside
//! the transaction takes a lock that serialises commits. A [`Wakeup`] listens. A notification that gets lost
//! costs one polling interval and nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::Tasks;
use runtime::database::limited;
use sqlx::postgres::{PgListener, PgNotification};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

/// At most one NOTIFY per channel and process in this time.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// A listener that has heard nothing for so long asks whether the database is still there.
const SILENCE: Duration = Duration::from_secs(30);
/// Wait before a listener whose connection failed tries again.
const RECONNECT: Duration = Duration::from_secs(1);
/// Shortest time from one batch that was not full to the next. To move fifty rows costs little more than to move one, so
/// what comes meanwhile is moved together; what comes after a while of nothing does not wait.
const LINGER: Duration = Duration::from_millis(5);
/// Shards of the outbox.
const SHARDS: usize = 16;

/// Tells the listeners of a channel that there is something to do.
#[derive(Debug, Clone)]
pub struct Hint(Arc<Waiting>);

/// What the next NOTIFY is about.
#[derive(Debug, Default)]
struct Waiting {
    wanted: Notify,
    about: Mutex<About>,
}

#[derive(Debug)]
enum About {
    Everything,
    /// Of interest to those alone who forward the shards of these aggregates.
    Aggregates(Vec<Uuid>),
}

impl Default for About {
    fn default() -> Self {
        Self::Aggregates(Vec::new())
    }
}

impl Hint {
    /// Starts the sender of one channel.
    pub fn start(pool: &PgPool, channel: impl Into<String>, tasks: &Tasks) -> Self {
        let waiting = Arc::<Waiting>::default();
        let (pool, channel, shutdown) = (pool.clone(), channel.into(), tasks.shutdown.clone());
        let pending = waiting.clone();
        tasks.spawn("hint", async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = pending.wanted.notified() => {}
                }
                let about = std::mem::take(&mut *pending.about.lock().unwrap_or_else(PoisonError::into_inner));
                send(&pool, &channel, about).await;
                tokio::time::sleep(DEBOUNCE).await;
            }
        });
        Self(waiting)
    }

    /// Asks for a NOTIFY to everybody; returns at once.
    pub fn send(&self) {
        *self.0.about.lock().unwrap_or_else(PoisonError::into_inner) = About::Everything;
        self.0.wanted.notify_one();
    }

    /// Asks for a NOTIFY to those who forward events of these aggregates; returns at once.
    pub fn send_about(&self, aggregates: impl IntoIterator<Item = Uuid>) {
        if let About::Aggregates(ids) = &mut *self.0.about.lock().unwrap_or_else(PoisonError::into_inner) {
            ids.extend(aggregates);
        }
        self.0.wanted.notify_one();
    }
}

/// Sends NOTIFY to everybody, at once. One that fails is one that is lost: the listener polls.
pub async fn notify(pool: &PgPool, channel: &str) {
    send(pool, channel, About::Everything).await;
}

/// The payload says which shards it is about; without one it is about all.
async fn send(pool: &PgPool, channel: &str, about: About) {
    let aggregates = match about {
        About::Everything => Vec::new(),
        About::Aggregates(ids) => ids,
    };
    let sent = sqlx::query!(
        r#"
        select pg_notify($1, coalesce(string_agg(distinct messaging.shard_of(id)::text, ','), '')) as "sent: ()"
        from unnest($2::uuid[]) as id
        "#,
        channel,
        &aggregates,
    )
    .fetch_one(pool);
    if let Err(error) = limited(sent).await {
        tracing::debug!(channel, %error, "hint not sent");
    }
}

/// Waits after a batch that was not full and began then, so that what trickles in is the next batch and not many.
pub async fn gather(begun: Instant) {
    tokio::time::sleep_until(begun + LINGER).await;
}

/// How often each shard was the subject of a notification.
type Heard = [u64; SHARDS];

/// Wakes a loop when its channel is notified; each clone wakes one more.
#[derive(Debug, Clone)]
pub struct Wakeup {
    heard: watch::Receiver<Heard>,
    seen: Heard,
}

impl Wakeup {
    /// Starts listening; until the connection stands, [`Wakeup::wait`] simply polls.
    pub fn start(pool: &PgPool, channel: impl Into<String>, tasks: &Tasks) -> Self {
        let (wake, heard) = watch::channel(Heard::default());
        let (pool, channel, shutdown) = (pool.clone(), channel.into(), tasks.shutdown.clone());
        tasks.spawn("wakeup", async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    Err(error) = listen(&pool, &channel, &wake) => {
                        tracing::warn!(%channel, %error, "listener lost; polling until it is back");
                    }
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(RECONNECT) => {}
                }
            }
        });
        Self { heard, seen: Heard::default() }
    }

    /// Returns when notified (also if that happened since the last call) or after `at_most`.
    pub async fn wait(&mut self, at_most: Duration) {
        self.wait_for(|_| true, at_most).await;
    }

    /// The same, for notifications that are about one of some shards.
    pub async fn wait_for(&mut self, is_ours: impl Fn(i16) -> bool, at_most: Duration) {
        let seen = self.seen;
        let concerns_us = |heard: &Heard| {
            (0..).zip(heard.iter().zip(&seen)).any(|(shard, (now, then))| now != then && is_ours(shard))
        };
        let notified = async {
            let heard = self.heard.wait_for(concerns_us).await.map(|heard| *heard);
            // Nobody listens any more, because the process stops.
            let Ok(heard) = heard else { std::future::pending().await };
            heard
        };
        if let Ok(heard) = tokio::time::timeout(at_most, notified).await {
            self.seen = heard;
        }
    }
}

fn note(wake: &watch::Sender<Heard>, payload: &str) {
    let named: Vec<i16> = payload.split(',').filter_map(|shard| shard.parse().ok()).collect();
    wake.send_modify(|heard| {
        for (shard, times) in (0..).zip(heard) {
            if named.is_empty() || named.contains(&shard) {
                *times += 1;
            }
        }
    });
}

/// Never returns `Ok`.
async fn listen(pool: &PgPool, channel: &str, wake: &watch::Sender<Heard>) -> sqlx::Result<std::convert::Infallible> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(channel).await?;
    let listen = format!("LISTEN \"{channel}\"");
    // What happened before LISTEN took effect was not heard: look once.
    note(wake, "");
    loop {
        // `None` means that the connection was lost and made again: look once, as above.
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(received) => {
                note(wake, received?.as_ref().map_or("", PgNotification::payload));
            }
            // Nothing to hear, or nobody there any more. Operators find listeners by this statement, so it is the one to ask with.
            Err(_elapsed) => {
                limited(async { (&mut listener).execute(AssertSqlSafe(listen.clone())).await.map(drop) }).await?;
            }
        }
    }
}
