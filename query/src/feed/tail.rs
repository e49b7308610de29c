//! Follows the end of the log while a client asks for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use messaging::leases;
use messaging::log::{self, Place};
use messaging::wakeup::{Wakeup, gather};
use runtime::Tasks;
use runtime::backoff::Backoff;
use runtime::database::limited;
use tokio::time::Instant;

use super::{Feed, Wanted};

/// Without a request or a listener for so long, the tail rests.
const RESTS_AFTER: Duration = Duration::from_secs(60);
/// Between two looks, if nothing wakes it before. The first one is for what a writer holds back; it doubles while it does.
const POLL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
const ROWS: i64 = 1_000;
/// How long one that was woken looks for the end of the log before it shows what was settled earlier: a transaction may stay open.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

pub(super) async fn run(feed: Arc<Feed>, tasks: Tasks) {
    let mut wakeup = Wakeup::start(&feed.pool, messaging::outbox::CHANNEL, &tasks);
    let mut failures = 0;
    let mut told = None;
    while !tasks.shutdown.is_cancelled() {
        if !feed.is_asked() {
            tokio::select! { () = tasks.shutdown.cancelled() => return, () = feed.asked.notified() => {} }
        }
        match follow(&feed, &mut wakeup, &mut told, &tasks).await {
            // Who asks next reads from the database what came while it rested.
            Ok(()) => (failures, told) = (0, None),
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "the event feed cannot read the log");
                let pause = tokio::time::sleep(RETRY.delay(failures));
                tokio::select! { () = tasks.shutdown.cancelled() => {}, () = pause => {} }
            }
        }
        feed.settled.send_replace(None);
    }
}

/// Follows until no client asks any more. Up to `told` all who listen have been told: after a failure it goes on there, so that
/// they miss nothing. Not on another server: that gives out positions again which the one before had given out and lost.
async fn follow(feed: &Feed, wakeup: &mut Wakeup, told: &mut Option<i64>, tasks: &Tasks) -> sqlx::Result<()> {
    let server = limited(leases::timeline(&feed.pool)).await?;
    let is_another = feed.server.send_if_modified(|known| {
        let before = std::mem::replace(known, server.clone());
        !before.is_empty() && before != server
    });
    if is_another {
        *told = None;
    }
    let mut place = limited(Place::watching(&feed.pool)).await?;
    let (woke, mut held_back) = (Instant::now(), POLL.0);
    while feed.is_asked() && !tasks.shutdown.is_cancelled() {
        let started = Instant::now();
        if limited(leases::timeline(&feed.pool)).await? != server {
            return Err(sqlx::Error::Protocol("another server answers".to_owned()));
        }
        let look_at = limited(place.look_at(&feed.pool)).await?;
        let seen = limited(log::follow_headlines(&feed.pool, &place, &look_at, ROWS)).await?;
        let covered = place.saw(&look_at, &seen.positions, seen.stopped_at_limit);
        let before = place.mark().position;
        place.handled(covered);
        let settled = place.mark().position;
        let is_known = place.has_settled() || woke.elapsed() > SETTLES_WITHIN;
        if is_known && !seen.stopped_at_limit && told.is_none_or(|told| settled >= told) {
            // Who listens from now on reads up to here itself.
            feed.settled.send_replace(Some(settled));
            if feed.live.receiver_count() > 0 {
                let from = told.get_or_insert(settled);
                tell(feed, from, settled).await?;
            }
            *told = Some(settled);
        }
        if !seen.stopped_at_limit {
            if place.is_settled() || settled > before {
                held_back = POLL.0;
            }
            let poll = if place.is_settled() { POLL.1 } else { held_back };
            held_back = (held_back * 2).min(POLL.1);
            let wait = async {
                if !seen.positions.is_empty() {
                    gather(started).await;
                }
                wakeup.wait(poll).await;
            };
            tokio::select! { () = tasks.shutdown.cancelled() => {}, () = wait => {} }
        }
    }
    Ok(())
}

/// Reads what has come, once for all who listen.
async fn tell(feed: &Feed, told: &mut i64, settled: i64) -> sqlx::Result<()> {
    while feed.live.receiver_count() > 0 && *told < settled {
        let page = limited(feed.page(&Wanted::default(), *told, settled, ROWS)).await?;
        for event in page.events {
            // The last listener may have gone.
            let _listeners = feed.live.send(Arc::new(event));
        }
        *told = page.until;
    }
    Ok(())
}

impl Feed {
    /// Whether a client listens, or has asked lately.
    fn is_asked(&self) -> bool {
        let asked_at = Duration::from_millis(self.asked_at.load(Ordering::Relaxed));
        let is_recent = asked_at > Duration::ZERO && self.started.elapsed().saturating_sub(asked_at) < RESTS_AFTER;
        self.live.receiver_count() > 0 || is_recent
    }
}
