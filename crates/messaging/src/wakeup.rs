//! Waking a sleeping loop in milliseconds, without depending on it.
//!
//! A [`Hint`] sends NOTIFY outside the transactions of commands, at most once per [`DEBOUNCE`]: NOTIFY inside a
//! transaction takes a lock that serialises commits. A [`Wakeup`] listens. The relay listens on
//! [`outbox::CHANNEL`](crate::outbox::CHANNEL); the workers and the projector listen on the
//! [channel of their queue](crate::inbox::channel). A lost notification costs one polling interval and nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::Tasks;
use runtime::backoff::Backoff;
use runtime::database::limited;
use sqlx::postgres::{PgListener, PgNotification};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

/// A process sends at most one NOTIFY per channel in this time.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// A listener that has heard nothing for this long checks that its connection still works.
const SILENCE: Duration = Duration::from_secs(30);
/// Wait before a listener whose connection failed reconnects.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(2));
/// Shortest time from the start of a batch that was not full to the next batch. Moving fifty rows costs little more than
/// moving one, so rows that arrive in this time are moved together. A row that arrives after a quiet time does not wait.
const LINGER: Duration = Duration::from_millis(5);
/// Shards of the outbox.
const SHARDS: usize = 16;

/// Tells the listeners of a channel that there is work for them.
#[derive(Debug, Clone)]
pub struct Hint(Arc<NextNotify>);

/// The NOTIFY that has been asked for and not sent yet.
#[derive(Debug, Default)]
struct NextNotify {
    requested: Notify,
    audience: Mutex<Audience>,
}

#[derive(Debug)]
enum Audience {
    Everyone,
    /// Only those who forward the shards of these aggregates.
    ShardsOf(Vec<Uuid>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::ShardsOf(Vec::new())
    }
}

impl Hint {
    /// Starts the sender of one channel.
    pub fn start(pool: &PgPool, channel: impl Into<String>, tasks: &Tasks) -> Self {
        let next = Arc::<NextNotify>::default();
        let (pool, channel, shutdown) = (pool.clone(), channel.into(), tasks.shutdown.clone());
        let pending = next.clone();
        tasks.spawn("hint", async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = pending.requested.notified() => {}
                }
                let audience = std::mem::take(&mut *pending.audience.lock().unwrap_or_else(PoisonError::into_inner));
                send(&pool, &channel, audience).await;
                tokio::time::sleep(DEBOUNCE).await;
            }
        });
        Self(next)
    }

    /// Asks for a NOTIFY to every listener; returns at once.
    pub fn send(&self) {
        *self.0.audience.lock().unwrap_or_else(PoisonError::into_inner) = Audience::Everyone;
        self.0.requested.notify_one();
    }

    /// Asks for a NOTIFY to those who forward events of these aggregates; returns at once.
    pub fn send_about(&self, aggregates: impl IntoIterator<Item = Uuid>) {
        if let Audience::ShardsOf(ids) = &mut *self.0.audience.lock().unwrap_or_else(PoisonError::into_inner) {
            ids.extend(aggregates);
        }
        self.0.requested.notify_one();
    }
}

/// Sends NOTIFY to every listener, at once. If that fails the hint is lost, and the listeners find the work by polling.
pub async fn notify(pool: &PgPool, channel: &str) {
    send(pool, channel, Audience::Everyone).await;
}

/// The payload names the shards; an empty payload means all of them.
async fn send(pool: &PgPool, channel: &str, audience: Audience) {
    let aggregates = match audience {
        Audience::Everyone => Vec::new(),
        Audience::ShardsOf(ids) => ids,
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

/// Waits after a batch that was not full and started at that time, so that rows that trickle in form one batch.
pub async fn gather(started: Instant) {
    tokio::time::sleep_until(started + LINGER).await;
}

/// How many notifications each shard has had.
type Heard = [u64; SHARDS];

/// Wakes a loop when its channel is notified. Each clone wakes another loop.
#[derive(Debug, Clone)]
pub struct Wakeup {
    heard: watch::Receiver<Heard>,
    seen: Heard,
}

impl Wakeup {
    /// Starts listening. Until the connection is up, [`Wakeup::wait`] simply polls.
    pub fn start(pool: &PgPool, channel: impl Into<String>, tasks: &Tasks) -> Self {
        let (wake, heard) = watch::channel(Heard::default());
        let (pool, channel, shutdown) = (pool.clone(), channel.into(), tasks.shutdown.clone());
        tasks.spawn("wakeup", async move {
            let mut failures = 0;
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    Err(error) = listen(&pool, &channel, &wake, &mut failures) => {
                        tracing::warn!(%channel, %error, "listener lost; polling until it is back");
                    }
                }
                failures += 1;
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(RECONNECT.delay(failures)) => {}
                }
            }
        });
        Self { heard, seen: Heard::default() }
    }

    /// Returns when notified (also if that happened since the last call) or after `at_most`.
    pub async fn wait(&mut self, at_most: Duration) {
        self.wait_for(|_| true, at_most).await;
    }

    /// The same, for notifications that concern one of the shards for which `is_ours` is true.
    pub async fn wait_for(&mut self, is_ours: impl Fn(i16) -> bool, at_most: Duration) {
        let seen = self.seen;
        let concerns_us = |heard: &Heard| {
            (0..).zip(heard.iter().zip(&seen)).any(|(shard, (now, then))| now != then && is_ours(shard))
        };
        let notified = async {
            let heard = self.heard.wait_for(concerns_us).await.map(|heard| *heard);
            // The listener has ended, because the process stops.
            let Ok(heard) = heard else { std::future::pending().await };
            heard
        };
        if let Ok(heard) = tokio::time::timeout(at_most, notified).await {
            self.seen = heard;
        }
    }
}

fn count(wake: &watch::Sender<Heard>, payload: &str) {
    let named: Vec<i16> = payload.split(',').filter_map(|shard| shard.parse().ok()).collect();
    wake.send_modify(|heard| {
        for (shard, times) in (0..).zip(heard) {
            if named.is_empty() || named.contains(&shard) {
                *times += 1;
            }
        }
    });
}

/// Listens over one connection until it fails; sets `failures` to 0 once it is connected. Never returns `Ok`.
async fn listen(
    pool: &PgPool,
    channel: &str,
    wake: &watch::Sender<Heard>,
    failures: &mut u32,
) -> sqlx::Result<std::convert::Infallible> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(channel).await?;
    let listen = format!("LISTEN \"{channel}\"");
    *failures = 0;
    // Notifications sent before LISTEN took effect were missed: wake everyone once.
    count(wake, "");
    loop {
        // `None` means that the connection was lost and is back: wake everyone, as above.
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(received) => {
                count(wake, received?.as_ref().map_or("", PgNotification::payload));
            }
            // Quiet, or the connection is dead. Operators find listeners by this statement, so the check repeats it.
            Err(_elapsed) => {
                limited(async { (&mut listener).execute(AssertSqlSafe(listen.clone())).await.map(drop) }).await?;
            }
        }
    }
}
