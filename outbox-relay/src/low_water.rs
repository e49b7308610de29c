//! Where a scan of the outbox may start, so that the dead index entries of published rows cost nothing.
//!
//! Positions commit out of order: a transaction may take position 7 and commit long after 8 went out. If scans already
//! started after 7 by then, its row would wait for the next full sweep; worse, the next version of the same aggregate
//! could go out before it. So the mark only moves over positions that no transaction can still commit.
//!
//! A writer of the outbox locks it before it takes a position, and holds the lock until its transaction ends. So once
//! all transactions that hold the lock at some moment have ended, every position taken before that moment is committed
//! or never will be. A transaction that stays open holds back the mark, never a row.

use std::time::{Duration, Instant};

/// How often the relay asks for the writers, while the mark could move.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How often a scan starts from the very beginning instead of the mark.
const FULL_SWEEP: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct LowWater {
    mark: i64,
    seen: i64,
    /// No transaction can still commit anything up to this position.
    settled: i64,
    asked: Option<Instant>,
    fence: Fence,
    sweep_at: Instant,
}

#[derive(Debug)]
enum Fence {
    None,
    /// These transactions may still commit something below the position.
    Writers(i64, Vec<String>),
    /// No transaction can; one more scan finds what they left.
    Settled(i64),
}

impl LowWater {
    /// The first scan is a full one.
    pub(crate) fn new() -> Self {
        Self { mark: 0, seen: 0, settled: 0, asked: None, fence: Fence::None, sweep_at: Instant::now() }
    }

    /// Whether it is time to call [`writers`](Self::writers).
    pub(crate) fn needs_writers(&self) -> bool {
        self.seen > self.mark
            && !matches!(self.fence, Fence::Settled(_))
            && self.asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY)
    }

    /// The highest position that has been handled.
    pub(crate) fn seen(&self) -> i64 {
        self.seen
    }

    /// Notes the transactions that write to the outbox now, and a position that was taken before, `seen` or above. The
    /// caller must read both after the scan that set `seen`.
    pub(crate) fn writers(&mut self, now: Vec<String>, taken: i64) {
        self.asked = Some(Instant::now());
        self.fence = match std::mem::replace(&mut self.fence, Fence::None) {
            Fence::None if now.is_empty() => Fence::Settled(taken),
            Fence::None => Fence::Writers(taken, now),
            Fence::Writers(position, then) if then.iter().all(|writer| !now.contains(writer)) => {
                Fence::Settled(position)
            }
            waiting => waiting,
        };
        if let Fence::Settled(position) = self.fence {
            self.settled = self.settled.max(position);
        }
    }

    /// Up to here no transaction can still commit anything: a scan that starts now sees all rows there will ever be.
    pub(crate) fn settled(&self) -> i64 {
        self.settled
    }

    /// The position at which the next scan starts.
    pub(crate) fn scan_from(&mut self) -> i64 {
        if self.sweeps_now() {
            self.sweep_at = Instant::now() + FULL_SWEEP;
            return 0;
        }
        self.mark
    }

    /// Whether the next scan is a full one.
    pub(crate) fn sweeps_now(&self) -> bool {
        Instant::now() >= self.sweep_at
    }

    /// Notes a scan: the last position it returned, and whether there was no more to return.
    pub(crate) fn scanned(&mut self, last: Option<i64>, exhausted: bool) {
        let last = last.unwrap_or(self.seen);
        if let Fence::Settled(position) = self.fence {
            // Rows that the scan did not reach because its batch was full stay above the mark.
            let covered = if exhausted { position } else { position.min(last) };
            self.mark = self.mark.max(covered);
            self.fence = Fence::None;
        }
        self.seen = self.seen.max(last);
    }

    /// Asks for a full sweep, because a row below the mark can go out then.
    pub(crate) fn sweep_in(&mut self, delay: Duration) {
        self.sweep_at = self.sweep_at.min(Instant::now() + delay);
    }

    /// Notes that a batch went out, and whether a retried row was in it. Later rows of its aggregate had to wait for that
    /// row, and may be below the mark by now.
    pub(crate) fn published(&mut self, any_retried: bool) {
        if any_retried {
            self.sweep_in(Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned_to(position: i64) -> LowWater {
        let mut low_water = LowWater::new();
        assert_eq!(low_water.scan_from(), 0, "the first scan is a full one");
        low_water.scanned(Some(position), true);
        low_water.asked = None;
        low_water
    }

    fn writers(low_water: &mut LowWater, names: &[&str]) {
        low_water.writers(names.iter().map(ToString::to_string).collect(), low_water.seen());
    }

    #[test]
    fn without_writers_the_next_scan_moves_the_mark() {
        let mut low_water = scanned_to(10);
        assert!(low_water.needs_writers());
        writers(&mut low_water, &[]);
        assert_eq!(low_water.scan_from(), 0, "what committed last has not been scanned for yet");
        low_water.scanned(None, true);
        assert_eq!(low_water.scan_from(), 10);
    }

    #[test]
    fn a_writer_holds_the_mark_back_until_its_own_end_and_no_longer() {
        let mut low_water = scanned_to(10);
        writers(&mut low_water, &["3/7", "4/1"]);
        low_water.scanned(Some(20), true);
        writers(&mut low_water, &["4/1", "5/2"]);
        low_water.scanned(None, true);
        assert_eq!(low_water.scan_from(), 0, "4/1 may still commit");
        writers(&mut low_water, &["5/2"]);
        low_water.scanned(None, true);
        assert_eq!(low_water.scan_from(), 10, "5/2 came later: what it has taken is above 10");
    }

    #[test]
    fn what_was_taken_before_the_writers_ended_is_settled_however_far_it_is() {
        let mut low_water = scanned_to(10);
        low_water.writers(vec!["3/7".to_owned()], 500);
        assert_eq!(low_water.settled(), 0, "3/7 may still commit");
        low_water.writers(vec!["4/1".to_owned()], 900);
        assert_eq!(low_water.settled(), 500, "4/1 came later: what it has taken is above 500");
    }

    #[test]
    fn a_full_batch_moves_the_mark_no_further_than_it_reached() {
        let mut low_water = scanned_to(100);
        writers(&mut low_water, &[]);
        low_water.scanned(Some(40), false);
        assert_eq!(low_water.scan_from(), 40);
    }

    #[test]
    fn a_row_that_may_go_later_is_scanned_for_then() {
        let mut low_water = scanned_to(10);
        writers(&mut low_water, &[]);
        low_water.scanned(None, true);
        assert_eq!(low_water.scan_from(), 10);
        low_water.sweep_in(Duration::ZERO);
        assert_eq!(low_water.scan_from(), 0);
        assert_eq!(low_water.scan_from(), 10);
    }
}
