//! Waking a sleeping loop in milliseconds, without depending on it.
//!
//! A [`Hint`] sends NOTIFY outside any transaction of a command, at most once per [`DEBOUNCE`]: NOTIFY inside
//! the transaction takes a lock that serialises commits. A [`Wakeup`] listens. A notification that gets lost
//! costs one polling interval and nothing else.

use std::sync::Arc;
use std::time::Duration;

use runtime::Tasks;
use runtime::database::limited;
use sqlx::postgres::PgListener;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tokio::sync::{Notify, watch};

/// At most one NOTIFY per channel and process in this time.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// A listener that has heard nothing for so long asks whether the database is still there.
const SILENCE: Duration = Duration::from_secs(30);
/// Wait before a listener whose connection failed tries again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Tells the listeners of a channel that there is something to do.
#[derive(Debug, Clone)]
pub struct Hint(Arc<Notify>);

impl Hint {
    /// Starts the sender of one channel.
    pub fn start(pool: &PgPool, channel: impl Into<String>, tasks: &Tasks) -> Self {
        let wanted = Arc::new(Notify::new());
        let (pool, channel, shutdown) = (pool.clone(), channel.into(), tasks.shutdown.clone());
        let pending = wanted.clone();
        tasks.spawn("hint", async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = pending.notified() => {}
                }
                notify(&pool, &channel).await;
                tokio::time::sleep(DEBOUNCE).await;
            }
        });
        Self(wanted)
    }

    /// Asks for a NOTIFY; returns at once.
    pub fn send(&self) {
        self.0.notify_one();
    }
}

/// Sends NOTIFY at once. One that fails is one that is lost: the listener polls.
pub async fn notify(pool: &PgPool, channel: &str) {
    if let Err(error) = limited(sqlx::query("select pg_notify($1, '')").bind(channel).execute(pool)).await {
        tracing::debug!(channel, %error, "hint not sent");
    }
}

/// Wakes a loop when its channel is notified; each clone wakes one more.
#[derive(Debug, Clone)]
pub struct Wakeup(watch::Receiver<()>);

impl Wakeup {
    /// Starts listening; until the connection stands, [`Wakeup::wait`] simply polls.
    pub fn start(pool: &PgPool, channel: impl Into<String>, tasks: &Tasks) -> Self {
        let (wake, notified) = watch::channel(());
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
        Self(notified)
    }

    /// Returns when notified (also if that happened since the last call) or after `at_most`.
    pub async fn wait(&mut self, at_most: Duration) {
        let notified = async {
            if self.0.changed().await.is_err() {
                // Nobody listens any more, because the process stops.
                std::future::pending::<()>().await;
            }
        };
        let _elapsed = tokio::time::timeout(at_most, notified).await;
    }
}

/// Never returns `Ok`.
async fn listen(pool: &PgPool, channel: &str, wake: &watch::Sender<()>) -> sqlx::Result<std::convert::Infallible> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(channel).await?;
    let listen = format!("LISTEN \"{channel}\"");
    // What happened before LISTEN took effect was not heard: look once.
    wake.send_replace(());
    loop {
        // `None` means that the connection was lost and made again: look once, as above.
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(received) => {
                received?;
                wake.send_replace(());
            }
            // Nothing to hear, or nobody there any more. Operators find listeners by this statement, so it is the one to ask with.
            Err(_elapsed) => {
                limited(async { (&mut listener).execute(AssertSqlSafe(listen.clone())).await.map(drop) }).await?;
            }
        }
    }
}
